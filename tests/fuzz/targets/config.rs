//! A config's text: each fault has a place in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{config, config::Context, recipe::Recipe};
use std::sync::LazyLock;

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context {
    uid: 1000,
    gid: 1000,
    pid_ns: Some(1),
    user: |name| (name == "ci").then_some(7),
    group: |name| (name == "ci").then_some(7),
    recipes: Recipe::shipped().unwrap(),
});

fuzz_target!(|text: &str| {
    if let Err(faults) = config::parse("sixty.toml", text, &CONTEXT) {
        assert!(!faults.to_string().is_empty());
    }
});
