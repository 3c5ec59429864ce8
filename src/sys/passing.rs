//! Descriptors that go along with bytes over a Unix socket: unix(7), SCM_RIGHTS.
//! It must never leave one open that nobody has.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Descriptors of one message (`SCM_MAX_FD` of linux/net.h, less a little); the kernel closes what is beyond.
pub const MOST: usize = 250;

/// Sends bytes, and with them at most [`MOST`] descriptors. They stay ours too.
///
/// # Errors
/// As sendmsg(2); `EPIPE` when nobody is there any more.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let with = [ControlMessage::ScmRights(&fds)];
    let with = if fds.is_empty() { &[][..] } else { &with[..] };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], with, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Receives bytes, and the descriptors that came with them, close-on-exec. Of a stream, one byte at a time has its own.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut room = cmsg_space!([RawFd; MOST]);
    let mut into = [IoSliceMut::new(into)];
    let heard = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            heard => break heard?,
        }
    };
    let mut passed = Vec::new();
    for with in heard.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = with {
            // SAFETY: the kernel just gave us these descriptors, nobody else has them.
            passed.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((heard.bytes, passed))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn what_is_passed_is_ours_and_not_our_childrens() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pipes = [(); 2].map(|()| std::io::pipe().unwrap());
        let fds = pipes.each_ref().map(|pipe| pipe.0.as_raw_fd());
        let with = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(b"two")], &with, MsgFlags::empty(), None).unwrap();
        let mut into = [0; 9];
        let (len, passed) = receive(ours.as_fd(), &mut into).unwrap();
        assert_eq!((&into[..len], passed.len()), (&b"two"[..], 2));
        for fd in &passed {
            assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut into).unwrap().0, 0);
    }

    #[test]
    fn each_lot_comes_with_its_own_byte() {
        let (here, there) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..MOST).map(|_| std::io::pipe().unwrap()).collect();
        let ends: Vec<_> = pipes.iter().map(|(_, end)| end.as_fd()).collect();
        send(here.as_fd(), b"a", &ends).unwrap();
        send(here.as_fd(), b"b", &[]).unwrap();
        send(here.as_fd(), b"c", &ends[..1]).unwrap();
        let mut byte = [0];
        let mut next = || receive(there.as_fd(), &mut byte).map(|(len, fds)| (len, fds.len())).unwrap();
        assert_eq!([next(), next(), next()], [(1, MOST), (1, 0), (1, 1)]);
        drop(here);
        assert_eq!(next(), (0, 0));
        assert_eq!(send(there.as_fd(), b"x", &[]), Err(Errno::EPIPE));
    }
}
