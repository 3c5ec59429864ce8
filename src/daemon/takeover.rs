//! A takeover as both daemons speak of it: the new one asks on the control socket, and is given sockets, connections at
//! rest and leases, each lot behind a byte that says what it is. No key and no token ever goes this way.

use super::{
    doors::Name,
    inherit::{Inherited, Socket},
};
use crate::{
    endpoint::TAKEOVER,
    sys::{passing, peer},
};
use nix::errno::Errno;
use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// Why nothing is taken over. The daemon that serves goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody listens there.
    #[error("{0}: no daemon answers: {1}; start this one without --takeover")]
    Nobody(PathBuf, io::Error),
    /// It belongs to somebody else.
    #[error("{0} is another user's; nothing is taken over from there")]
    Stranger(PathBuf),
    /// It says no.
    #[error("the daemon that serves refuses ({0}); only its owner takes over, one at a time")]
    Refused(String),
    /// It went on serving when it was given no answer for too long.
    #[error("the daemon that serves waited no longer and goes on; raise `takeover` under [daemon], or try again")]
    Late,
    /// It ended, or went on serving.
    #[error("the daemon that serves broke off: {0}; its log says why")]
    Broken(io::Error),
}

/// What a byte says of the descriptors behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lot {
    /// A listening socket; its file is to be removed by whoever serves last.
    Ours(Name),
    /// One of the service manager's, or without a file.
    Given(Name),
    /// Connections that are at rest.
    Resting(Name),
    /// The leases.
    Estate,
    /// The owner has locked the vault.
    Locked,
    /// That was all: it is your turn.
    End,
    /// From the new one: I can serve.
    Ready,
    /// The old one's last word: serve, I don't any more.
    Yours,
    /// Or that: you are too late, I go on.
    Mine,
}

impl Lot {
    /// As the byte.
    pub(super) fn byte(self) -> u8 {
        let of = |first: u8, name: Name| first + name as u8;
        match self {
            Self::Ours(name) => of(b'A', name),
            Self::Given(name) => of(b'a', name),
            Self::Resting(name) => of(b'0', name),
            Self::Estate => b'*',
            Self::Locked => b'#',
            Self::End => b'.',
            Self::Ready => b'!',
            Self::Yours => b'+',
            Self::Mine => b'-',
        }
    }

    /// From the byte.
    pub(super) fn of(byte: u8) -> Option<Self> {
        let named = Name::ALL.into_iter().flat_map(|name| [Self::Ours(name), Self::Given(name), Self::Resting(name)]);
        let alone = [Self::Estate, Self::Locked, Self::End, Self::Ready, Self::Yours, Self::Mine];
        named.chain(alone).find(|lot| lot.byte() == byte)
    }
}

/// The daemon that was taken over from, until we serve.
pub(super) struct Old(UnixStream);

impl Old {
    /// We can serve: it goes, or has gone already.
    ///
    /// # Errors
    /// It has gone on without us. What it gave us is old by now.
    pub(super) fn yields(self) -> Result<(), TakeoverError> {
        let mut word = [0];
        // Where nobody hears it, what was said before that tells why.
        let _ = passing::send(self.0.as_fd(), &[Lot::Ready.byte()], &[]);
        match passing::receive(self.0.as_fd(), &mut word) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => Ok(()),
            Ok(_) if Lot::of(word[0]) == Some(Lot::Yours) => Ok(()),
            Ok(_) => Err(TakeoverError::Late),
            Err(errno) => Err(TakeoverError::Broken(errno.into())),
        }
    }
}

/// More than the longest drain, and than what comes after it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of an answer's head.
const HEAD: usize = 8 << 10;

/// Asks the daemon on this control socket to hand over, and takes what it gives.
pub(super) fn ask(control: &Path, into: &mut Inherited) -> Result<(), TakeoverError> {
    let nobody = |fault| TakeoverError::Nobody(control.to_owned(), fault);
    let mut stream = UnixStream::connect(control).map_err(nobody)?;
    let ours = [0, nix::unistd::geteuid().as_raw()];
    if !peer::user(stream.as_fd()).is_some_and(|user| ours.contains(&user)) {
        return Err(TakeoverError::Stranger(control.to_owned()));
    }
    stream.set_read_timeout(Some(PATIENCE)).map_err(TakeoverError::Broken)?;
    let asked = format!(
        "POST /v1/takeover HTTP/1.1\r\nhost: sixty\r\nconnection: upgrade\r\nupgrade: {TAKEOVER}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).map_err(TakeoverError::Broken)?;
    let head = head(&mut stream).map_err(TakeoverError::Broken)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "101" {
        return Err(TakeoverError::Refused(status.to_owned()));
    }
    take(&stream, into).map_err(TakeoverError::Broken)?;
    into.old = Some(Old(stream));
    Ok(())
}

/// Byte by byte: what comes behind it is not for read(2).
fn head(stream: &mut UnixStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn take(stream: &UnixStream, into: &mut Inherited) -> io::Result<()> {
    let (mut sockets, mut resting, mut estate) = (Vec::new(), Vec::new(), None);
    loop {
        let mut byte = [0];
        let (length, mut fds) = passing::receive(stream.as_fd(), &mut byte)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let strange = || io::Error::other("it says what this version does not know");
        match Lot::of(byte[0]).ok_or_else(strange)? {
            Lot::Resting(name) => resting.extend(fds.into_iter().map(|fd| (name, fd))),
            Lot::Estate => estate = fds.pop(),
            Lot::Locked => into.locked = true,
            Lot::Ready | Lot::Yours | Lot::Mine => return Err(strange()),
            Lot::End => break,
            lot @ (Lot::Ours(name) | Lot::Given(name)) => {
                let fd = fds.pop().ok_or_else(strange)?;
                let ours = matches!(lot, Lot::Ours(_));
                sockets.push(match name {
                    Name::GatewayTcp => (name, Socket::Tcp(fd.into())),
                    _ => (name, Socket::Unix { listener: fd.into(), ours }),
                });
            }
        }
    }
    into.sockets.extend(sockets);
    into.resting.extend(resting);
    into.estate = estate;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lot_has_a_byte_of_its_own() {
        let known = (0..=u8::MAX).filter_map(|byte| Some((byte, Lot::of(byte)?)));
        let known: Vec<_> = known.collect();
        assert_eq!(known.len(), 4 * 3 + 6);
        assert!(known.iter().all(|(byte, lot)| lot.byte() == *byte));
    }
}
