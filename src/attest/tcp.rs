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

impl Attestor {
    /// Looks up who is at the other end of a connection, once and before a byte of it is read.
    ///
    /// # Errors
    /// Not even the user is known, or the connection or the process ended meanwhile.
    pub async fn meet_tcp(&self, connection: BorrowedFd<'_>, socket: &'static str) -> Result<Peer, AttestError> {
        let connection = connection.try_clone_to_owned().map_err(kernel)?;
        // A look-up takes some milliseconds of a thread; further connections wait for their turn.
        let _turn = self.looks.acquire().await;
        let found = scrub::beside(move || tcp::peer(&TcpStream::from(connection))).await.map_err(kernel)?;
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

#[cfg(test)]
mod tests {
    use super::super::AttestOptions;
    use super::*;
    use std::{net::TcpListener, os::fd::AsFd, time::Duration};

    #[tokio::test]
    async fn no_more_callers_are_looked_up_at_once_than_allowed() {
        let attestor = Attestor::new(AttestOptions { exe_bytes: 1, exe_hashes: 1, tcp_lookups: 1 });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let turn = attestor.looks.acquire().await.unwrap();
        let mut waiting = std::pin::pin!(attestor.meet_tcp(accepted.as_fd(), "gateway"));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        drop(turn);
        assert!(waiting.await.is_ok_and(|peer| peer.uid() == nix::unistd::geteuid().as_raw()));
    }
}
