//! The daemon's sockets: taken over from another process under their names, or bound by ourselves.

use super::{DaemonError, doors::Name, inherit::Inherited, notify};
use crate::sys::{
    socket::{Modes, Place, bind_unix},
    tcp,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

/// One listening socket; the place of its file is ours to remove only if we made it.
pub(super) enum Listening {
    Unix(UnixListener, Option<Place>),
    Tcp(TcpListener),
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// The socket of this name if we were given it, else a new one.
pub(super) fn unix(name: Name, path: &Path, inherited: &mut Inherited) -> Result<Listening, DaemonError> {
    if let Some(given) = inherited.unix(name, path) {
        return Ok(given);
    }
    let (listener, place) = bind_unix(path, modes(name))?;
    Ok(Listening::Unix(listener, Some(place)))
}

/// The gateway by TCP, as far as it is known before the daemon is confined.
pub(super) enum Tcp {
    /// The config wants none.
    Off,
    /// This one.
    Bound(TcpListener),
    /// The one of the daemon that is taken over from; else this one, where any port will do.
    Expected(SocketAddr, Option<TcpListener>),
}

/// What the config wants by TCP. Before the daemon is confined: later it can bind no port, nor try whether callers by TCP
/// can be told.
pub(super) fn gateway_tcp(
    wanted: Option<SocketAddr>,
    inherited: &mut Inherited,
    takeover: bool,
) -> Result<Tcp, DaemonError> {
    let given = inherited.tcp(wanted);
    let Some(address) = wanted else { return Ok(Tcp::Off) };
    tcp::works();
    if let Some(listener) = given {
        return Ok(Tcp::Bound(listener));
    }
    if takeover && address.port() == 0 {
        return Ok(Tcp::Expected(address, TcpListener::bind(address).ok()));
    }
    match TcpListener::bind(address) {
        Ok(listener) => {
            // It outlives this process, however that ends.
            notify::store(Name::GatewayTcp.text(), listener.as_fd());
            Ok(Tcp::Bound(listener))
        }
        Err(fault) if takeover && fault.kind() == io::ErrorKind::AddrInUse => Ok(Tcp::Expected(address, None)),
        Err(fault) => Err(DaemonError::Port(address, fault)),
    }
}

/// The gateway by TCP, and the address that it has: port 0 has become a real one.
pub(super) type TcpGateway = (TcpListener, SocketAddr);

impl Tcp {
    /// As it is served.
    pub(super) fn had(self, inherited: &mut Inherited) -> Result<Option<TcpGateway>, DaemonError> {
        let listener = match self {
            Tcp::Off => return Ok(None),
            Tcp::Bound(listener) => listener,
            Tcp::Expected(address, else_this) => {
                let fault = || DaemonError::Port(address, io::ErrorKind::AddrInUse.into());
                inherited.tcp(Some(address)).or(else_this).ok_or_else(fault)?
            }
        };
        let unknown = |fault| DaemonError::Kernel("the gateway's address is not known", fault);
        let address = listener.local_addr().map_err(unknown)?;
        Ok(Some((listener, address)))
    }
}

/// Policy decides who gets a key, not the mode; a user's own directory is closed to others all the same. The control
/// socket is for the owner alone.
pub(super) fn modes(name: Name) -> Modes {
    let directory = if nix::unistd::geteuid().is_root() { 0o755 } else { 0o700 };
    Modes { socket: if name == Name::Control { 0o600 } else { 0o666 }, directory }
}
