//! Stacks the layers into one configuration, or says everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use garde::Validate;
use serde_json::{Number, Value};

use super::layer::{Layer, Origin, Setting};
use super::{Config, advice};

/// The least likeness (0 to 1, Jaro-Winkler) at which a known key is suggested for an unknown one: below it, names
/// are merely as long as each other.
const SUGGESTION_LIKENESS: f64 = 0.75;

/// Where to read the configuration from.
#[derive(Debug, Default)]
pub struct Sources {
    /// Defaults of the command that runs.
    pub command: Layer,
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// Values of the command line.
    pub flags: Layer,
}

/// A configuration, and where each of its values came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, unless the whole source is meant.
    pub key: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} {} ({})", self.text, self.origin),
            None => write!(f, "{} {}", self.origin, self.text),
        }
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} problem(s):{}", .0.len(), lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

impl Sources {
    /// Reads all sources, with the process's environment.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let file = self.file.as_deref().map(Layer::file).unwrap_or_default();
        // A variable that is no UTF-8 cannot be one of ours: our keys and values are text.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        stack([self.command, file, Layer::environment(variables), self.flags])
    }
}

/// Puts each layer over the one before.
///
/// # Errors
///
/// All that is wrong with any of them, and with what they come to together.
pub fn stack(layers: impl IntoIterator<Item = Layer>) -> Result<Loaded, ConfigError> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let known = Known::of(&defaults);
    let mut problems = Vec::new();
    let mut tree = defaults.clone();
    let mut origins: BTreeMap<String, Origin> =
        known.keys.keys().map(|key| (key.clone(), Origin::Default)).collect();
    for layer in layers {
        problems.extend(layer.problems);
        for setting in layer.settings {
            match known.check(&defaults, setting) {
                Ok(setting) => {
                    put(&mut tree, &setting.key, setting.value);
                    origins.insert(setting.key, setting.origin);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    // What could be read is validated even beside problems, so that one run shows them all.
    match serde_json::from_value::<Config>(tree) {
        Ok(config) => {
            problems.extend(invalid(&config, &origins));
            if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(ConfigError(problems)) }
        }
        Err(error) => {
            problems.push(Problem { key: None, origin: Origin::Default, text: error.to_string() });
            Err(ConfigError(problems))
        }
    }
}

/// Values that can be read but make no sense.
fn invalid(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let origin = |key: &str| origins.get(key).cloned().unwrap_or(Origin::Default);
    let mut problems = Vec::new();
    let values = serde_json::to_value(config).unwrap_or_default();
    if let Err(report) = config.validate() {
        for (path, error) in report.iter() {
            let path = path.to_string();
            // `http.cors_origins[1]` is a problem of `http.cors_origins`.
            let key = path.split('[').next().unwrap_or(&path);
            let value = values.pointer(&format!("/{}", key.replace('.', "/"))).unwrap_or(&Value::Null);
            let text = advice::of_broken_rule(key, value, &error.to_string());
            problems.push(Problem { key: Some(path.clone()), origin: origin(key), text });
        }
    }
    problems.extend(config.contradictions().into_iter().map(|(key, text)| Problem {
        key: Some(key.to_owned()),
        origin: origin(key),
        text,
    }));
    problems
}

/// Every key there is, with its default.
struct Known {
    keys: BTreeMap<String, Value>,
}

impl Known {
    fn of(defaults: &Value) -> Self {
        let mut keys = BTreeMap::new();
        for (section, values) in defaults.as_object().into_iter().flatten() {
            for (key, value) in values.as_object().into_iter().flatten() {
                keys.insert(format!("{section}.{key}"), value.clone());
            }
        }
        Self { keys }
    }

    /// The setting with its value read as its key needs it.
    fn check(&self, defaults: &Value, setting: Setting) -> Result<Setting, Problem> {
        let problem =
            |text: String| Problem { key: Some(setting.key.clone()), origin: setting.origin.clone(), text };
        let Some(default) = self.keys.get(&setting.key) else {
            return Err(problem(self.unknown(&setting.key)));
        };
        let text = matches!(setting.origin, Origin::Environment(_) | Origin::Flag(_));
        let value = if text { read_text(&setting.value, default) } else { setting.value.clone() };
        let mut alone = defaults.clone();
        put(&mut alone, &setting.key, value.clone());
        match serde_json::from_value::<Config>(alone) {
            Ok(_) => Ok(Setting { value, ..setting }),
            Err(error) => {
                Err(problem(advice::of_unreadable(&setting.key, &setting.value, &error.to_string())))
            }
        }
    }

    fn unknown(&self, key: &str) -> String {
        if self.keys.keys().any(|known| known.starts_with(&format!("{key}."))) {
            return "is a section, put its keys below it".to_owned();
        }
        let likeness = |known: &&String| strsim::jaro_winkler(key, known);
        let nearest = self.keys.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match nearest.filter(|known| likeness(known) >= SUGGESTION_LIKENESS) {
            Some(nearest) => format!("is not known, did you mean {nearest}?"),
            None => "is not known, `aforo config show` lists every key".to_owned(),
        }
    }
}

/// The value that a text of the environment or the command line stands for, by the kind of the default. What cannot be
/// read stays text, so that the error names it.
fn read_text(value: &Value, default: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    match default {
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        Value::Bool(_) => text.parse().map_or_else(|_| value.clone(), Value::Bool),
        Value::Number(_) => {
            let whole = text.parse::<i64>().ok().map(Number::from);
            let number = whole.or_else(|| text.parse().ok().and_then(Number::from_f64));
            number.map_or_else(|| value.clone(), Value::Number)
        }
        _ => value.clone(),
    }
}

/// Sets `section.key` in `tree`.
fn put(tree: &mut Value, key: &str, value: Value) {
    if let Some((section, key)) = key.split_once('.')
        && let Some(Value::Object(values)) = tree.get_mut(section)
    {
        values.insert(key.to_owned(), value);
    }
}
