//! Descriptors that come along with bytes over a Unix socket: unix(7), SCM_RIGHTS.
//! It must never leave one open that nobody has.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Descriptors that one message may bring; the kernel closes what is beyond.
const MOST: usize = 16;

/// Receives bytes, and the descriptors that came with them, close-on-exec.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut room = cmsg_space!([RawFd; MOST]);
    let mut into = [IoSliceMut::new(into)];
    let heard = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
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
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::socket::{ControlMessage, sendmsg};

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
}
