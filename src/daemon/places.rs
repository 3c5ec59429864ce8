//! Where this daemon's files lie: what the command line says, else the environment, else the config, else the usual.

use super::DaemonError;
use crate::{
    config::{self, Bases, Config, Paths, environment},
    recipe::Recipe,
    sys::dir,
};
use std::{
    collections::BTreeMap,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// What the command line may say.
#[derive(Debug, Clone, Default)]
pub struct DaemonOptions {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--control-socket`.
    pub control_socket: Option<PathBuf>,
    /// `--takeover`: in the place of the daemon that serves.
    pub takeover: bool,
    /// For the demo's scan: the process stays readable for its parent, and says so.
    pub readable_by_parent: bool,
}

/// The places before a config was read: the machine's when systemd or root's config says so, else the user's.
pub(super) fn usual(config: Option<&Path>) -> Result<Paths, DaemonError> {
    let system = Paths::system(environment);
    let by_systemd = environment("STATE_DIRECTORY").is_some();
    let mut paths = match Bases::here().map(|bases| Paths::user(&bases, environment)) {
        Some(user) if !by_systemd && (user.config.exists() || !system.config.exists()) => user,
        Some(_) => system,
        None if by_systemd || system.config.exists() => system,
        None => return Err(DaemonError::NoHome),
    };
    if let Some(file) = config {
        paths.config = file.to_owned();
    }
    Ok(paths)
}

/// What was read from the config's files, and the places under it.
pub(super) struct Found {
    pub(super) config: Config,
    pub(super) recipes: BTreeMap<String, Recipe>,
    pub(super) paths: Paths,
}

/// Reads the config and the recipes beside it.
pub(super) fn read(options: &DaemonOptions) -> Result<Found, DaemonError> {
    let before = usual(options.config.as_deref())?;
    let (config, recipes) = config::load(&before.config)?;
    let mut paths = before.under(&config, environment);
    if let Some(path) = &options.socket {
        paths.broker = path.clone();
    }
    if let Some(path) = &options.control_socket {
        paths.control = path.clone();
    }
    Ok(Found { config, recipes, paths })
}

/// Makes a directory ours. Missing ones above it are made 0700, as the XDG base directory specification wants it.
pub(super) fn own(directory: Option<&Path>, mode: u32) -> Result<(), DaemonError> {
    let Some(path) = directory else { return Ok(()) };
    if let Some(above) = path.parent() {
        make(above, 0o700)?;
    }
    Ok(dir::own(path, mode).map(drop)?)
}

/// Makes a directory, and those above it, where there is none.
pub(super) fn make(path: &Path, mode: u32) -> Result<(), DaemonError> {
    let fault = |fault| DaemonError::Kernel("a directory cannot be made", fault);
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(fault)
}
