//! Real clients through the gateway with nothing but their environment changed: plain and streaming, and each no in the
//! class that the client has for it.

use super::{Bridge, folder, installed, runs, said};
use crate::harness::{MINE, World};
use sixty::demo::studio::Fault;
use std::{path::Path, process::Command};

const TEXT: &str = "This is the pretend Model Studio.";

/// A client, with what it says of a denied, a revoked and a throttled call.
struct Client<'a> {
    program: String,
    script: &'a str,
    denied: &'a str,
    revoked: &'a str,
    throttled: &'a str,
    /// Calls that it makes.
    calls: usize,
}

impl Client<'_> {
    /// Talks with a good key; then with a key for elsewhere, with one that is revoked, and with a provider that is busy.
    fn proves_itself(&self) {
        let world = World::with_key(MINE);
        let key = world.virtual_key("");
        assert_eq!(self.says(&world, &key), [TEXT].repeat(self.calls));
        assert_eq!((world.studio.uses(), world.studio.mints()), (self.calls as u64, 0));
        let elsewhere = world.virtual_key(r#","scope":{"paths":["/elsewhere"]}"#);
        assert!(self.hears(&world, &elsewhere, self.denied));
        world.studio.always(Fault::Throttled);
        assert!(self.hears(&world, &key, self.throttled));
        world.studio.clear();
        assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
        assert!(self.hears(&world, &key, self.revoked));
        assert_eq!(world.studio.uses(), self.calls as u64);
    }

    /// Whether each of its calls was told just this.
    fn hears(&self, world: &World, key: &str, told: &str) -> bool {
        let said = self.says(world, key);
        eprintln!("{}: {said:?}, and should hear {told}", self.script);
        !said.is_empty() && said.iter().all(|line| line == told)
    }

    fn says(&self, world: &World, key: &str) -> Vec<String> {
        let bridge = Bridge::to(world.path("run/gateway.sock"));
        let base = format!("{}/dashscope", bridge.url());
        let mut command = Command::new(&self.program);
        command.arg(self.script).current_dir(folder()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", world.directory.path());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NODE_PATH", modules());
        command.env("OPENAI_BASE_URL", format!("{base}/compatible-mode/v1")).env("OPENAI_API_KEY", key);
        command.env("ANTHROPIC_BASE_URL", format!("{base}/apps/anthropic")).env("ANTHROPIC_API_KEY", key);
        command.env("DASHSCOPE_HTTP_BASE_URL", format!("{base}/api/v1")).env("DASHSCOPE_API_KEY", key);
        if self.script.ends_with(".sh") {
            command.arg(world.path("run/gateway.sock"));
        }
        said(&command.output().unwrap()).lines().map(str::to_owned).collect()
    }
}

fn modules() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node/node_modules").to_str().unwrap().to_owned()
}

#[test]
fn the_openai_sdk_of_python_sees_its_own_errors() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let (denied, revoked) = ("PermissionDeniedError denied", "AuthenticationError revoked");
        let throttled = "RateLimitError limit_requests";
        Client { program, script: "gateway_openai.py", denied, revoked, throttled, calls: 2 }.proves_itself();
    }
}

#[test]
fn the_anthropic_sdk_of_python_sees_its_own_errors() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let denied = "PermissionDeniedError permission_error";
        let (revoked, throttled) = ("AuthenticationError authentication_error", "RateLimitError rate_limit_error");
        Client { program, script: "gateway_anthropic.py", denied, revoked, throttled, calls: 2 }.proves_itself();
    }
}

#[test]
fn the_dashscope_sdk_of_python_is_told_as_model_studio_tells() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let (denied, revoked, throttled) = ("403 AccessDenied", "401 InvalidApiKey", "429 Throttling.RateQuota");
        Client { program, script: "gateway_dashscope.py", denied, revoked, throttled, calls: 2 }.proves_itself();
    }
}

#[test]
fn the_sdks_of_node_see_their_own_errors() {
    let advice = "tests/clients/setup.sh installs it, and apt-get install npm";
    if runs("node", "apt-get install nodejs") && there(&modules(), advice) {
        let (denied, revoked, throttled) = ("PermissionDeniedError", "AuthenticationError", "RateLimitError");
        Client { program: "node".into(), script: "gateway.cjs", denied, revoked, throttled, calls: 4 }.proves_itself();
    }
}

/// Whether a folder is there; says so if it is not.
fn there(folder: &str, advice: &str) -> bool {
    let there = Path::new(folder).is_dir();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{folder} is not there: {advice}");
        eprintln!("skipped: {folder} is not there: {advice}");
    }
    there
}

#[test]
fn curl_talks_through_the_gateways_own_socket() {
    if !runs("curl", "apt-get install curl") {
        return;
    }
    let world = World::with_key(MINE);
    let client =
        Client { program: "sh".into(), script: "gateway.sh", denied: "", revoked: "", throttled: "", calls: 2 };
    let told = client.says(&world, &world.virtual_key(""));
    assert!(told[0].contains(TEXT) && told.iter().any(|line| line == "data: [DONE]"), "{told:?}");
    let told = client.says(&world, &world.virtual_key(r#","scope":{"paths":["/elsewhere"]}"#));
    assert!(told.iter().all(|line| line.contains(r#""code":"denied""#)), "{told:?}");
}
