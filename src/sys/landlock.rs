//! Which files and ports this thread, and what it starts, may still reach: landlock(7).
//! It must never be applied beside other threads: each would keep what it has.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

/// What may be done with a file, or with all below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Open for reading, and list.
    Read,
    /// Make, write, replace and remove files, sockets and directories too.
    Write,
}

/// Rights over files, as linux/landlock.h numbers them.
mod right {
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const REMOVE_DIR: u64 = 1 << 4;
    pub(super) const REMOVE_FILE: u64 = 1 << 5;
    pub(super) const MAKE_CHAR: u64 = 1 << 6;
    pub(super) const MAKE_DIR: u64 = 1 << 7;
    pub(super) const MAKE_REG: u64 = 1 << 8;
    pub(super) const MAKE_SOCK: u64 = 1 << 9;
    pub(super) const MAKE_BLOCK: u64 = 1 << 11;
    pub(super) const REFER: u64 = 1 << 13;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    /// Those that a rule for a file may name; all others are about directories.
    pub(super) const OF_FILES: u64 = WRITE_FILE | READ_FILE | TRUNCATE;
}

/// `struct landlock_ruleset_attr`: what is forbidden unless a rule allows it.
#[repr(C)]
struct Handled {
    files: u64,
    ports: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: RawFd,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct Port {
    allowed: u64,
    port: u64,
}

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
const SCOPE_SIGNALS: u64 = 1 << 1;

/// What versions before these leave open.
const SINCE: [(u32, &str); 4] = [
    (2, "files can be moved between directories (Landlock 2, Linux 5.19)"),
    (3, "files can be truncated (Landlock 3, Linux 6.2)"),
    (4, "ports can be bound (Landlock 4, Linux 6.7)"),
    (6, "signals and abstract sockets are not bounded (Landlock 6, Linux 6.12)"),
];

/// What is left open by a version, in words.
pub fn left_open(version: u32) -> impl Iterator<Item = &'static str> {
    SINCE.into_iter().filter(move |(since, _)| version < *since).map(|(_, what)| what)
}

/// Which of two things, beside files, are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// TCP connections go to ports with a rule only.
    pub ports: bool,
    /// No abstract Unix socket of a process outside is connected to.
    pub abstract_sockets: bool,
}

/// What will be allowed, until [`Ruleset::restrict`] forbids all else.
pub struct Ruleset {
    fd: OwnedFd,
    version: u32,
    files: u64,
}

/// The version of Landlock that this kernel has.
///
/// # Errors
/// `ENOSYS`: it has none; `EOPNOTSUPP`: it is switched off at boot.
pub fn version() -> Result<u32, Errno> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call reads no memory.
    let told = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Handled>(), 0, VERSION) };
    Errno::result(told).map(|version| u32::try_from(version).unwrap_or(u32::MAX))
}

impl Ruleset {
    /// A ruleset for a process that goes about its own business: whoever is bounded by any can't look into a process
    /// outside (ptrace(2)), and by this one can't signal it either, nor make a device. All else is as before.
    ///
    /// # Errors
    /// As [`version`].
    pub fn apart() -> Result<Self, Errno> {
        let version = version()?;
        let scopes = if version >= 6 { SCOPE_SIGNALS } else { 0 };
        // Every ruleset forbids to move files between directories, unless it allows that: landlock(7).
        let moved = if version >= 2 { right::REFER } else { 0 };
        let files = right::MAKE_CHAR | right::MAKE_BLOCK | moved;
        let ruleset = Self::made(version, Handled { files, ports: 0, scopes })?;
        if moved > 0 {
            ruleset.allow_below(Path::new("/"), moved)?;
        }
        Ok(ruleset)
    }

    /// A ruleset that allows nothing yet, of all that this kernel's version can forbid.
    ///
    /// # Errors
    /// As [`version`].
    pub fn new(bounds: Bounds) -> Result<Self, Errno> {
        let version = version()?;
        let since = |first: u32, what: u64| if version >= first { what } else { 0 };
        let only = |wanted: bool, what: u64| if wanted { what } else { 0 };
        // 13 rights from the beginning; then moving between directories, truncating, ioctl of devices.
        let files = 0x1fff | since(2, right::REFER) | since(3, right::TRUNCATE) | since(5, 1 << 15);
        let ports = since(4, BIND_TCP | only(bounds.ports, CONNECT_TCP));
        let scopes = since(6, SCOPE_SIGNALS | only(bounds.abstract_sockets, SCOPE_ABSTRACT_SOCKETS));
        Self::made(version, Handled { files, ports, scopes })
    }

    fn made(version: u32, handled: Handled) -> Result<Self, Errno> {
        let (at, size) = (&raw const handled, size_of::<Handled>());
        // SAFETY: `at` points to `size` readable bytes; kernels that know fewer fields want the others to be zero.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, at, size, 0) })?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, version, files: handled.files })
    }

    /// Whether this kernel can bound ports.
    pub fn knows_ports(&self) -> bool {
        self.version >= 4
    }

