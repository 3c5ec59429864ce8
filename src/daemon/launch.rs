//! Which programs the daemon may have run for it: those that its config named when it started, in an environment of a few
//! words. It must never pass on what may hold a secret.

use super::DaemonError;
use crate::{
    config::{Ask, Config, environment},
    sys::launcher::{Launcher, Posting},
};
use std::path::PathBuf;

/// What a program needs to reach a person or their session.
const PASSED: [&str; 7] =
    ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "GPG_TTY", "LANG"];

/// All that a config names.
pub(super) fn programs(config: &Config) -> Vec<PathBuf> {
    [config.alarm.program.as_ref(), config.approval.ask.program()].into_iter().flatten().cloned().collect()
}

/// Posts the launcher if there is something to launch: before this process is confined and before any key is read.
pub(super) fn post(config: &Config) -> Result<Option<Launcher>, DaemonError> {
    let programs = programs(config);
    if programs.is_empty() {
        return Ok(None);
    }
    let mut environment: Vec<_> = PASSED.iter().filter_map(|name| Some((name.into(), environment(name)?))).collect();
    if let Ask::Askpass(_) = config.approval.ask {
        // A question, and no password: ssh(1).
        environment.push(("SSH_ASKPASS_PROMPT".into(), "confirm".into()));
    }
    let posting = Posting { programs, environment, at_once: config.limits.programs as usize };
    let posted = Launcher::post(posting);
    posted.map(Some).map_err(|errno| DaemonError::Kernel("no program could be run", errno.into()))
}

/// What a new config names and the launcher does not know: it takes a restart.
pub(super) fn unknown(config: &Config, launcher: Option<&Launcher>) -> Vec<PathBuf> {
    programs(config).into_iter().filter(|program| launcher.is_none_or(|known| !known.knows(program))).collect()
}
