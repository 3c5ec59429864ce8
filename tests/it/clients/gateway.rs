//! Real clients through the gateway with nothing but their environment changed: plain and streaming, and each no in the
//! class that the client has for it.

use super::{Bridge, folder, installed, runs, said};
use crate::harness::{MINE, World, random_key};
use sixty::demo::studio::Fault;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

const TEXT: &str = "This is the pretend Model Studio.";

/// A client, with what it says of each no.
struct Client<'a> {
    program: String,
    /// Its words: a file of the folder first.
    script: &'a [&'a str],
    provider: &'a str,
    denied: &'a str,
    expired: &'a str,
    exhausted: &'a str,
    revoked: &'a str,
    throttled: &'a str,
}

/// Calls that each client makes: one plain, one streamed.
const CALLS: usize = 2;

impl Client<'_> {
    /// Talks with a good key; then with a key for elsewhere, one that is over, one that is used up and one that is
    /// revoked, and with a provider that is busy.
    fn proves_itself(&self) {
        let world = World::new(MINE);
        self.keep(&world);
        let key = self.mint(&world, "");
        assert_eq!(self.says(&world, &key), [TEXT].repeat(CALLS));
        assert_eq!((world.studio.uses(), world.studio.mints()), (CALLS as u64, 0));
        let brief = self.mint(&world, r#","ttl":1"#);
        let elsewhere = self.mint(&world, r#","scope":{"paths":["/elsewhere"]}"#);
        self.hears(&world, &elsewhere, self.denied);
        let once = self.mint(&world, r#","uses":1"#);
        let told = self.says(&world, &once);
        assert_eq!(told, [TEXT, self.exhausted], "{:?}", self.script);
        self.hears(&world, &once, self.exhausted);
        world.studio.always(Fault::Throttled);
        self.hears(&world, &key, self.throttled);
        world.studio.clear();
        self.hears(&world, &brief, self.expired);
        assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
        self.hears(&world, &key, self.revoked);
        assert_eq!(world.studio.uses(), CALLS as u64 + 1);
    }

    fn keep(&self, world: &World) {
        let (key, url) = (random_key(), world.studio.url());
        world.studio.register(&key);
        let body = format!(r#"{{"provider":"{}","endpoint":"{url}","secret":"{key}"}}"#, self.provider);
        assert_eq!(world.control_http("PUT", &format!("/v1/keys/{}", self.provider), Some(&body)).status, 201);
    }

    fn mint(&self, world: &World, more: &str) -> String {
        world.mint(&format!(r#"{{"key":"{}","kind":"virtual"{more}}}"#, self.provider)).token()
    }

    /// Each of its calls is told just this.
    fn hears(&self, world: &World, key: &str, told: &str) {
        assert_eq!(self.says(world, key), [told].repeat(CALLS), "{:?}", self.script);
    }

    fn says(&self, world: &World, key: &str) -> Vec<String> {
        let bridge = Bridge::to(world.path("run/gateway.sock"));
        let base = format!("{}/{}", bridge.url(), self.provider);
        let mut command = Command::new(&self.program);
        command.args(self.script).current_dir(folder()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", world.directory.path());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NODE_PATH", modules());
        command.env("OPENAI_BASE_URL", format!("{base}/compatible-mode/v1")).env("OPENAI_API_KEY", key);
        command.env("ANTHROPIC_BASE_URL", format!("{base}/apps/anthropic")).env("ANTHROPIC_API_KEY", key);
        command.env("DASHSCOPE_HTTP_BASE_URL", format!("{base}/api/v1")).env("DASHSCOPE_API_KEY", key);
        command.env("GOOGLE_GEMINI_BASE_URL", &base).env("GOOGLE_API_KEY", key);
        if self.program == "sh" {
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
        let client = Client {
            program,
            script: &["gateway_openai.py"],
            provider: "dashscope",
            denied: "PermissionDeniedError denied",
            expired: "AuthenticationError expired",
            exhausted: "AuthenticationError exhausted",
            revoked: "AuthenticationError revoked",
            throttled: "RateLimitError limit_requests",
        };
        client.proves_itself();
    }
}

/// What Anthropic's shape says of a key that is over, for whatever reason.
const OVER: &str = "AuthenticationError authentication_error";

#[test]
fn the_anthropic_sdk_of_python_sees_its_own_errors() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let client = Client {
            program,
            script: &["gateway_anthropic.py"],
            provider: "dashscope",
            denied: "PermissionDeniedError permission_error",
            expired: OVER,
            exhausted: OVER,
            revoked: OVER,
            throttled: "RateLimitError rate_limit_error",
        };
        client.proves_itself();
    }
}

#[test]
fn the_dashscope_sdk_of_python_is_told_as_model_studio_tells() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let client = Client {
            program,
            script: &["gateway_dashscope.py"],
            provider: "dashscope",
            denied: "403 AccessDenied",
            expired: "401 InvalidApiKey",
            exhausted: "401 InvalidApiKey",
            revoked: "401 InvalidApiKey",
            throttled: "429 Throttling.RateQuota",
        };
        client.proves_itself();
    }
}

#[test]
fn the_google_sdk_of_python_is_told_as_google_tells() {
    let program = installed("python");
    if runs(&program, "tests/clients/setup.sh installs it") {
        let client = Client {
            program,
            script: &["gateway_gemini.py"],
            provider: "gemini",
            denied: "ClientError 403 PERMISSION_DENIED",
            expired: "ClientError 401 UNAUTHENTICATED",
            exhausted: "ClientError 401 UNAUTHENTICATED",
            revoked: "ClientError 401 UNAUTHENTICATED",
            throttled: "ClientError 429 RESOURCE_EXHAUSTED",
        };
        client.proves_itself();
    }
}

#[test]
fn the_openai_sdk_of_node_sees_its_own_errors() {
    let advice = "tests/clients/setup.sh installs it, and apt-get install npm";
    if runs("node", "apt-get install nodejs") && there(&modules(), advice) {
        let client = Client {
            program: "node".into(),
            script: &["gateway.cjs", "openai"],
            provider: "dashscope",
            denied: "PermissionDeniedError denied",
            expired: "AuthenticationError expired",
            exhausted: "AuthenticationError exhausted",
            revoked: "AuthenticationError revoked",
            throttled: "RateLimitError limit_requests",
        };
        client.proves_itself();
    }
}

#[test]
fn the_anthropic_sdk_of_node_sees_its_own_errors() {
    let advice = "tests/clients/setup.sh installs it, and apt-get install npm";
    if runs("node", "apt-get install nodejs") && there(&modules(), advice) {
        let client = Client {
            program: "node".into(),
            script: &["gateway.cjs", "anthropic"],
            provider: "dashscope",
            denied: "PermissionDeniedError permission_error",
            expired: OVER,
            exhausted: OVER,
            revoked: OVER,
            throttled: "RateLimitError rate_limit_error",
        };
        client.proves_itself();
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
    let world = World::new(MINE);
    let (program, script) = ("sh".to_owned(), &["gateway.sh"][..]);
    let client = Client {
        program,
        script,
        provider: "dashscope",
        denied: "",
        expired: "",
        exhausted: "",
        revoked: "",
        throttled: "",
    };
    client.keep(&world);
    let told = client.says(&world, &client.mint(&world, ""));
    assert!(told[0].contains(TEXT) && told.iter().any(|line| line == "data: [DONE]"), "{told:?}");
    let told = client.says(&world, &client.mint(&world, r#","scope":{"paths":["/elsewhere"]}"#));
    assert!(told.iter().all(|line| line.contains(r#""code":"denied""#)), "{told:?}");
}

/// A task over Model Studio's websocket, by its variables alone.
fn task(world: &World, bridge: &Bridge, key: &str) -> Command {
    let mut command = Command::new(installed("python"));
    command.arg("gateway_socket.py").current_dir(folder()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("HOME", world.directory.path()).env("DASHSCOPE_API_KEY", key);
    let address = bridge.url().replace("http://", "ws://");
    command.env("DASHSCOPE_WEBSOCKET_BASE_URL", format!("{address}/dashscope/api-ws/v1/inference"));
    command
}

#[test]
fn a_websocket_client_talks_is_refused_and_is_cut_within_100_ms() {
    if !runs(&installed("python"), "tests/clients/setup.sh installs it") {
        return;
    }
    let world = World::with_key(MINE);
    let bridge = Bridge::to(world.path("run/gateway.sock"));
    let says = |key: &str| said(&task(&world, &bridge, key).output().unwrap());
    let key = world.virtual_key("");
    assert_eq!(says(&key), format!("task-started\n{TEXT}\ntask-finished"));
    assert_eq!(says(&world.virtual_key(r#","scope":{"paths":["/elsewhere"]}"#)), "403 denied");
    let mut held = task(&world, &bridge, &key).env("HOLD", "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(held.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "held"));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
    let cut = lines.next().unwrap();
    let after = cut.strip_prefix("cut ").unwrap().parse::<f64>().unwrap() - since;
    assert!(after < 0.1, "{after} s");
    assert!(held.wait().unwrap().success());
    assert_eq!(says(&key), "401 revoked");
}