    /// Allows a file, or all below a directory, whatever comes to stand there. What is not there is left out.
    ///
    /// # Errors
    /// The kernel takes no rule for it.
    pub fn allow(&self, path: &Path, access: Access) -> Result<(), Errno> {
        self.allow_below(path, access.rights())
    }

    fn allow_below(&self, path: &Path, rights: u64) -> Result<(), Errno> {
        let parent = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(parent) => parent,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let is_directory = SFlag::from_bits_truncate(fstat(&parent)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        let may = rights & self.files & if is_directory { u64::MAX } else { right::OF_FILES };
        let rule = Beneath { allowed: may, parent: parent.as_raw_fd() };
        const BENEATH: libc::c_int = 1;
        self.add(BENEATH, (&raw const rule).cast())
    }

    /// Allows connections to a TCP port. Without [`Bounds::ports`] they are allowed anyway.
    ///
    /// # Errors
    /// This kernel knows no ports.
    pub fn allow_port(&self, port: u16) -> Result<(), Errno> {
        let rule = Port { allowed: CONNECT_TCP, port: port.into() };
        const PORT: libc::c_int = 2;
        self.add(PORT, (&raw const rule).cast())
    }

    /// Forbids this thread, and all that it starts from now on, whatever is not allowed; for good. Gives the version.
    ///
    /// # Errors
    /// `EPERM`: new privileges are not given up yet.
    pub fn restrict(self) -> Result<u32, Errno> {
        // SAFETY: no pointers.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0) };
        Errno::result(done).map(|_| self.version)
    }

    fn add(&self, kind: libc::c_int, rule: *const libc::c_void) -> Result<(), Errno> {
        // SAFETY: `rule` points to the struct that `kind` names, which the kernel copies.
        let added = unsafe { libc::syscall(libc::SYS_landlock_add_rule, self.fd.as_raw_fd(), kind, rule, 0) };
        Errno::result(added).map(drop)
    }
}

impl Access {
    fn rights(self) -> u64 {
        const READ: u64 = right::READ_FILE | right::READ_DIR;
        const MAKE: u64 = right::MAKE_DIR | right::MAKE_REG | right::MAKE_SOCK;
        const REMOVE: u64 = right::REMOVE_DIR | right::REMOVE_FILE;
        match self {
            Self::Read => READ,
            Self::Write => READ | MAKE | REMOVE | right::WRITE_FILE | right::TRUNCATE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::super::scratch::{Scratch, alone};
    use super::*;

    #[test]
    fn what_an_older_version_leaves_open_is_told() {
        assert_eq!((left_open(1).count(), left_open(5).count(), left_open(6).count()), (4, 1, 0));
        assert!(left_open(3).any(|what| what.starts_with("ports can be bound")));
    }

    #[test]
    fn what_no_rule_allows_can_not_be_reached() {
        alone("sys::landlock::tests::bounded");
    }

    #[track_caller]
    fn denied<T>(done: std::io::Result<T>) {
        assert_eq!(done.map(drop).unwrap_err().kind(), PermissionDenied);
    }

    #[test]
    #[ignore = "bounds the process it runs in; a test above runs it alone"]
    fn bounded() {
        let scratch = Scratch::new();
        let at = |name| scratch.join(name);
        for folder in ["config", "state", "other"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("file"), b"one").unwrap();
        }
        fs::write(at("alone"), b"one").unwrap();
        symlink(at("other/file"), at("config/link")).unwrap();
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [open, shut]: [SocketAddr; 2] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        nix::sys::prctl::set_no_new_privs().unwrap();
        let ruleset = Ruleset::new(Bounds { ports: true, abstract_sockets: true }).unwrap();
        ruleset.allow(&at("config"), Access::Read).unwrap();
        ruleset.allow(&at("state"), Access::Write).unwrap();
        ruleset.allow(&at("alone"), Access::Read).unwrap();
        ruleset.allow(&at("not there"), Access::Read).unwrap();
        let knows_ports = ruleset.knows_ports();
        if knows_ports {
            ruleset.allow_port(open.port()).unwrap();
        }
        ruleset.restrict().unwrap();

        fs::read(at("config/file")).unwrap();
        fs::read(at("alone")).unwrap();
        denied(fs::write(at("config/file"), b"two"));
        denied(fs::write(at("config/new"), b"two"));
        denied(fs::rename(at("state/file"), at("config/file")));
        denied(fs::read(at("config/link")));
        denied(fs::read(at("other/file")));
        denied(fs::read(at("config/../other/file")));
        denied(fs::read("/etc/shadow"));
        denied(fs::read_dir("/"));
        denied(UnixListener::bind(at("other/socket")));

        fs::write(at("state/new"), b"two").unwrap();
        fs::rename(at("state/new"), at("state/file")).unwrap();
        UnixListener::bind(at("state/socket")).unwrap();
        fs::remove_file(at("state/socket")).unwrap();
        fs::create_dir(at("state/folder")).unwrap();
        fs::remove_dir(at("state/folder")).unwrap();
        denied(symlink("/", at("state/link")));

        TcpStream::connect(open).unwrap();
        if knows_ports {
            denied(TcpStream::connect(shut));
            denied(TcpListener::bind("127.0.0.1:0"));
        }
    }
}
