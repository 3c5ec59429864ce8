//! Memory with a descriptor and no name, sealed once it is written: memfd_create(2), `F_ADD_SEALS` of fcntl(2).
//! It must never hold a secret, nor be read where whoever gave it could still change it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// What keeps it as it is.
const WHOLE: SealFlag =
    SealFlag::F_SEAL_SEAL.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// What `write` writes, sealed.
///
/// # Errors
/// The kernel has no memory or no descriptor.
pub fn sealed(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<OwnedFd> {
    let file = File::from(created()?);
    let mut buffer = BufWriter::with_capacity(64 * 1024, &file);
    write(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    fcntl(&file, FcntlArg::F_ADD_SEALS(WHOLE))?;
    Ok(file.into())
}

/// What a sealed one holds: at most `most` bytes.
///
/// # Errors
/// It is no memory, is not sealed, or holds more.
pub fn read(memory: OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let seals = fcntl(&memory, FcntlArg::F_GET_SEALS)?;
    if !SealFlag::from_bits_truncate(seals).contains(WHOLE) {
        return Err(io::Error::other("it is not sealed"));
    }
    let file = File::from(memory);
    let length = usize::try_from(file.metadata()?.len()).ok().filter(|length| *length <= most);
    let mut bytes = vec![0; length.ok_or(io::ErrorKind::FileTooLarge)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Never to be run as a program, where the kernel knows of that (Linux 6.3).
fn created() -> Result<OwnedFd, Errno> {
    let always = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(c"sixty", always | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create(c"sixty", always),
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> OwnedFd {
        sealed(|to| to.write_all(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_is_sealed_stays_as_it_is() {
        let file = File::from(of("as it is"));
        for changed in [file.write_at(b"x", 0).map(drop), file.set_len(0), file.set_len(99)] {
            assert_eq!(changed.unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(read(file.into(), 8).unwrap(), b"as it is");
    }

    #[test]
    fn nothing_is_read_that_could_change_or_is_too_large() {
        let open = File::from(created().unwrap());
        (&open).write_all(b"not sealed").unwrap();
        assert!(read(open.try_clone().unwrap().into(), 99).is_err());
        fcntl(&open, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
        assert!(read(open.into(), 99).is_err(), "it could be cut");
        assert!(read(of("too large"), 8).is_err());
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(read(pipe.into(), 99).is_err());
    }

    #[test]
    fn it_is_not_passed_on_by_exec() {
        let flags = fcntl(of(""), FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
