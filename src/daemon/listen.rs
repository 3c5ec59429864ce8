//! The daemon's sockets: given by the service manager under their names, or bound by ourselves.

use super::DaemonError;
use crate::{
    config::Paths,
    sys::{
        activation::inherited,
        socket::{Modes, Place, bind_unix},
        tcp,
    },
};
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
};

/// One listening socket; its place is ours to remove only if we made it.
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    pub(super) place: Option<Place>,
}

/// All sockets.
pub(super) struct Sockets {
    pub(super) broker: Listening,
    pub(super) control: Listening,
    pub(super) gateway: Listening,
}

/// Takes what was passed to us, and binds the rest.
pub(super) fn listen(paths: &Paths) -> Result<Sockets, DaemonError> {
    let mut passed = passed()?;
    let mut one = |name: &str, path, modes| match passed.iter().position(|(known, _)| known == name) {
        Some(at) => Ok(Listening { listener: passed.swap_remove(at).1, place: None }),
        None => bind_unix(path, modes)
            .map(|(listener, place)| Listening { listener, place: Some(place) })
            .map_err(DaemonError::from),
    };
    let broker = one("broker", &paths.broker, broker_modes())?;
    let control = one("control", &paths.control, control_modes())?;
    let gateway = one("gateway", &paths.gateway, broker_modes())?;
    Ok(Sockets { broker, control, gateway })
}

/// The gateway by TCP, where the config wants it, and the address that it has: port 0 has become a real one. Before the
/// daemon is confined: later it can bind no port, nor try whether callers by TCP can be told.
pub(super) fn gateway_tcp(wanted: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, DaemonError> {
    let Some(address) = wanted else { return Ok(None) };
    let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr().map(|at| (listener, at)));
    tcp::works();
    bound.map(Some).map_err(|fault| DaemonError::Port(address, fault))
}

/// Policy decides who gets a key, not the mode; a user's own directory is closed to others all the same.
pub(super) fn broker_modes() -> Modes {
    Modes { socket: 0o666, directory: if nix::unistd::geteuid().is_root() { 0o755 } else { 0o700 } }
}

/// For the owner alone.
pub(super) fn control_modes() -> Modes {
    Modes { socket: 0o600, ..broker_modes() }
}

fn passed() -> Result<Vec<(String, UnixListener)>, DaemonError> {
    let fault = |fault| DaemonError::Kernel("the sockets of the service manager cannot be taken", fault);
    let mut sockets = Vec::new();
    for (fd, name) in sd_notify::listen_fds_with_names().map_err(fault)? {
        sockets.push((name, inherited(fd).map_err(fault)?));
    }
    Ok(sockets)
}
