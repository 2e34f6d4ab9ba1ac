#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::layer::{Layer, Origin};
use super::load::{ConfigError, Loaded, stack};
use super::*;

fn yaml(text: &str) -> Layer {
    Layer::yaml(text, Origin::File("aforo.yaml".into()))
}

fn environment(variables: &[(&str, &str)]) -> Layer {
    Layer::environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problems(loaded: Result<Loaded, ConfigError>) -> Vec<String> {
    loaded.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_valid_and_are_the_documented_ports() {
    let config = stack([]).unwrap().config;
    assert_eq!(config, Config::default());
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.media.udp.to_string(), "0.0.0.0:7800");
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let file = || yaml("http:\n  listen: 9000\n  workers: 3\nlimits:\n  rooms: 7\n");
    let variables = || environment(&[("AFORO__HTTP__LISTEN", "9001"), ("AFORO__LIMITS__ROOMS", "8")]);
    let flags = Layer::default().flag("--http", "http.listen", Some("0.0.0.0:9002"));
    let loaded = stack([file(), variables(), flags]).unwrap();
    assert_eq!(loaded.config.http.listen.to_string(), "0.0.0.0:9002");
    assert_eq!(loaded.config.limits.rooms, 8);
    assert_eq!(loaded.config.http.workers, 3);
    assert_eq!(loaded.config.limits.sessions, Limits::default().sessions);
    let shown = loaded.with_origins();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("http.listen").ends_with("# flag --http"), "{shown}");
    assert!(line("limits.rooms").ends_with("# environment AFORO__LIMITS__ROOMS"), "{shown}");
    assert!(line("http.workers").ends_with("# file aforo.yaml"), "{shown}");
    assert!(line("limits.sessions").ends_with("# default"), "{shown}");
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let found =
        problems(stack([yaml("http:\n  liste: 9000\n"), environment(&[("AFORO__HTPP__WORKERS", "1")])]));
    assert_eq!(
        found,
        [
            "http.liste is not known, did you mean http.listen? (file aforo.yaml)",
            "htpp.workers is not known, did you mean http.workers? (environment AFORO__HTPP__WORKERS)",
        ]
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let file =
        yaml("http: 5\nmedia:\n  udp: nonsense\n  shards: 65\nturn:\n  urls: [\"turn:relay.example\"]\n");
    let variables = environment(&[("AFORO__LOG__FORMAT", "loud"), ("AFORO__DRAIN__TIMEOUT_SECONDS", "-1")]);
    let found = problems(stack([file, variables]));
    for expected in [
        "http is a section",
        "media.udp",
        "media.shards",
        "turn.secret",
        "log.format",
        "drain.timeout_seconds",
    ] {
        assert!(found.iter().any(|line| line.contains(expected)), "{expected} is missing in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_broken_file_is_a_problem_of_the_file() {
    let found = problems(stack([yaml("http: [")]));
    assert!(found[0].starts_with("file aforo.yaml is not YAML"), "{found:?}");
    let found = problems(stack([Layer::file(std::path::Path::new("/nonexistent/aforo.yaml"))]));
    assert!(found[0].contains("cannot be read"), "{found:?}");
}

#[test]
fn an_empty_file_and_an_empty_section_are_good() {
    for text in ["", "# nothing\n", "http:\n", "---\n"] {
        assert!(stack([yaml(text)]).is_ok(), "{text:?}");
    }
}

#[test]
fn lists_of_the_environment_are_split_at_commas() {
    let loaded = stack([environment(&[("AFORO__MEDIA__ADVERTISE", "192.0.2.1, 2001:db8::1")])]).unwrap();
    assert_eq!(loaded.config.media.advertise.len(), 2);
    let found = problems(stack([environment(&[("AFORO__MEDIA__ADVERTISE", "0.0.0.0")])]));
    assert!(found[0].contains("no address that a client can reach"), "{found:?}");
}

#[test]
fn secrets_are_never_shown() {
    let loaded = stack([environment(&[("AFORO__TURN__SECRET", "hunter2")])]).unwrap();
    assert_eq!(loaded.config.turn.secret.as_ref().unwrap().expose(), "hunter2");
    for shown in [loaded.with_origins(), loaded.to_yaml(), format!("{:?}", loaded.config)] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(Secret::MASK), "{shown}");
    }
    let found = problems(stack([yaml("turn:\n  secret: [hunter2]\n")]));
    assert!(!found.join("").contains("hunter2"), "{found:?}");
}

#[test]
fn tokens_are_never_shown_and_can_be_sent() {
    let variables =
        [("AFORO__AUTH__PUBLISH_TOKENS", "hunter2, a-b._~+/9=="), ("AFORO__AUTH__PLAY_TOKENS", "hunter3")];
    let loaded = stack([environment(&variables)]).unwrap();
    let tokens: Vec<&str> = loaded.config.auth.publish_tokens.iter().map(Secret::expose).collect();
    assert_eq!(tokens, ["hunter2", "a-b._~+/9=="]);
    for shown in [loaded.with_origins(), loaded.to_yaml(), format!("{:?}", loaded.config)] {
        assert!(!shown.contains("hunter") && !shown.contains("a-b"), "{shown}");
        assert_eq!(shown.matches(Secret::MASK).count(), 3, "{shown}");
    }
    for wrong in ["auth:\n  play_tokens: 1234\n", "auth:\n  play_tokens: [good, \"not 1234\"]\n"] {
        let found = problems(stack([yaml(wrong)]));
        assert!(found[0].starts_with("auth.play_tokens ") && !found[0].contains("1234"), "{found:?}");
    }
}

#[test]
fn headers_for_the_collector_are_checked_and_never_shown() {
    let variables = [
        ("AFORO__TELEMETRY__OTLP_HEADERS", "x-key=hunter2, authorization=Basic aHVudGVyMg=="),
        ("AFORO__TELEMETRY__SAMPLING_RATIO", "0.25"),
    ];
    let loaded = stack([environment(&variables)]).unwrap();
    let headers: Vec<_> = loaded.config.telemetry.headers().map(Option::unwrap).collect();
    assert_eq!(headers, [("x-key", "hunter2"), ("authorization", "Basic aHVudGVyMg==")]);
    assert_eq!(loaded.config.telemetry.sampling_ratio, 0.25);
    for shown in [loaded.with_origins(), loaded.to_yaml(), format!("{:?}", loaded.config)] {
        assert!(!shown.contains("hunter") && !shown.contains("aHVu"), "{shown}");
    }
    for wrong in ["[good=1, hunter2]", "[\"a b=hunter2\"]", "hunter2", "[\"a=hunter2\\n\"]"] {
        let found = problems(stack([yaml(&format!("telemetry:\n  otlp_headers: {wrong}\n"))]));
        let about = found[0].starts_with("telemetry.otlp_headers ");
        assert!(about && !found[0].contains("hunter"), "{found:?}");
    }
}

#[test]
fn a_collector_has_an_address_and_a_share_of_joins() {
    for good in ["http://collector:4318", "https://otlp.example/otlp/", "http://[::1]:4318"] {
        let loaded = stack([environment(&[("AFORO__TELEMETRY__OTLP_ENDPOINT", good)])]);
        assert!(loaded.is_ok(), "{good}");
    }
    for (key, bad) in [
        ("OTLP_ENDPOINT", "collector:4318"),
        ("OTLP_ENDPOINT", "http://user:password@collector"),
        ("SAMPLING_RATIO", "1.5"),
        ("SAMPLING_RATIO", "NaN"),
        ("SERVICE_NAME", ""),
    ] {
        let found = problems(stack([environment(&[(&format!("AFORO__TELEMETRY__{key}"), bad)])]));
        assert!(found[0].starts_with(&format!("telemetry.{}", key.to_lowercase())), "{bad}: {found:?}");
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let loaded =
        stack([yaml("http:\n  public_url: https://live.example\n  listen: \"[::1]:80\"\n")]).unwrap();
    let again = stack([yaml(&loaded.to_yaml())]).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn shards_that_do_not_fit_the_ports_are_refused() {
    let found = problems(stack([yaml("media:\n  udp: 65535\n  shards: 2\n")]));
    assert!(found[0].contains("go beyond port 65535"), "{found:?}");
}

#[test]
fn listeners_that_want_one_port_are_refused() {
    for (text, key) in [
        ("http: { listen: 30500 }\nmedia: { udp: 30500, shards: 1 }", "http.listen"),
        ("admin: { listen: 30501 }\nmedia: { udp: 30500, shards: 2 }", "admin.listen"),
        ("http: { listen: \"0.0.0.0:9000\" }\nadmin: { listen: \"127.0.0.1:9000\" }", "admin.listen"),
        ("http: { listen: \"[::]:9000\" }\nadmin: { listen: \"127.0.0.1:9000\" }", "admin.listen"),
    ] {
        let found = problems(stack([yaml(text)]));
        assert!(found.len() == 1 && found[0].starts_with(key), "{text}: {found:?}");
    }
    for good in [
        "http: { listen: 30500 }\nmedia: { udp: 30500, shards: 1, tcp: false }",
        "http: { listen: 0 }\nadmin: { listen: 0 }\nmedia: { udp: \"127.0.0.1:0\", advertise: [127.0.0.1] }",
        "http: { listen: \"127.0.0.2:9000\" }\nadmin: { listen: \"127.0.0.1:9000\" }",
        "http: { listen: \"0.0.0.0:9000\" }\nadmin: { listen: \"[::1]:9000\" }",
        // Something on this host may bring to it what comes for that address.
        "media: { udp: \"127.0.0.1:9000\", advertise: [192.0.2.2] }",
    ] {
        assert!(stack([yaml(good)]).is_ok(), "{good}");
    }
}

#[test]
fn a_variable_that_lacks_an_underscore_is_not_passed_over() {
    let found = problems(stack([environment(&[("AFORO_HTTP__LISTEN", "1"), ("AFORO_CONFIG", "a")])]));
    assert_eq!(found, ["environment AFORO_HTTP__LISTEN is none of ours, did you mean AFORO__HTTP__LISTEN?"]);
}

#[test]
fn a_bare_log_level_is_a_level_and_nothing_else() {
    for good in
        ["info", "WARN", "off", "aforo_node=debug", "warn,aforo_node=trace", "info,[room{name=a}]=debug"]
    {
        let loaded = stack([environment(&[("AFORO__LOG__LEVEL", good)])]);
        assert!(loaded.is_ok(), "{good}");
    }
    for bad in ["bogus", "inof", "info,aforo_node"] {
        let found = problems(stack([environment(&[("AFORO__LOG__LEVEL", bad)])]));
        assert!(found.len() == 1 && found[0].starts_with("log.level"), "{bad}: {found:?}");
    }
}
