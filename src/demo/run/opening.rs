//! How it begins: a provider, a broker, a key in it, and a caller whom the kernel vouches for.
//! It must never write the key anywhere but into the control socket.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::caller::understood;
use super::launch::Launched;
use super::stage::{BUDGET, KEY, LOG, OTHER_KEY, Stage, made_up_key, quoted};
use super::step::{Shown, StepError, see, system};
use crate::client::Method;
use crate::secret::Secret;
use crate::sys::file;
use crate::vault::create_key_file;

/// How long a broker may take to its first answer.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
struct Stored {
    fingerprint: String,
}

pub(super) fn stand_in(stage: &mut Stage) -> Result<Shown, StepError> {
    stage.key.expose(|key| stage.studio().register(&String::from_utf8_lossy(key)));
    let stranger = stage.caller.call(&made_up_key()?)?;
    see(stranger == 401, || format!("a key that nobody registered was answered with {stranger}"))?;
    Ok(Shown::Held(format!("{}, certified for this run; another key than ours gets 401", stage.studio().url())))
}

pub(super) fn broker(stage: &mut Stage) -> Result<Shown, StepError> {
    let config = stage.file("sixty.toml");
    file::replace(&config, 0o600, written(stage).as_bytes())?;
    create_key_file(&stage.file("vault.key"))?;
    let log = file::append_only(&stage.file(LOG), 0o600)?;
    let late = stage.clock.boot().plus(PATIENCE);
    stage.launched = Some(Launched::start(&config, &stage.file(""), log, &stage.clock)?);
    while !stage.caller.ready() {
        see(stage.serves(), || format!("it ended: {}", last_line(&stage.file(LOG))))?;
        see(stage.clock.boot() < late, || "it is not ready after 10 s".to_owned())?;
        stage.backstage.pause(LOOK)?;
    }
    let pid = stage.launched.as_ref().map(Launched::pid).unwrap_or_default();
    Ok(Shown::Held(format!("process {pid} in {}, which is closed to others", stage.file("").display())))
}

pub(super) fn store(stage: &mut Stage) -> Result<Shown, StepError> {
    let other = made_up_key()?;
    stage.look_for("the other key", &other);
    put(stage, OTHER_KEY, &other)?;
    let key = stage.key.expose(Secret::copied);
    stage.look_for("the key", &key);
    let answer = put(stage, KEY, &key)?;
    let shown = stage.caller.command(Method::GET, &format!("/v1/keys/{KEY}"), None)?;
    let told = |answer: &[u8]| key.expose(|key| answer.windows(key.len()).any(|part| part == key));
    see(!told(&answer) && !told(&shown), || "the broker shows the key".to_owned())?;
    let Stored { fingerprint } = understood(KEY, &answer)?;
    Ok(Shown::Held(format!("{KEY} is in; all that the broker tells of it is its fingerprint, {fingerprint}")))
}

pub(super) fn identify(stage: &mut Stage) -> Result<Shown, StepError> {
    let told = stage.caller.whoami()?;
    let uid = format!("uid:{}", nix::unistd::geteuid());
    let exe = std::env::current_exe().map_err(system("our own path is not known"))?;
    let exe = format!("exe:{}", exe.display());
    for selector in [&uid, &exe] {
        see(told.selectors.contains(selector), || format!("we are {selector}, not {}", told.selectors.join(" ")))?;
    }
    see(told.rules == [stage.rule()], || format!("our rules are {:?}", told.rules))?;
    see(told.keys == [KEY], || format!("we may have {:?}", told.keys))?;
    Ok(Shown::Held(format!("we said nothing; it knows {uid} {exe} and lets us have {KEY} alone")))
}

/// The broker's config.
fn written(stage: &Stage) -> String {
    let (folder, ca_file) = (quoted(&stage.file("")), quoted(&stage.file("ca.pem")));
    let unlock = serde_json::Value::from(format!("file:{}", stage.file("vault.key").display()));
    let rule = stage.rule();
    format!(
        r#"# Written by `sixty demo`; it goes away with this folder.
[daemon]
runtime_dir = {folder}
state_dir = {folder}

[upstream]
ca_file = {ca_file}          # the pretend Model Studio's own authority
allow_loopback = true        # it listens on this machine

[vault]
unlock = {unlock}

[[rule]]
# Random, no secret: the memory scan must find it, or it proves nothing.
name = "{rule}"
peer = {{ uid = "self" }}
keys = ["{KEY}"]
kinds = ["upstream", "virtual"]
ttl = {{ default = "60s", max = "60s" }}
budget = {{ tokens = {BUDGET}, per = "lease" }}
"#
    )
}

/// Stores a key; the broker's answer.
fn put(stage: &Stage, name: &str, key: &Secret) -> Result<Zeroizing<Vec<u8>>, StepError> {
    let facts = json!({ "provider": "dashscope", "endpoint": stage.studio().url() }).to_string();
    let head = format!("{},\"secret\":\"", facts.trim_end_matches('}'));
    // Letters, digits and a dash: nothing to escape.
    let body = key.expose(|key| Zeroizing::new([head.as_bytes(), key, b"\"}"].concat()));
    stage.caller.command(Method::PUT, &format!("/v1/keys/{name}"), Some(body))
}

fn last_line(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().last().unwrap_or("it said nothing").to_owned()
}
