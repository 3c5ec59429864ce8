//! Providers of one's own: files beside the config, and what is said of wrong ones.

use crate::{
    harness::{MINE, World, is_root, random_key},
    snapshot::Tale,
};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const ACME: &str = r#"schema = 1
name = "acme"
title = "Acme's models"

[upstream]
reach = "any"

[gateway]
inject = "authorization: Bearer"

[[gateway.route]]
path = "/compatible-mode/v1/chat/completions"
shape = "openai-chat"
"#;

/// A key of this provider, kept at the stand-in.
fn keep(world: &World, name: &str, provider: &str) -> u16 {
    let key = random_key();
    world.studio.register(&key);
    let body = format!(r#"{{"provider":"{provider}","endpoint":"{}","secret":"{key}"}}"#, world.studio.url());
    world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status
}

pub fn put(world: &World, name: &str, text: &str) -> PathBuf {
    let folder = world.path("providers");
    let _ = fs::create_dir(&folder);
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    path
}

/// What a call of this command's says with the key and the base URL that it finds in these variables.
fn called(world: &World, key: &str, provider: &str) -> String {
    let script = format!(
        "curl -sS -H \"x-api-key: ${provider}_API_KEY\" -H 'content-type: application/json' -d '{}' \
         ${provider}_BASE_URL/compatible-mode/v1/chat/completions",
        r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#
    );
    let output = world.sixty(&["exec", key, "--", "sh", "-c", &script]);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_provider_of_ones_own_is_as_good_as_a_shipped_one() {
    let mut world = World::asleep(MINE, &[]);
    put(&world, "acme.toml", ACME);
    put(&world, ".#acme.toml", "an editor's own");
    put(&world, "acme.toml.old", "no recipe");
    world.start();
    assert_eq!(keep(&world, "acme/main", "acme"), 201);
    let said = called(&world, "acme/main", "ACME");
    assert!(said.contains("This is the pretend Model Studio"), "{said}");
    let lease = world.mint(r#"{"key":"acme/main","kind":"virtual"}"#).json();
    assert!(lease["base_urls"]["acme"].as_str().unwrap().ends_with("/acme"), "{}", lease["base_urls"]);
    assert_eq!(world.mint(r#"{"key":"acme/main","kind":"upstream"}"#).status, 400);
    let usage = world.control_http("GET", "/v1/usage", None).json();
    assert!(usage["usage"][0]["output"].as_u64().unwrap() > 0, "its answers are counted: {usage}");
}

#[test]
fn a_command_gets_a_generic_key_too() {
    let world = World::new(MINE);
    assert_eq!(keep(&world, "house/main", "generic"), 201);
    let said = called(&world, "house/main", "GENERIC");
    assert!(said.contains("This is the pretend Model Studio"), "{said}");
}

#[test]
fn a_reload_takes_all_providers_or_none() {
    let world = World::new(MINE);
    assert_eq!(keep(&world, "acme/main", "acme"), 400);
    put(&world, "acme.toml", ACME);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(keep(&world, "acme/main", "acme"), 201);
    put(&world, "more.toml", &ACME.replace("\"acme\"", "\"more\""));
    let broken = put(&world, "other.toml", &ACME.replace("inject", "injekt"));
    assert_ne!(world.control_http("POST", "/v1/reload", None).status, 200);
    let known = world.http("GET", "/v1/providers", None).json();
    assert!(known["providers"]["acme"].is_object() && known["providers"]["more"].is_null(), "{known}");
    fs::remove_file(broken).unwrap();
    fs::remove_file(world.path("providers/acme.toml")).unwrap();
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    let said = called(&world, "acme/main", "ACME");
    assert!(!said.contains("pretend"), "nobody knows any more where it goes: {said}");
    assert_eq!(keep(&world, "more/main", "more"), 201);
}

#[test]
fn a_folder_that_others_can_change_is_refused_as_the_config_would_be() {
    let mut world = World::asleep(MINE, &[]);
    put(&world, "acme.toml", ACME);
    world.start();
    let folder = world.path("providers");
    let check = || {
        let output = world.sixty(&["check", world.path("sixty.toml").to_str().unwrap()]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (mode, code, told) in [
        (0o755, Some(0), ""),
        (0o777, Some(78), "others can change this folder"),
        (0o775, Some(78), "chmod go-w"),
        (0o1777, Some(78), "others can change this folder"),
    ] {
        fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
        let said = check();
        assert!(said.0 == code && said.1.contains(told), "{mode:o}: {said:?}");
        assert_eq!(world.control_http("POST", "/v1/reload", None).status == 200, code == Some(0), "{mode:o}");
    }
    assert_eq!(keep(&world, "acme/main", "acme"), 201, "the daemon goes on with what it had");
    fs::rename(&folder, world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &folder).unwrap();
    assert!(check().1.contains("this is no folder"));
    if is_root() {
        fs::remove_file(&folder).unwrap();
        fs::rename(world.path("elsewhere"), &folder).unwrap();
        put(&world, "acme.toml", ACME);
        std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
        assert!(check().1.contains("this folder belongs to somebody else"));
    }
}

#[test]
fn two_keys_never_stand_in_one_variable() {
    let mut world = World::asleep(MINE, &[]);
    put(&world, "acme.toml", &format!("{ACME}\n[client]\nkey = [\"OPENAI_API_KEY\"]\n"));
    world.start();
    assert_eq!((keep(&world, "acme/main", "acme"), keep(&world, "openai/main", "generic")), (201, 201));
    let body = format!(r#"{{"provider":"openai","endpoint":"{}","secret":"{}"}}"#, world.studio.url(), random_key());
    assert_eq!(world.control_http("PUT", "/v1/keys/openai/own", Some(&body)).status, 201);
    let output = world.sixty(&["exec", "acme/main", "openai/own", "--", "true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("acme/main and openai/own would both stand in OPENAI_API_KEY"), "{said}");
    assert_eq!((output.status.code(), world.status()["leases"]["live"].as_u64()), (Some(2), Some(0)));
}

#[test]
fn wrong_ones_are_told_like_a_wrong_config_all_at_once() {
    let mut world = World::asleep(MINE, &[]);
    put(&world, "a-field.toml", &ACME.replace("title", "titel"));
    put(&world, "b-shadow.toml", &ACME.replace("\"acme\"", "\"openai\""));
    put(&world, "c-good.toml", ACME);
    put(&world, "d-twice.toml", ACME);
    put(&world, "e-tomorrow.toml", &ACME.replace("schema = 1", "schema = 2"));
    put(&world, "f-syntax.toml", &ACME.replace("reach = \"any\"", "reach = any"));
    put(&world, "g-header.toml", &ACME.replace("authorization: Bearer", "host"));
    put(&world, "h-value.toml", &ACME.replace("reach = \"any\"", "host = \"{house}.acme.example\""));
    put(&world, "j-variable.toml", &format!("{ACME}\n[client]\nkey = [\"LD_PRELOAD\"]\n"));
    let open = put(&world, "k-open.toml", ACME);
    fs::set_permissions(open, PermissionsExt::from_mode(0o666)).unwrap();
    std::os::unix::fs::symlink("c-good.toml", world.path("providers/l-link.toml")).unwrap();
    world.configure(&MINE.replace("[[rule]]", "[[rulle]]"));
    let mut tale = Tale::of(&world);
    tale.run("check DIRECTORY/sixty.toml");
    world.configure(MINE);
    tale.run("daemon --config DIRECTORY/sixty.toml");
    tale.check("wrong-providers");
    // Without them it starts, so nothing else was wrong.
    fs::remove_dir_all(world.path("providers")).unwrap();
    world.start();
}
