//! Small buildings, each with one fault, and a sound one: the checker tells them apart.

use super::{File, faults};

fn told(files: &[(&str, &str)]) -> Vec<String> {
    let file = |&(path, text): &(&str, &str)| File { path: path.to_owned(), text: text.to_owned() };
    faults(&files.iter().map(file).collect::<Vec<_>>())
}

/// The faults of one file.
fn of(path: &str, text: &str) -> Vec<String> {
    told(&[(path, text)])
}

#[test]
fn a_sound_building_has_no_fault() {
    let broker = r##"
        //! It is said that `use crate::daemon::Daemon;` is forbidden.
        /* unsafe { /* use crate::cli::X; */ } */
        use crate::{issuer::{self, Lease}, model::KeyName as Name, vault::*};
        use std::sync::Arc;
        use ::tokio::sync;
        mod ask { use super::super::policy::Rules; use super::super::super::secret as _; }
        pub(in crate::broker) fn f<'a>(c: char) -> &'a str { if c == '"' { "unsafe" } else { r#"crate::cli::"# } }
        fn g() -> crate::model::Ttl { crate::wire::token!() }
        #[cfg(test)]
        #[allow(dead_code)]
        mod tests { use crate::daemon::Daemon; fn f() { crate::cli::run() } }
    "##;
    let broker = broker.replace("super::super::super::secret", "super::super::secret");
    assert_eq!(of("src/broker/mod.rs", &broker), [] as [String; 0]);
    assert_eq!(of("src/lib.rs", "pub mod sys; use crate::cli; fn main() { daemon::run() }"), [] as [String; 0]);
    assert_eq!(of("src/sys/timer.rs", "use crate::clock::Clock; fn f() { unsafe { g() } }"), [] as [String; 0]);
    assert_eq!(of("src/daemon/mod.rs", "use crate::{config::Config, vault::Vault};"), [] as [String; 0]);
    assert_eq!(of("src/cli/check.rs", "use crate::config::{Faults, load};"), [] as [String; 0]);
}

#[test]
fn an_import_from_above_is_seen_however_it_is_written() {
    let ways = [
        "use crate::broker::Broker;",
        "pub(crate) use crate::{clock::Clock, model::{self, KeyName}, broker::{ask::{Ask}}};",
        "use {crate::model::KeyName, crate::broker};",
        "use crate::broker::*;",
        "use super::super::broker::Broker as B;",
        "mod inner { mod deeper { use super::super::super::super::broker::Broker; } }",
        "fn f() { let b = crate::broker::Broker::new(); }",
        "fn f() { if true { return super::super::broker::ask() } }",
        "macro_rules! ask { () => { $crate::broker::ask() } }",
        "impl<'a> From<crate::broker::Broker<'a>> for u8 {}",
        "#[cfg(any(test, feature = \"x\"))] use crate::broker::Broker;",
        "#[cfg(not(test))] mod real { use crate::broker::Broker; }",
        "#[cfg(test)] mod tests { fn f() {} } use crate::broker::Broker;",
        "struct S { #[cfg(test)] a: u8, b: crate::broker::Broker }",
        "const C: char = '\\''; use crate::broker::Broker; const D: char = '\\'';",
    ];
    for way in ways {
        let faults = of("src/vault/seal.rs", way);
        assert_eq!(faults.len(), 1, "{way}: {faults:?}");
        assert!(faults[0].starts_with("src/vault/seal.rs:1: vault imports broker"), "{faults:?}");
    }
}

#[test]
fn neighbours_on_a_floor_are_strangers() {
    assert_eq!(of("src/vault.rs", "use crate::audit::Log;").len(), 1);
    assert_eq!(of("src/cli/demo.rs", "use crate::demo;").len(), 1);
    assert_eq!(of("src/clock.rs", "use crate::sys::timer;").len(), 1, "the clock does not know its timer");
}

#[test]
fn the_callers_side_has_no_way_into_the_core() {
    for inner in ["vault", "issuer", "broker", "upstream", "ledger", "attest", "gateway", "endpoint"] {
        let text = format!("use crate::{inner}::X;");
        assert_eq!(of("src/cli/mod.rs", &text).len(), 1, "cli, {inner}");
        assert_eq!(of("src/client.rs", &text).len(), 1, "client, {inner}");
    }
}

#[test]
fn doors_know_neither_keys_nor_rules() {
    for door in ["src/endpoint/native.rs", "src/gateway/mod.rs", "src/observe.rs"] {
        for inner in
            ["vault::Vault", "issuer", "upstream::call", "policy::Rules", "policy", "policy::*", "policy::judge"]
        {
            assert_eq!(of(door, &format!("use crate::{inner};")).len(), 1, "{door}, {inner}");
        }
        assert_eq!(of(door, "use crate::{policy::Explanation, broker::Session};"), [] as [String; 0]);
    }
}

#[test]
fn only_the_daemon_knows_the_config_whole() {
    for whole in ["config::Config", "config", "config::*", "config::{self}", "config::{Faults, Config as C}"] {
        assert_eq!(of("src/cli/check.rs", &format!("use crate::{whole};")).len(), 1, "{whole}");
    }
    assert_eq!(of("src/demo/mod.rs", "fn f(c: &crate::config::Config) {}").len(), 1);
}

#[test]
fn a_module_without_a_floor_is_no_module() {
    assert_eq!(of("src/util.rs", "").len(), 1);
    assert_eq!(of("src/cli/mod.rs", "use crate::helpers::x;").len(), 1);
    assert_eq!(of("src/cli/mod.rs", "use crate::*;").len(), 1);
    assert_eq!(of("src/clock.rs", "mod x { use super::super::*; }").len(), 1);
}

#[test]
fn unsafe_code_lives_in_sys_even_in_tests() {
    assert_eq!(of("src/vault/page.rs", "fn f() { unsafe { g() } }").len(), 1);
    assert_eq!(of("src/vault/page.rs", "#![allow(unsafe_code)]").len(), 1);
    assert_eq!(of("src/vault/page.rs", "#[cfg(test)] mod tests { unsafe fn f() {} }").len(), 1);
    assert_eq!(of("src/lib.rs", "unsafe impl Send for X {}").len(), 1);
}

#[test]
fn a_long_file_is_told_and_its_tests_are_not_counted() {
    let code = "fn f() {}\n".repeat(400);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn t() {}\n".repeat(300));
    assert_eq!(of("src/vault.rs", &format!("{code}{tests}")), [] as [String; 0]);
    assert_eq!(of("src/vault.rs", &format!("{code}{tests}fn g() {{}}\n")).len(), 1);
}

#[test]
fn only_a_declaration_makes_a_file_a_test() {
    let tests = "use crate::daemon::Daemon;";
    let at = "src/vault/tests.rs";
    assert_eq!(told(&[("src/vault/mod.rs", "#[cfg(test)]\nmod tests;"), (at, tests)]), [] as [String; 0]);
    assert_eq!(told(&[("src/vault/mod.rs", "mod tests;"), (at, tests)]).len(), 1);
    let nested = [("src/vault.rs", "#[cfg(test)]\nmod tests;"), ("src/vault/tests/faults.rs", tests)];
    assert_eq!(told(&nested), [] as [String; 0]);
}
