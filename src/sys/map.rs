//! Anonymous memory straight from the kernel: secret (memfd_secret) or locked (mlock), wiped before it is unmapped.
//! It must never leave a file descriptor behind: with one, pidfd_getfd(2) reads the secret.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;

/// Whole pages of memory that are ours alone, zero at first.
pub(super) struct Area {
    start: NonNull<c_void>,
    size: usize,
}

// SAFETY: the pages belong to this value alone; shared access goes through `&self`, changes through `&mut self`.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// Pages that only this process's own code can read: memfd_secret(2), not passed on to children.
    ///
    /// # Errors
    /// `ENOSYS`, `EPERM`: the kernel (or a filter) has none to give; `EAGAIN`: over `RLIMIT_MEMLOCK`.
    pub(super) fn secret(capacity: usize) -> Result<Self, Errno> {
        let size = whole_pages(capacity)?;
        let fd = memfd_secret()?;
        nix::unistd::ftruncate(&fd, i64::try_from(size).map_err(|_| Errno::ENOMEM)?)?;
        let area = Self::map(size, libc::MAP_SHARED, fd.as_raw_fd())?;
        area.advise(libc::MADV_DONTFORK)?;
        Ok(area)
    }

    /// Ordinary pages kept out of swap (as far as `RLIMIT_MEMLOCK` allows), core dumps and children.
    ///
    /// # Errors
    /// `ENOMEM`: no memory.
    pub(super) fn locked(capacity: usize) -> Result<Self, Errno> {
        let size = whole_pages(capacity)?;
        let area = Self::map(size, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        area.advise(libc::MADV_DONTDUMP)?;
        area.advise(libc::MADV_DONTFORK)?;
        // SAFETY: the range is ours. Best effort: an unprivileged process may be over its limit.
        unsafe { libc::mlock(area.start.as_ptr(), size) };
        Ok(area)
    }

    /// All of the pages.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable for `size` bytes as long as `self` lives; zeroed by the kernel at first.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.size) }
    }

    /// All of the pages, to be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, mapped writable, and `&mut self` is the only way here.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.size) }
    }

    fn map(size: usize, flags: i32, fd: i32) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(start).map(|start| Self { start, size }).ok_or(Errno::ENOMEM)
    }

    fn advise(&self, advice: i32) -> Result<(), Errno> {
        // SAFETY: the range is ours, and neither advice used here changes what it holds.
        Errno::result(unsafe { libc::madvise(self.start.as_ptr(), self.size, advice) }).map(drop)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(self.bytes_mut());
        // SAFETY: mapped by us with this size; no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.size) };
    }
}

fn memfd_secret() -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers; the result is a new descriptor or an error.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just gave us this descriptor, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn whole_pages(capacity: usize) -> Result<usize, Errno> {
    // SAFETY: no pointers.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(|_| Errno::EINVAL)?;
    capacity.max(1).checked_next_multiple_of(page).ok_or(Errno::ENOMEM)
}
