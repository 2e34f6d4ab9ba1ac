//! Prints a configuration as YAML, or value by value with its origin.

use std::fmt::Write;

use serde_json::Value;

use super::layer::Origin;
use super::load::Loaded;

impl Loaded {
    /// The configuration as a YAML file that sets everything; secrets are masked.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (section, values) in self.tree().as_object().into_iter().flatten() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{section}:");
            for (key, value) in values.as_object().into_iter().flatten() {
                let _ = writeln!(text, "  {key}: {value}");
            }
        }
        text
    }

    /// One line per key: its value, and where that came from; secrets are masked.
    pub fn with_origins(&self) -> String {
        let tree = self.tree();
        let lines: Vec<(String, &Origin)> = self
            .origins
            .iter()
            .map(|(key, origin)| {
                let (section, name) = key.split_once('.').unwrap_or((key, ""));
                let value = tree.get(section).and_then(|values| values.get(name)).unwrap_or(&Value::Null);
                (format!("{key}: {value}"), origin)
            })
            .collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        lines.iter().fold(String::new(), |mut text, (line, origin)| {
            let _ = writeln!(text, "{line:width$}  # {origin}");
            text
        })
    }

    /// Sections and values; JSON's scalars and lists are YAML too.
    fn tree(&self) -> Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }
}
