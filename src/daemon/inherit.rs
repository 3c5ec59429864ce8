//! What this daemon begins with that another process had: sockets, connections at rest, leases. From the service manager
//! (sd_listen_fds(3), its file descriptor store), or from the daemon that it takes over from.
//! It must never believe a part of what was left.

use super::{
    DaemonError,
    doors::Name,
    listen::Listening,
    notify,
    takeover::{self, Old},
};
use crate::{
    broker::Broker,
    sys::{
        activation::{Passed, inherited},
        era, memfd,
        socket::Place,
    },
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};
use tracing::error;

/// The name of what was left in the service manager's store.
pub(super) const ESTATE: &str = "estate";
/// Far more than the most leases take, in bytes.
const MOST: usize = 1 << 30;

/// What was there before us.
#[derive(Default)]
pub(super) struct Inherited {
    pub(super) sockets: Vec<(Name, Socket)>,
    pub(super) resting: Vec<(Name, OwnedFd)>,
    pub(super) estate: Option<OwnedFd>,
    /// The owner has locked the vault; so it stays.
    pub(super) locked: bool,
    /// The daemon that waits until we can serve.
    pub(super) old: Option<Old>,
}

/// A listening socket of somebody's.
pub(super) enum Socket {
    Unix {
        listener: UnixListener,
        /// Its file is ours to remove.
        ours: bool,
    },
    Tcp(TcpListener),
}

impl Inherited {
    /// What the service manager passed.
    pub(super) fn from_manager() -> Result<Self, DaemonError> {
        let fault = |fault| DaemonError::Kernel("the sockets of the service manager cannot be taken", fault);
        let mut all = Self::default();
        for (fd, name) in sd_notify::listen_fds_with_names().map_err(fault)? {
            match inherited(fd).map_err(fault)? {
                Passed::Unix(listener) if name != Name::GatewayTcp.text() => {
                    let known = Name::ALL.into_iter().find(|known| known.text() == name);
                    all.sockets.extend(known.map(|name| (name, Socket::Unix { listener, ours: false })));
                }
                Passed::Tcp(listener) if name == Name::GatewayTcp.text() => {
                    all.sockets.push((Name::GatewayTcp, Socket::Tcp(listener)));
                }
                Passed::Memory(estate) if name == ESTATE => all.estate = Some(estate),
                _ => return Err(fault(io::Error::other(format!("{name:?} is not what is passed under that name")))),
            }
        }
        Ok(all)
    }

    /// Adds what the daemon that serves now hands over; it has stopped when this returns.
    pub(super) fn take_over(&mut self, control: &Path) -> Result<(), DaemonError> {
        Ok(takeover::ask(control, self)?)
    }

    /// All is ready: the daemon that we take over from says whether it is our turn.
    pub(super) fn turn(&mut self) -> Result<(), DaemonError> {
        Ok(self.old.take().map_or(Ok(()), Old::yields)?)
    }

    /// A Unix socket, once. One of a daemon's own only where it lies at this path.
    pub(super) fn unix(&mut self, name: Name, path: &Path) -> Option<Listening> {
        let fits = |socket: &Socket| match socket {
            Socket::Unix { listener, ours: true } => {
                listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
            }
            Socket::Unix { .. } => true,
            Socket::Tcp(_) => false,
        };
        let at = self.sockets.iter().position(|(known, socket)| *known == name && fits(socket))?;
        match self.sockets.swap_remove(at).1 {
            Socket::Unix { listener, ours } => {
                let place = if ours { Place::of(path) } else { None };
                Some(Listening::Unix(listener, place))
            }
            Socket::Tcp(_) => None,
        }
    }

    /// The gateway by TCP, once, where it listens on what is wanted. Another one is let go of.
    pub(super) fn tcp(&mut self, wanted: Option<SocketAddr>) -> Option<TcpListener> {
        let at = self.sockets.iter().position(|(_, socket)| matches!(socket, Socket::Tcp(_)))?;
        let Socket::Tcp(listener) = self.sockets.swap_remove(at).1 else { return None };
        let has = listener.local_addr().ok()?;
        let fits = wanted.is_some_and(|wanted| wanted == has || wanted.port() == 0 && wanted.ip() == has.ip());
        if !fits {
            notify::forget(Name::GatewayTcp.text());
        }
        fits.then_some(listener)
    }

    /// Connections at rest of one socket, once.
    pub(super) fn resting(&mut self, name: Name) -> Vec<OwnedFd> {
        let all = std::mem::take(&mut self.resting);
        let (of_it, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(known, _)| *known == name);
        self.resting = others;
        of_it.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Goes on with the leases that were left. The service manager forgets them first: if this process is killed, nobody
    /// goes on with leases that may have ended since.
    pub(super) fn leases(&mut self, broker: &Broker) -> Result<(), DaemonError> {
        let Some(estate) = self.estate.take() else { return Ok(()) };
        if self.old.is_none() && !notify::forget(ESTATE) {
            error!("no lease of the process before goes on: the service manager cannot be told to forget them");
            return Ok(());
        }
        let read = memfd::read(estate, MOST).map_err(|fault| fault.to_string());
        let taken = read.and_then(|estate| broker.inherit(&era::here(), &estate).map_err(|fault| fault.to_string()));
        match taken {
            Ok(_) => Ok(()),
            // Who serves now has them still, and goes on.
            Err(fault) if self.old.is_some() => Err(DaemonError::Estate(fault)),
            Err(fault) => {
                error!(%fault, "no lease of the process before goes on: what it left is not believed");
                Ok(())
            }
        }
    }
}
