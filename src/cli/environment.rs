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

/// The gateway's socket: what was said, else `SIXTY_GATEWAY_SOCKET`, else the one beside the broker's.
pub(super) fn gateway_socket(said: Option<PathBuf>, broker: &Path) -> PathBuf {
    let named = said.or_else(|| variable("SIXTY_GATEWAY_SOCKET").map(PathBuf::from));
    named.unwrap_or_else(|| broker.with_file_name("gateway.sock"))
}

/// Folders of ours that hold keys, sealed or not, and sockets: nothing for a sandbox to look into.
pub(super) fn private_folders() -> Vec<PathBuf> {
    let config = directories::BaseDirs::new().map(|dirs| dirs.config_dir().join("sixty"));
    let own = [state(), config, Some("/var/lib/sixty".into()), Some("/etc/sixty".into())];
    own.into_iter().flatten().filter(|folder| folder.is_dir()).collect()
}

/// Where the audit lies when nobody says otherwise: the user's file if there is one, else the system's.
pub(super) fn audit_file() -> PathBuf {
    let own = state().map(|state| state.join("audit.ndjson"));
    own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/var/lib/sixty/audit.ndjson"))
}

/// Whether a program of this name is on the `PATH`.
pub(super) fn has_program(name: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.is_absolute() && dir.join(name).is_file())
}

/// The user's own folder of state: `$XDG_STATE_HOME/sixty`.
fn state() -> Option<PathBuf> {
    Some(directories::BaseDirs::new()?.state_dir()?.join("sixty"))
}

fn socket(said: Option<PathBuf>, file: &str) -> PathBuf {
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    // Without a login session a user's daemon listens in its state folder.
    let own = [runtime.map(|dir| dir.join("sixty")), state().map(|dir| dir.join("run"))];
    choose(said, own.into_iter().flatten(), file, Path::exists)
}

/// The first that is there, else the system's; a path that was said is not doubted.
fn choose(
    said: Option<PathBuf>,
    own: impl Iterator<Item = PathBuf>,
    file: &str,
    there: impl Fn(&Path) -> bool,
) -> PathBuf {
    let found = || own.map(|dir| dir.join(file)).find(|path| there(path));
    said.or_else(found).unwrap_or_else(|| Path::new("/run/sixty").join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_daemon_comes_before_the_systems_and_a_said_path_before_both() {
        let pick = |said: Option<&str>, there: &str| {
            let own = ["/run/user/7/sixty", "/h/.local/state/sixty/run"].map(PathBuf::from);
            choose(said.map(PathBuf::from), own.into_iter(), "b.sock", |path| path.starts_with(there))
        };
        assert_eq!(pick(Some("/tmp/x"), "/"), Path::new("/tmp/x"));
        assert_eq!(pick(None, "/"), Path::new("/run/user/7/sixty/b.sock"));
        assert_eq!(pick(None, "/h"), Path::new("/h/.local/state/sixty/run/b.sock"));
        assert_eq!(pick(None, "/nowhere"), Path::new("/run/sixty/b.sock"));
    }
}
