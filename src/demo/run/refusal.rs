//! Who gets nothing: an unknown key, a key without a rule, another user, and everybody while the vault is locked.
//! It must never take a failure to ask for a refusal.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use nix::fcntl::OFlag;
use serde_json::json;

use super::launch::OURSELVES;
use super::stage::{KEY, OTHER_KEY, Stage};
use super::step::{Masked, Shown, StepError, see, system};
use crate::client::{Method, Problem};

/// `nobody`, as most systems number it; it needs no entry in passwd(5).
const STRANGER: u32 = 65_534;
/// sysexits(3), EX_NOPERM: what `sixty` says when it is denied.
const DENIED: i32 = 77;

pub(super) fn unknown(stage: &mut Stage) -> Result<Shown, StepError> {
    let told = denied(stage, "demo/never-stored")?;
    Ok(Shown::Held(format!("{} {}: \"{}\"", told.status, told.code, told.title)))
}

pub(super) fn outside(stage: &mut Stage) -> Result<Shown, StepError> {
    let (told, unknown) = (denied(stage, OTHER_KEY)?, denied(stage, "demo/never-stored")?);
    let words = |problem: &Problem| (problem.title.clone(), problem.detail.clone(), problem.retry.clone());
    see(words(&told) == words(&unknown), || "a stored key is told apart from one that there is not".to_owned())?;
    Ok(Shown::Held(format!("{OTHER_KEY} is stored: {} {}, and no word of why", told.status, told.code)))
}

pub(super) fn stranger(stage: &mut Stage) -> Result<Shown, StepError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Shown::NotTried("it needs root to become another user"));
    }
    let said = match as_stranger(stage) {
        Err(fault) if fault.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Shown::NotTried("this program may not be run by others (chmod a+rx it)"));
        }
        said => said.map_err(system("another user's process cannot be started"))?,
    };
    let words = String::from_utf8_lossy(&said.stderr);
    let refused = said.status.code() == Some(DENIED) && said.stdout.is_empty() && words.contains("denied");
    see(refused, || format!("{}: {}", said.status, words.lines().next().unwrap_or("without a word")))?;
    Ok(Shown::Held(format!("`sixty mint {KEY}` as uid {STRANGER}: denied, exit {DENIED}")))
}

pub(super) fn lock(stage: &mut Stage) -> Result<Shown, StepError> {
    stage.caller.command(Method::POST, "/v1/lock", None)?;
    let told = stage.caller.refused(&json!({ "key": KEY }))?;
    see((told.status, told.code.as_str()) == (423, "locked"), || format!("{} {}", told.status, told.code))?;
    see(!stage.caller.ready(), || "it says that it is ready".to_owned())?;
    Ok(Shown::Held(format!("{} {}; ask again {}", told.status, told.code, told.retry.replace('_', " "))))
}

pub(super) fn unlock(stage: &mut Stage) -> Result<Shown, StepError> {
    stage.caller.command(Method::POST, "/v1/unlock", None)?;
    see(stage.caller.ready(), || "it is not ready".to_owned())?;
    let minted = stage.mint("the token after unlocking", &json!({ "key": KEY }))?;
    Ok(Shown::Held(format!("{} is minted again, without the key being typed again", Masked(&minted.token))))
}

fn denied(stage: &Stage, key: &str) -> Result<Problem, StepError> {
    let told = stage.caller.refused(&json!({ "key": key }))?;
    see((told.status, told.code.as_str()) == (403, "denied"), || format!("{} {}", told.status, told.code))?;
    Ok(told)
}

/// The command line, by another user. Its stdin is a handle on the socket itself, so that our folder stays closed.
fn as_stranger(stage: &Stage) -> io::Result<Output> {
    let socket = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(stage.caller.broker.path())?;
    let mut command = Command::new(OURSELVES);
    command.arg0("sixty").args(["mint", KEY, "--socket", "/proc/self/fd/0"]).env_clear();
    command.stdin(socket).uid(STRANGER).gid(STRANGER).output()
}
