//! `sixty doctor` beside a real daemon: it finds what is wrong, and nothing where nothing is.

use crate::harness::World;
use serde_json::Value;
use std::{fs::Permissions, os::unix::fs::PermissionsExt};

const MINE: &str = r#"
[[rule]]
name = "mine"
peer = { uid = "self" }
keys = ["**"]
kinds = ["virtual"]
"#;

/// The exit code, and what is bad: about what, and what to do.
fn examined(world: &World) -> (Option<i32>, Vec<(String, String)>) {
    let config = world.path("sixty.toml");
    let output = world.sixty(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    let bad = findings.iter().filter(|finding| finding["health"] == "bad");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (output.status.code(), bad.map(|finding| (text(&finding["about"]), text(&finding["advice"]))).collect())
}

#[test]
fn a_machine_that_is_well_has_nothing_to_mend() {
    let world = World::with_key(MINE);
    assert_eq!(examined(&world), (Some(0), vec![]));
    let shown = String::from_utf8(world.sixty(&["doctor"]).stdout).unwrap();
    assert!(shown.contains("open, 1 keys") && shown.contains("identity"), "{shown}");
}

#[test]
fn what_is_wrong_is_found_with_the_way_to_mend_it() {
    let mut world = World::with_key(MINE);
    assert!(world.sixty(&["lock"]).status.success());
    std::fs::set_permissions(world.path("state/vault.sealed"), Permissions::from_mode(0o644)).unwrap();
    let (code, bad) = examined(&world);
    let about: Vec<_> = bad.iter().map(|(about, _)| about.as_str()).collect();
    assert_eq!((code, about), (Some(1), vec!["vault", "vault"]));
    assert!(bad[0].1.starts_with("chmod go= ") && bad[1].1.contains("sixty unlock"), "{bad:?}");
    std::fs::set_permissions(world.path("state/vault.sealed"), Permissions::from_mode(0o600)).unwrap();
    assert!(world.sixty(&["unlock"]).status.success());
    assert_eq!(examined(&world), (Some(0), vec![]));
    world.stop();
    let (code, bad) = examined(&world);
    assert_eq!((code, bad.len(), bad[0].0.as_str()), (Some(1), 1, "daemon"));
}
