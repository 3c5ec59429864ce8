//! Peers on loopback TCP, where the socket itself tells nothing: they are looked up, and may stay unknown.
//! It must never pass an unknown peer off as a known one: nothing can be asked about it, and it holds no key.

use super::{AttestError, Attestor, Peer, holder::Proof};
use crate::{
    model::Principal,
    sys::{
        peer::{Method, PeerCredentials, PeerError},
        scrub,
        tcp::{self, TcpPeer},
    },
};
use nix::errno::Errno;
use std::{net::TcpStream, os::fd::BorrowedFd};
use tokio::sync::oneshot;

/// Look-ups under way; further connections wait for their turn. Each takes a thread for some milliseconds.
pub(super) const AT_ONCE: usize = 4;

impl Attestor {
    /// Looks up who is at the other end of a connection, once and before a byte of it is read.
    ///
    /// # Errors
    /// Not even the user is known, or the connection or the process ended meanwhile.
    pub async fn meet_tcp(&self, connection: BorrowedFd<'_>, socket: &'static str) -> Result<Peer, AttestError> {
        let connection = connection.try_clone_to_owned().map_err(kernel)?;
        let _turn = self.looks.acquire().await;
        let (tell, told) = oneshot::channel();
        scrub::thread(move || tell.send(tcp::peer(&TcpStream::from(connection)))).map_err(kernel)?;
        let found = told.await.map_err(|_| PeerError::Kernel(Errno::EAGAIN))?;
        let mut all = match found? {
            TcpPeer::Unseen { uid } => return Ok(Peer::unseen(uid, socket)),
            TcpPeer::Held(all) => all.into_iter().map(|one| Peer::of(one, socket)).collect::<Result<Vec<_>, _>>()?,
        };
        let mut first = all.pop().ok_or(PeerError::Kernel(Errno::ENOTCONN))?;
        first.others = all;
        Ok(first)
    }
}

impl Peer {
    fn unseen(uid: u32, socket: &'static str) -> Self {
        let credentials = PeerCredentials::unseen(uid);
        Self { credentials, program: None, socket, others: Vec::new(), proof: Proof::default() }
    }

    /// What is known of a peer of which nothing is known but its user; none for every other.
    pub fn bearer(&self) -> Option<Principal> {
        (self.credentials.method == Method::Unseen).then(|| self.bare())
    }

    /// Every process that is at the other end.
    pub fn everyone(&self) -> impl Iterator<Item = &Peer> {
        std::iter::once(self).chain(&self.others)
    }
}

fn kernel(fault: std::io::Error) -> AttestError {
    PeerError::Kernel(fault.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)).into()
}
