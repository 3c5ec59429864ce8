//! The words of `sixty exec`. It must never have one that takes a secret.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::words::Unquoted;
use crate::model::{KeyName, Ttl};

/// `sixty exec`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExecArguments {
    /// Which keys
    #[arg(required = true, value_name = "KEY", value_parser = Unquoted::<KeyName>::default())]
    pub(in crate::cli) keys: Vec<KeyName>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(in crate::cli) command: Vec<OsString>,
    /// How long the keys live [default: as long as their rules allow]
    #[arg(long, value_name = "SPAN", value_parser = Ttl::from_str)]
    pub(in crate::cli) ttl: Option<Ttl>,
    /// In a sandbox (bubblewrap): no network but the gateway, a read-only file system, a /tmp of its own
    #[arg(long)]
    pub(in crate::cli) sandbox: bool,
    /// A folder that the sandbox may write; once for each
    #[arg(long, value_name = "DIR", requires = "sandbox")]
    pub(in crate::cli) bind: Vec<PathBuf>,
    /// Also pass a connection to the gateway as an open descriptor: its number is in SIXTY_FD
    #[arg(long)]
    pub(in crate::cli) fd: bool,
    /// The gateway's socket [env: SIXTY_GATEWAY_SOCKET] [default: gateway.sock beside the broker's]
    #[arg(long, value_name = "PATH", help_heading = "Sockets")]
    pub(in crate::cli) gateway_socket: Option<PathBuf>,
}
