//! Real programs against a real daemon: plain clients of three languages, SDKs, and schemathesis.
//! A program that is missing is a skip with a word how to get it, and a failure where `CI` is set.

mod gateway;
mod git;

use crate::{
    bridge::Bridge,
    harness::{MINE, World},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const KEY: &str = "dashscope/main";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program of `tests/clients/setup.sh`.
fn installed(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin").join(name).to_str().unwrap().to_owned()
}

/// Whether a program runs here; says so if it does not.
fn runs(program: &str, advice: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|told| told.status.success());
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{program} does not run here: {advice}");
        eprintln!("skipped: {program} does not run here: {advice}");
    }
    there
}

/// Runs a client of the folder that knows this world's broker and authority.
fn run(world: &World, program: &str, arguments: &[&str]) -> Output {
    let authority = world.path("ca.pem");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder());
    command.env("SIXTY_SOCKET", world.broker());
    command.env("REQUESTS_CA_BUNDLE", &authority).env("SSL_CERT_FILE", &authority);
    command.env("DASHSCOPE_API_KEY_FILE_PATH", world.path("token"));
    command.env("DASHSCOPE_HTTP_BASE_URL", format!("{}/api/v1", world.studio.url()));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("DASHSCOPE_API_KEY").env_remove("OPENAI_API_KEY");
    command.output().unwrap()
}

/// What it printed, if it ended well.
fn said(output: &Output) -> String {
    let (told, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {told}{fault}", output.status);
    told.trim_end().to_owned()
}

fn world() -> World {
    let world = World::new(MINE);
    world.add_key(KEY);
    world
}

/// A client prints a token, or what it was told on stderr; it never prints both.
fn mints(program: &str, script: &str) {
    let world = world();
    let token = said(&run(&world, program, &[script, KEY]));
    assert!(token.starts_with("st-") && token.lines().count() == 1, "{token}");
    assert_eq!(world.studio.mints(), 1);
    let refused = run(&world, program, &[script, "dashscope/nobody"]);
    let fault = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{fault}");
    assert!(fault.contains("denied: no rule allows this (request "), "{fault}");
}

#[test]
fn curl_mints() {
    if !runs("curl", "apt-get install curl") {
        return;
    }
    let world = world();
    let lease: serde_json::Value = serde_json::from_str(&said(&run(&world, "sh", &["mint.sh", KEY]))).unwrap();
    assert!(lease["token"].as_str().unwrap().starts_with("st-"));
    let refused = run(&world, "sh", &["mint.sh", "dashscope/nobody"]);
    assert_eq!(refused.status.code(), Some(22), "curl's own code for an HTTP error");
    assert!(String::from_utf8_lossy(&refused.stdout).contains(r#""code":"denied""#));
}

#[test]
fn python_mints() {
    if runs("python3", "apt-get install python3") {
        mints("python3", "mint.py");
    }
}

#[test]
fn node_mints() {
    if runs("node", "apt-get install nodejs") {
        mints("node", "mint.mjs");
    }
}

#[test]
fn the_vendors_sdk_is_served_until_its_token_is_over() {
    let python = installed("python");
    if runs(&python, "tests/clients/setup.sh installs it") {
        let world = world();
        assert_eq!(said(&run(&world, &python, &["studio.py", KEY, "4"])), "200 OK\n401 InvalidApiKey");
        assert_eq!((world.studio.mints(), world.studio.uses()), (1, 1));
    }
}

#[test]
fn the_openai_sdk_asks_for_a_token_for_each_request() {
    let python = installed("python");
    if runs(&python, "tests/clients/setup.sh installs it") {
        let world = world();
        assert_eq!(said(&run(&world, &python, &["openai_chat.py", KEY])).lines().count(), 2);
        assert_eq!((world.studio.mints(), world.studio.uses()), (3, 2));
    }
}

/// All checks; the seed is fixed so that a red run can be had again. What it keeps is kept in the world's directory.
fn without_fault(world: &World, socket: PathBuf, description: &str, phases: &str) {
    let bridge = Bridge::to(socket);
    let options =
        "--checks all --max-examples 10 --seed 60 --request-timeout 20 --suppress-health-check all --no-color";
    let mut command = Command::new(installed("python"));
    command.current_dir(world.directory.path()).args(["-m", "schemathesis.cli", "--config-file"]);
    command.arg(folder().join("schemathesis.toml")).arg("run");
    command.arg(folder().join("../../src/endpoint").join(description));
    command.args(["--url", &bridge.url(), "--phases", phases]).args(options.split(' '));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.http("GET", "/healthz", None).status, 200);
}

#[test]
fn schemathesis_finds_no_fault_with_the_broker_socket() {
    if runs(&installed("schemathesis"), "tests/clients/setup.sh installs it") {
        let world = world();
        without_fault(&world, world.broker(), "openapi.json", "examples,coverage,fuzzing,stateful");
    }
}

#[test]
fn schemathesis_finds_no_fault_with_the_control_socket() {
    if runs(&installed("schemathesis"), "tests/clients/setup.sh installs it") {
        let world = world();
        without_fault(&world, world.control(), "openapi-control.json", "examples,coverage");
    }
}
