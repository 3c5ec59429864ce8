//! What the command line takes from its environment: paths and the kind of display. The one reader of variables here.
//! It must never read a secret from a variable: children inherit them, and /proc shows them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The value of a variable; an empty one counts as absent.
#[allow(clippy::disallowed_methods, reason = "the command line may read its environment, and does it here alone")]
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The broker socket: what was said on the command line, else `SIXTY_SOCKET`, else the user's, else the system's.
pub(super) fn broker_socket(said: Option<PathBuf>) -> PathBuf {
    socket(said.or_else(|| variable("SIXTY_SOCKET").map(PathBuf::from)), "broker.sock")
}

/// The control socket, found like the broker's with `SIXTY_CONTROL_SOCKET`.
pub(super) fn control_socket(said: Option<PathBuf>) -> PathBuf {
    socket(said.or_else(|| variable("SIXTY_CONTROL_SOCKET").map(PathBuf::from)), "control.sock")
}

/// Where the audit lies when nobody says otherwise: the user's file if there is one, else the system's.
pub(super) fn audit_file() -> PathBuf {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let own = state.map(|state| state.join("sixty/audit.ndjson"));
    own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/var/lib/sixty/audit.ndjson"))
}

/// Whether a program of this name is on the `PATH`.
pub(super) fn has_program(name: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.is_absolute() && dir.join(name).is_file())
}

fn socket(said: Option<PathBuf>, file: &str) -> PathBuf {
    choose(said, variable("XDG_RUNTIME_DIR").map(PathBuf::from), file, Path::exists)
}

fn choose(said: Option<PathBuf>, runtime: Option<PathBuf>, file: &str, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let own = || runtime.filter(|dir| dir.is_absolute()).map(|dir| dir.join("sixty").join(file));
    said.or_else(|| own().filter(|path| exists(path))).unwrap_or_else(|| Path::new("/run/sixty").join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_daemon_comes_before_the_systems_and_a_said_path_before_both() {
        let runtime = Some(PathBuf::from("/run/user/7"));
        let pick = |said: Option<&str>, there| choose(said.map(PathBuf::from), runtime.clone(), "b.sock", |_| there);
        assert_eq!(pick(Some("/tmp/x"), true), Path::new("/tmp/x"));
        assert_eq!(pick(None, true), Path::new("/run/user/7/sixty/b.sock"));
        assert_eq!(pick(None, false), Path::new("/run/sixty/b.sock"));
    }

    #[test]
    fn a_relative_runtime_dir_is_not_followed() {
        let picked = choose(None, Some(PathBuf::from("evil")), "b.sock", |_| true);
        assert_eq!(picked, Path::new("/run/sixty/b.sock"));
    }
}
