//! libFuzzer on the parser that `AFORO_FUZZ_TARGET` names; the parsers are those whose corpora every test run replays.

#![no_main]

#[path = "../../tests/corpora/targets.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let wanted = std::env::var("AFORO_FUZZ_TARGET").expect("AFORO_FUZZ_TARGET names no parser");
        let known = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
        known.expect("AFORO_FUZZ_TARGET names an unknown parser").1
    });
    run(bytes);
});
