//! `sixty exec`: a command with virtual keys in its environment, which end with it.
//! It must never run the command without them, nor outside of the sandbox that was asked for.

mod arguments;
mod bridge;
mod job;
mod keys;
mod sandbox;
mod variables;

pub(super) use arguments::ExecArguments;

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::ask::Doors;
use super::environment;
use super::failure::{Exit, Failure};
use crate::client::ClientError;
use crate::sys::child::{hears, keep};
use crate::sys::signals::Signals;
use job::{Started, kernel};
use keys::Keys;
use sandbox::Sandbox;

/// `sixty exec`.
pub(super) fn exec(doors: &Doors, arguments: ExecArguments) -> Result<ExitCode, Failure> {
    let gateway = environment::gateway_socket(arguments.gateway_socket, doors.broker.path());
    let connection = connect(&gateway)?;
    let sandbox = arguments.sandbox.then(|| Sandbox::new(arguments.bind, &gateway, doors)).transpose()?;
    let keys = Keys::mint(doors, arguments.keys, arguments.ttl)?;
    let signals = Signals::block().map_err(kernel)?;
    let mut command = match &sandbox {
        Some(sandbox) => sandbox.command(&arguments.command)?,
        None => plain(&arguments.command),
    };
    let authority = match &sandbox {
        Some(_) => format!("127.0.0.1:{}", sandbox::PORT),
        None => bridged(gateway, 0)?,
    };
    keys.put(&mut command, &authority);
    if arguments.fd {
        let number = keep(&mut command, connection.into());
        command.env("SIXTY_FD", number.to_string());
    }
    run(command, signals, sandbox)
}

/// What stands before the command within its sandbox: the bridge, and what waits.
pub(super) fn inside(words: &[OsString]) -> Result<ExitCode, Failure> {
    let signals = Signals::block().map_err(kernel)?;
    bridged(sandbox::GATEWAY.into(), sandbox::PORT)?;
    run(plain(words), signals, None)
}

fn run(command: Command, signals: Signals, sandbox: Option<Sandbox>) -> Result<ExitCode, Failure> {
    let job = match job::start(command, signals)? {
        Started::Not(code) => return Ok(code.into()),
        Started::Running(job) => job,
    };
    let within = sandbox.map(Sandbox::inner).transpose()?;
    Ok(job.wait(within)?.into())
}

fn plain(words: &[OsString]) -> Command {
    let (program, arguments) = words.split_first().expect("invariant: clap wants at least one word");
    let mut command = Command::new(program);
    hears(command.args(arguments));
    command
}

/// Whether there is a gateway at all, and a connection to it.
fn connect(gateway: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(gateway).map_err(|fault| ClientError::Unreachable { path: gateway.to_owned(), fault }.into())
}

/// Opens a bridge on this port, or on any free one for 0; gives address and port.
fn bridged(gateway: PathBuf, port: u16) -> Result<String, Failure> {
    let opened = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| {
        let authority = listener.local_addr()?.to_string();
        bridge::serve(listener, gateway).map(|()| authority)
    });
    opened.map_err(|fault| Failure::Job {
        what: format!("no port of 127.0.0.1 can be served for the command: {fault}"),
        advice: "it needs one loopback port and one thread",
        exit: Exit::Other,
    })
}
