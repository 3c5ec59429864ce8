//! Where things lie: `contract.md`'s table, for one user or for the machine. It makes and opens nothing, and never
//! falls back to a folder that others can write (/tmp).

use super::Config;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Whose broker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One user's.
    User,
    /// The machine's.
    System,
}

/// The folders of the XDG base directory specification, with nothing of ours in them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bases {
    /// `$XDG_CONFIG_HOME`
    pub config: PathBuf,
    /// `$XDG_STATE_HOME`
    pub state: PathBuf,
    /// `$XDG_RUNTIME_DIR`; none without a login session.
    pub runtime: Option<PathBuf>,
}

impl Bases {
    /// This process's user; none when no home is known.
    pub fn here() -> Option<Self> {
        let dirs = directories::BaseDirs::new()?;
        Some(Self {
            config: dirs.config_dir().to_owned(),
            state: dirs.state_dir()?.to_owned(),
            runtime: dirs.runtime_dir().map(Path::to_owned),
        })
    }
}

/// Reads one variable of this process's environment; the only place that does, so that tests can give their own.
#[allow(clippy::disallowed_methods, reason = "config is one of the three modules that may")]
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Every path the program uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `sixty.toml`
    pub config: PathBuf,
    /// The folder of the sockets, 0700 for a user and 0755 for the machine.
    pub runtime: PathBuf,
    /// The folder of vault and audit, 0700.
    pub state: PathBuf,
    /// Where processes ask.
    pub broker: PathBuf,
    /// Where the owner commands, 0600.
    pub control: PathBuf,
    /// Where virtual keys are used.
    pub gateway: PathBuf,
    /// The sealed vault.
    pub vault: PathBuf,
    /// The key file that `sixty init` makes, 0600.
    pub vault_key: PathBuf,
    /// The audit's records; its head lies beside it.
    pub audit: PathBuf,
}

impl Paths {
    /// A user's paths. Without a runtime folder the sockets lie in the state folder, which is the user's own too.
    pub fn user(bases: &Bases, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let state = bases.state.join("sixty");
        let runtime = bases.runtime.as_ref().map_or_else(|| state.join("run"), |runtime| runtime.join("sixty"));
        Self::laid_out(bases.config.join("sixty/sixty.toml"), runtime, state).overridden(env)
    }

    /// The machine's paths; systemd names state and runtime folder in the service's environment (systemd.exec(5)).
    pub fn system(env: impl Fn(&str) -> Option<OsString>) -> Self {
        // Several folders are joined by colons; ours is the first.
        let first = |name| {
            let list = env(name)?.into_string().ok()?;
            list.split(':').next().map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state = first("STATE_DIRECTORY").unwrap_or_else(|| "/var/lib/sixty".into());
        let runtime = first("RUNTIME_DIRECTORY").unwrap_or_else(|| "/run/sixty".into());
        Self::laid_out("/etc/sixty/sixty.toml".into(), runtime, state).overridden(env)
    }

    /// The paths under a config: what it names goes before the usual places, and the environment before both.
    pub fn under(self, config: &Config, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let daemon = &config.daemon;
        let runtime = daemon.runtime_dir.clone().unwrap_or(self.runtime);
        let state = daemon.state_dir.clone().unwrap_or(self.state);
        let mut paths = Self::laid_out(self.config, runtime, state);
        put(&mut paths.broker, daemon.broker_socket.clone());
        put(&mut paths.control, daemon.control_socket.clone());
        put(&mut paths.gateway, daemon.gateway_socket.clone());
        put(&mut paths.audit, config.audit.path.clone());
        paths.overridden(env)
    }

    /// The folder of further recipes, beside the config.
    pub fn providers(&self) -> PathBuf {
        self.config.with_file_name("providers")
    }

    fn laid_out(config: PathBuf, runtime: PathBuf, state: PathBuf) -> Self {
        Self {
            broker: runtime.join("broker.sock"),
            control: runtime.join("control.sock"),
            gateway: runtime.join("gateway.sock"),
            vault: state.join("vault.sealed"),
            vault_key: state.join("vault.key"),
            audit: state.join("audit.ndjson"),
            config,
            runtime,
            state,
        }
    }

    fn overridden(mut self, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let named = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        put(&mut self.broker, named("SIXTY_SOCKET"));
        put(&mut self.control, named("SIXTY_CONTROL_SOCKET"));
        put(&mut self.config, named("SIXTY_CONFIG"));
        self
    }
}

fn put(place: &mut PathBuf, named: Option<PathBuf>) {
    if let Some(path) = named {
        *place = path;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Audit, Daemon};

    fn bases(runtime: Option<&str>) -> Bases {
        Bases { config: "/h/.config".into(), state: "/h/.local/state".into(), runtime: runtime.map(Into::into) }
    }

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn a_users_paths_are_the_contracts() {
        let paths = Paths::user(&bases(Some("/run/user/7")), nothing);
        assert_eq!(paths.broker, Path::new("/run/user/7/sixty/broker.sock"));
        assert_eq!(paths.control, Path::new("/run/user/7/sixty/control.sock"));
        assert_eq!(paths.gateway, Path::new("/run/user/7/sixty/gateway.sock"));
        assert_eq!(paths.config, Path::new("/h/.config/sixty/sixty.toml"));
        assert_eq!(paths.vault, Path::new("/h/.local/state/sixty/vault.sealed"));
        assert_eq!(paths.audit, Path::new("/h/.local/state/sixty/audit.ndjson"));
    }

    #[test]
    fn without_a_runtime_folder_the_sockets_are_not_in_tmp() {
        assert_eq!(Paths::user(&bases(None), nothing).runtime, Path::new("/h/.local/state/sixty/run"));
    }

    #[test]
    fn the_machines_paths_are_systemds() {
        let paths = Paths::system(nothing);
        assert_eq!((paths.broker, paths.config), ("/run/sixty/broker.sock".into(), "/etc/sixty/sixty.toml".into()));
        let env = |name: &str| (name == "STATE_DIRECTORY").then(|| "/s/one:/s/two".into());
        assert_eq!(Paths::system(env).vault, Path::new("/s/one/vault.sealed"));
        let env = |name: &str| (name == "STATE_DIRECTORY").then(|| "relative".into());
        assert_eq!(Paths::system(env).vault, Path::new("/var/lib/sixty/vault.sealed"));
    }

    #[test]
    fn the_environment_goes_before_the_config_and_the_config_before_the_usual() {
        let daemon =
            Daemon { runtime_dir: Some("/r".into()), control_socket: Some("/c.sock".into()), ..Daemon::default() };
        let audit = Audit { path: Some("/log/a".into()), ..Audit::default() };
        let config = Config { daemon, audit, ..Config::default() };
        let env = |name: &str| match name {
            "SIXTY_SOCKET" => Some("/env.sock".into()),
            "SIXTY_CONFIG" => Some("/my/c.toml".into()),
            _ => None,
        };
        let paths = Paths::user(&bases(None), env).under(&config, env);
        assert_eq!(paths.providers(), Path::new("/my/providers"));
        assert_eq!((paths.broker, paths.control), ("/env.sock".into(), "/c.sock".into()));
        assert_eq!((paths.gateway, paths.audit), ("/r/gateway.sock".into(), "/log/a".into()));
        assert_eq!(paths.config, Path::new("/my/c.toml"));
    }
}
