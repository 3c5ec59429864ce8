//! The program that serves: confines itself, reads its config, builds the house and keeps it until it is told to stop.
//! It must never read a key before the process is confined.

mod build;
mod check;
mod confinement;
mod doctor;
mod doors;
mod handover;
mod inherit;
mod init;
mod launch;
mod listen;
mod logs;
mod loops;
mod notify;
mod places;
mod run;
mod suspend;
mod takeover;

pub use check::{check, check_usual};
pub use doctor::examine;
pub use init::{InitOptions, init};
pub use places::DaemonOptions;
#[cfg(fuzzing)]
pub use suspend::fuzz;

use crate::{
    config::Faults,
    sys::{
        confine::{self, Dumpable},
        scrub,
    },
};
use inherit::Inherited;
use std::process::ExitCode;

/// Why the daemon does not start or ends, by sysexits.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The process cannot be confined, so it must not hold keys.
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    /// Nobody else could be become.
    #[error(transparent)]
    User(#[from] crate::sys::user::UserError),
    /// A directory of root's could not be given to the daemon's user.
    #[error("{0} cannot be given to the daemon's user: {1}; name a directory that holds nothing else")]
    Given(std::path::PathBuf, nix::errno::Errno),
    /// The config says `require`.
    #[error("the config says confinement = \"require\", and this kernel can't: {}", .0.join("; "))]
    Unconfined(Vec<String>),
    /// A debugger reads along.
    #[error("a debugger is attached; no key is read while it is")]
    Traced,
    /// There is no home to look for a config in.
    #[error("no home directory is known; give --config FILE")]
    NoHome,
    /// The config is faulty.
    #[error("{0}")]
    Config(#[from] Faults),
    /// The vault cannot be opened at all.
    #[error(transparent)]
    Vault(#[from] crate::vault::OpenError),
    /// The vault could not be made.
    #[error(transparent)]
    Unlock(#[from] crate::vault::UnlockError),
    /// The audit cannot be opened.
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// No trust anchors.
    #[error(transparent)]
    Tls(#[from] crate::upstream::TlsError),
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] crate::sys::socket::BindError),
    /// A TCP port cannot be had.
    #[error("{0}: the gateway can't listen there: {1}; choose another port, or 0 for any free one")]
    Port(std::net::SocketAddr, std::io::Error),
    /// A directory of ours is not ours.
    #[error(transparent)]
    Directory(#[from] crate::sys::dir::DirError),
    /// A file is there already, or cannot be written.
    #[error(transparent)]
    File(#[from] crate::sys::file::FileError),
    /// Nothing is taken over.
    #[error(transparent)]
    Takeover(#[from] takeover::TakeoverError),
    /// What the daemon that serves would leave is not believed.
    #[error("the leases of the daemon that serves cannot go on here: {0}; it goes on, or restart it and they end")]
    Estate(String),
    /// The vault would be locked, and the daemon that serves has it open.
    #[error("the vault cannot be opened: {0}; the daemon that serves goes on")]
    Locked(String),
    /// Nothing is overwritten.
    #[error("{0} is there already; nothing was written")]
    Exists(std::path::PathBuf),
    /// Anything else of the kernel's.
    #[error("{0}: {1}")]
    Kernel(&'static str, std::io::Error),
}

impl DaemonError {
    fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::Tls(_) | Self::Vault(_) | Self::Unconfined(_) | Self::User(_) => 78,
            Self::Confine(_) | Self::Traced => 77,
            Self::Bind(_) | Self::Port(..) | Self::Takeover(_) | Self::Audit(crate::audit::AuditError::Busy(_)) => 69,
            _ => 1,
        })
    }
}

/// What was opened and posted before the confinement, and that.
struct Before {
    confinement: crate::observe::Confinement,
    launcher: Option<crate::sys::launcher::Launcher>,
    sleep: (Option<suspend::Watch>, suspend::Told),
    tcp: listen::Tcp,
    inherited: Inherited,
}

/// `sixty daemon`: serves until it is told to stop.
pub fn daemon(options: &DaemonOptions) -> ExitCode {
    report(start(options))
}

fn start(options: &DaemonOptions) -> Result<(), DaemonError> {
    let dumpable = if options.readable_by_parent { Dumpable::ForTheParentsScan } else { Dumpable::Never };
    confine::harden(dumpable)?;
    if confine::traced() && !options.readable_by_parent {
        return Err(DaemonError::Traced);
    }
    // A panic's message could quote what it choked on.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        notify::last_words(&format!("sixty: internal error at {place}; the daemon ends\n"));
    }));
    let _ = confine::raise_fd_limit();
    let mut options = options.clone();
    let mut found = places::read(&options)?;
    let mut inherited = Inherited::from_manager()?;
    let tcp = listen::gateway_tcp(found.config.gateway.listen, &mut inherited, options.takeover)?;
    let user = confinement::become_user(&found, dumpable)?;
    if user.is_some() {
        // As who serves: what that user can't read, a reload could not read either.
        options.config = Some(found.paths.config.clone());
        let again = places::read(&options)?;
        (found.config, found.recipes) = (again.config, again.recipes);
    }
    let sleep = suspend::open(&found.config)?;
    let launcher = launch::post(&found.config)?;
    confine::refuse_new_code();
    // One thread, and no key yet: all that comes after runs with what is left.
    let confinement = confinement::confine(&found, user)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|fault| DaemonError::Kernel("the event loop cannot be made", fault))?;
    let before = Before { confinement, launcher, sleep, tcp, inherited };
    scrub::run(&runtime, run::run(&options, found, before))
}

fn report(outcome: Result<(), DaemonError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            notify::last_words(&match &fault {
                DaemonError::Config(faults) => faults.render(logs::paint()),
                other => format!("error: {other}\n"),
            });
            fault.exit()
        }
    }
}
