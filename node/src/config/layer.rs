//! One source of configuration, as a flat list of keys, values and where exactly each stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::advice;
use super::load::Problem;

/// Environment variables that configure: `AFORO__SECTION__KEY`.
pub(super) const ENVIRONMENT_PREFIX: &str = "AFORO__";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Built in, for this command.
    Command(&'static str),
    /// A YAML file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Command(name) => write!(f, "default of {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One value of a source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// `section.key`.
    pub key: String,
    /// As the source has it; texts of flags and environment are read by what the key's default is.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// One source's values, and what was wrong with the source.
#[derive(Debug, Default)]
pub struct Layer {
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Vec<Problem>,
}

impl Layer {
    /// What is the default of this command, where it is not that of all.
    pub fn command(name: &'static str, key: &str, value: Value) -> Self {
        let setting = Setting { key: key.to_owned(), value, origin: Origin::Command(name) };
        Self { settings: vec![setting], problems: Vec::new() }
    }

    /// Reads a YAML file of sections.
    pub fn file(path: &Path) -> Self {
        let origin = Origin::File(path.to_owned());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return Self::broken(origin, format!("cannot be read: {error}")),
        };
        Self::yaml(&text, origin)
    }

    /// Reads the text of a YAML file.
    pub fn yaml(text: &str, origin: Origin) -> Self {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Self::default();
        }
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Null) => Self::default(),
            Ok(Value::Object(sections)) => {
                let mut layer = Self::default();
                for (name, section) in sections {
                    layer.section(&name, section, &origin);
                }
                layer
            }
            Ok(_) => Self::broken(origin, "is not a list of sections such as `http:`".to_owned()),
            Err(error) => Self::broken(origin, advice::of_no_yaml(&error.to_string())),
        }
    }

    fn section(&mut self, name: &str, section: Value, origin: &Origin) {
        match section {
            Value::Object(keys) => {
                self.settings.extend(keys.into_iter().map(|(key, value)| Setting {
                    key: format!("{name}.{key}"),
                    value,
                    origin: origin.clone(),
                }));
            }
            Value::Null => {}
            value => self.settings.push(Setting { key: name.to_owned(), value, origin: origin.clone() }),
        }
    }

    /// Takes the variables of an environment that configure us.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        // Sorted, so that reports do not depend on the order of the environment.
        let (sorted, others): (BTreeMap<String, String>, BTreeMap<String, String>) =
            variables.into_iter().partition(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
        let problems = others.into_keys().filter_map(misspelt).collect();
        let settings = sorted
            .into_iter()
            .map(|(name, value)| Setting {
                key: name.trim_start_matches(ENVIRONMENT_PREFIX).to_lowercase().replace("__", "."),
                value: Value::String(value),
                origin: Origin::Environment(name),
            })
            .collect();
        Self { settings, problems }
    }

    /// Adds a flag's value; `None` if it was not given.
    pub fn flag(mut self, name: &'static str, key: &str, value: Option<impl fmt::Display>) -> Self {
        if let Some(value) = value {
            let value = Value::String(value.to_string());
            self.settings.push(Setting { key: key.to_owned(), value, origin: Origin::Flag(name) });
        }
        self
    }

    fn broken(origin: Origin, text: String) -> Self {
        let problem = Problem { key: None, origin, text };
        Self { settings: Vec::new(), problems: vec![problem] }
    }
}

/// A variable that is ours by all but one underscore: passed over in silence it would leave the default in use.
fn misspelt(name: String) -> Option<Problem> {
    let rest = name.strip_prefix("AFORO_").filter(|rest| rest.contains("__"))?;
    let text = format!("is none of ours, did you mean {ENVIRONMENT_PREFIX}{rest}?");
    Some(Problem { key: None, origin: Origin::Environment(name), text })
}
