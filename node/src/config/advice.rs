//! What a value should look like, in words, where its rule is a pattern: an operator cannot be asked to read one.

use serde_json::Value;

use super::Secret;

/// For each key whose rule is a pattern, what it takes.
const SHAPES: [(&str, &str); 6] = [
    ("http.public_url", "scheme and authority alone, such as https://live.example"),
    ("http.cors_origins", "`*`, or origins without a path, such as https://page.example"),
    ("auth.jwks_url", "an http:// or https:// address, without a user and a password in it"),
    (
        "turn.urls",
        "addresses that begin with stun:, stuns:, turn: or turns:, such as turn:relay.example:3478",
    ),
    ("telemetry.otlp_endpoint", "the collector's base address, such as http://collector:4318"),
    ("log.level", "a level, such as info, or a filter, such as info,aforo_node::room=debug"),
];

/// What is wrong with the value of `key`, which broke the rule that `broken` tells in the words of a library.
pub(super) fn of_broken_rule(key: &str, value: &Value, broken: &str) -> String {
    let shape = SHAPES.iter().find(|(known, _)| *known == key).map(|(_, shape)| *shape);
    let value = shown(key, value);
    match shape {
        Some(shape) => format!("is {value}, and takes {shape}"),
        None => format!("is {value}, which it cannot be: {broken}"),
    }
}

/// What is wrong with the value of `key`, which cannot be read at all.
pub(super) fn of_unreadable(key: &str, value: &Value, error: &str) -> String {
    if is_secret(key) {
        return format!("cannot be read: {}", Secret::MASK);
    }
    format!("cannot be read from {}: {error}", shown(key, value))
}

/// What is wrong with a text that is no YAML, without the advice that the library has for programmers.
pub(super) fn of_no_yaml(error: &str) -> String {
    let told = error.split(", set DuplicateKeyPolicy").next().unwrap_or(error);
    format!("is not YAML: {told}")
}

/// The value as a message may show it.
fn shown(key: &str, value: &Value) -> String {
    let text = value.to_string();
    // Whoever writes a password into an address means it to be one.
    let has_password = text.contains("://") && text.contains('@');
    if is_secret(key) || has_password { Secret::MASK.to_owned() } else { text }
}

fn is_secret(key: &str) -> bool {
    ["secret", "tokens", "headers"].iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use crate::config::{Layer, Origin, stack};

    fn told(text: &str) -> String {
        stack([Layer::yaml(text, Origin::Default)]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_names_the_value_and_no_pattern() {
        for (text, parts) in [
            ("http: { public_url: live.example }", &["\"live.example\"", "such as https://live.example"][..]),
            ("http: { cors_origins: [\"https://a/b\"] }", &["https://a/b", "without a path"]),
            ("auth: { jwks_url: id.example }", &["id.example", "https://"]),
            ("turn: { urls: [relay.example], secret: a }", &["relay.example", "turn:"]),
            ("telemetry: { otlp_endpoint: collector }", &["\"collector\"", "http://collector:4318"]),
            ("log: { level: \"\" }", &["a level, such as info"]),
            ("limits: { sessions: 0 }", &["limits.sessions is 0"]),
            ("limits: { sessions: many }", &["limits.sessions cannot be read from \"many\""]),
            ("media: { advertise: [\"10.0.0\"] }", &["10.0.0"]),
            ("http: { trusted_proxies: [\"10.0.0.0/40\"] }", &["10.0.0.0/40", "such as 10.0.0.0/8"]),
            ("http: { listen: 1, listen: 2 }", &["listen"]),
        ] {
            let said = told(text);
            for part in parts {
                assert!(said.contains(part), "{part} is missing in {said}");
            }
            for foreign in ["pattern", "^", "Policy", "\\"] {
                assert!(!said.contains(foreign), "{foreign} in {said}");
            }
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        let said = told("auth: { jwks_url: \"https://ada:hunter2@id.example/keys\" }");
        assert!(said.contains("without a user and a password") && !said.contains("hunter2"), "{said}");
    }
}
