//! The daemon's sockets while they are served: looked after, drained, or handed to another process and taken back.
//! Nothing here knows what is spoken on them.

use super::{DaemonError, listen::Listening};
use crate::{
    endpoint, gateway,
    sys::{
        closing::{Course, Server},
        socket::{BindError, Modes, bind_unix},
    },
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    time::timeout,
};
use tracing::{error, warn};

/// Which socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Broker,
    Control,
    Gateway,
    GatewayTcp,
}

impl Name {
    pub(super) const ALL: [Self; 4] = [Self::Broker, Self::Control, Self::Gateway, Self::GatewayTcp];

    /// As the service manager calls it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Control => "control",
            Self::Gateway => "gateway",
            Self::GatewayTcp => "gateway-tcp",
        }
    }
}

/// What a socket leads to.
pub(super) enum Entrance {
    Endpoint(endpoint::Entrance),
    Gateway(gateway::Entrance),
}

impl Entrance {
    fn serve(&self, listening: &Listening, resting: Vec<OwnedFd>) -> Result<Server, DaemonError> {
        let served = match (self, listening) {
            (Entrance::Endpoint(to), Listening::Unix(listener, _)) => to.go_on::<UnixListener>(listener, resting),
            (Entrance::Gateway(to), Listening::Unix(listener, _)) => to.go_on::<UnixListener>(listener, resting),
            (Entrance::Gateway(to), Listening::Tcp(listener)) => to.go_on::<TcpListener>(listener, resting),
            (Entrance::Endpoint(_), Listening::Tcp(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        };
        served.map_err(unserved)
    }

    fn come_back(&self, served: &mut Server, from: &Listening, resting: Vec<OwnedFd>) -> Result<(), DaemonError> {
        let back = match (self, from) {
            (Entrance::Endpoint(to), Listening::Unix(from, _)) => to.come_back::<UnixListener>(served, from, resting),
            (Entrance::Gateway(to), Listening::Unix(from, _)) => to.come_back::<UnixListener>(served, from, resting),
            (Entrance::Gateway(to), Listening::Tcp(from)) => to.come_back::<TcpListener>(served, from, resting),
            (Entrance::Endpoint(_), Listening::Tcp(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        };
        back.map_err(unserved)
    }

    fn ended(&self) -> u64 {
        match self {
            Entrance::Endpoint(entrance) => entrance.ended(),
            Entrance::Gateway(entrance) => entrance.ended(),
        }
    }
}

/// One socket that is served, and what is needed to make it again.
pub(super) struct Served {
    pub(super) name: Name,
    entrance: Entrance,
    listening: Listening,
    server: Server,
    /// Of its file, where it has one.
    path: PathBuf,
    modes: Modes,
}

impl Served {
    /// Serves a socket, and the connections that were at rest in another process.
    pub(super) fn open(
        (name, listening): (Name, Listening),
        entrance: Entrance,
        (path, modes): (PathBuf, Modes),
        resting: Vec<OwnedFd>,
    ) -> Result<Self, DaemonError> {
        let server = entrance.serve(&listening, resting)?;
        Ok(Self { name, entrance, listening, server, path, modes })
    }

    /// Connections that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.entrance.ended()
    }

    /// The socket itself.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listening.as_fd()
    }

    /// Whether it has a file that is ours to remove.
    pub(super) fn has_a_file_of_ours(&self) -> bool {
        matches!(&self.listening, Listening::Unix(_, Some(place)) if place.still_ours())
    }

    /// A socket file that was deleted is made again; one that another daemon replaced is left to it.
    pub(super) fn look_after(&mut self) {
        let Listening::Unix(_, place) = &mut self.listening else { return };
        if place.as_ref().is_none_or(|place| place.still_ours()) {
            return;
        }
        match bind_unix(&self.path, self.modes) {
            Ok((listener, place)) => match self.turn_to(Listening::Unix(listener, Some(place))) {
                Ok(()) => warn!(path = %self.path.display(), "the socket was removed; it is there again"),
                Err(fault) => error!(%fault, "the socket was removed and cannot be served again"),
            },
            Err(BindError::InUse { path }) => {
                error!(path = %path.display(), "another daemon has taken the socket; it is left to it");
                *place = None;
            }
            Err(fault) => error!(%fault, "the socket was removed and cannot be made again"),
        }
    }

    /// Connections of the old socket end after the answer that they wait for.
    fn turn_to(&mut self, listening: Listening) -> Result<(), DaemonError> {
        self.server = self.entrance.serve(&listening, Vec::new())?;
        self.listening = listening;
        Ok(())
    }

    /// The connections at rest that were given back when all were closed.
    pub(super) fn resting(&self) -> Vec<OwnedFd> {
        self.server.resting()
    }

    /// Serves again, and first these connections.
    pub(super) fn come_back(&mut self, resting: Vec<OwnedFd>) -> Result<(), DaemonError> {
        self.entrance.come_back(&mut self.server, &self.listening, resting)
    }

    /// Removes the socket's file, if it is ours.
    pub(super) fn remove(self) {
        if let Listening::Unix(_, Some(place)) = self.listening {
            place.remove();
        }
    }
}

fn unserved(fault: std::io::Error) -> DaemonError {
    DaemonError::Kernel("the socket cannot be served", fault)
}

/// Within this who has connected has spoken.
const MOMENT: Duration = Duration::from_millis(50);
/// What is given up on ends at once, but for what it still has to put down.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Nobody new is let in; returns when the last answer was given, or is not waited for any longer.
pub(super) async fn close(doors: &[Served], course: Course, within: Duration) {
    let all = |course| doors.iter().for_each(|door| door.server.turn(course));
    let ended = async || {
        for door in doors {
            door.server.ended().await;
        }
    };
    doors.iter().for_each(|door| door.server.shut());
    if course == Course::Drain {
        // Who was let in just now is about to speak, and would find the door shut: hyper closes on who has said nothing.
        tokio::time::sleep(MOMENT).await;
    }
    all(course);
    if timeout(within, ended()).await.is_err() {
        all(Course::Over);
        let _ = timeout(LAST_WORDS, ended()).await;
    }
}
