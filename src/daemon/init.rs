//! `sixty init`: a config with a rule for this user, a key file, and an empty vault. It overwrites nothing.

use super::{DaemonError, notify, places::own};
use crate::{
    clock::Clock,
    config::{Bases, Mode, Paths, default_text, environment},
    secret::Secret,
    sys::{confine, file, scrub},
    vault::{Cost, Means, UnlockWith, Vault, create_key_file},
};
use std::process::ExitCode;

/// What to make.
pub struct InitOptions {
    /// For one user or for the machine.
    pub mode: Mode,
    /// Seals the vault with this instead of a key file.
    pub passphrase: Option<Secret>,
}

/// Makes config, key file and vault.
pub fn init(options: InitOptions) -> ExitCode {
    super::report(make(options))
}

fn make(options: InitOptions) -> Result<(), DaemonError> {
    confine::harden(confine::Dumpable::Never)?;
    confine::refuse_new_code();
    let paths = match options.mode {
        Mode::System => Paths::system(environment),
        Mode::User => Paths::user(&Bases::here().ok_or(DaemonError::NoHome)?, environment),
    };
    let key_file = options.passphrase.is_none().then_some(&paths.vault_key);
    for path in [Some(&paths.config), Some(&paths.vault), key_file].into_iter().flatten() {
        if path.symlink_metadata().is_ok() {
            return Err(DaemonError::Exists(path.clone()));
        }
    }
    own(paths.config.parent(), if options.mode == Mode::System { 0o755 } else { 0o700 })?;
    own(Some(&paths.state), 0o700)?;
    let mut text = default_text(options.mode, &paths);
    let with = match options.passphrase {
        Some(words) => {
            text = text.replace(&format!("\"file:{}\"", paths.vault_key.display()), "\"passphrase\"");
            UnlockWith::Passphrase(words)
        }
        None => {
            create_key_file(&paths.vault_key)?;
            UnlockWith::KeyFile(paths.vault_key.clone())
        }
    };
    let means = with.means();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|fault| DaemonError::Kernel("the event loop cannot be made", fault))?;
    scrub::run(&runtime, Vault::create(paths.vault.clone(), Clock::system(), with, Cost::default()))?;
    file::replace(&paths.config, if options.mode == Mode::System { 0o644 } else { 0o600 }, text.as_bytes())?;
    notify::last_words(&told(&paths, options.mode, means));
    Ok(())
}

fn told(paths: &Paths, mode: Mode, means: Means) -> String {
    let next = match (mode, means) {
        (Mode::User, Means::Key) => "start the broker with `sixty daemon`",
        (Mode::User, Means::Passphrase) => {
            "start the broker with `sixty daemon`, and open its vault with `sixty unlock`"
        }
        (Mode::System, _) => "name who may have what in the config, then `systemctl enable --now sixty-broker.socket`",
    };
    format!("config  {}\nvault   {}\nnext: {next}\n", paths.config.display(), paths.vault.display())
}
