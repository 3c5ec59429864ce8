//! From root to a user without privileges, for good: credentials(7), capabilities(7).
//! It must never go on as anything between the two.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, User, fchown, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::procfs::ProcDir;

/// Why nobody else was become.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("there is no user `{0}` on this machine; name one under [daemon] user, or leave it out")]
    Unknown(String),
    /// Root would become root.
    #[error("`{0}` is root itself; name a user without privileges under [daemon] user, or leave it out")]
    Root(String),
    /// Not root, and somebody else.
    #[error("only root can become `{0}`; start the daemon as root or as that user, or leave [daemon] user out")]
    NotRoot(String),
    /// The kernel refused a step, or let root come back.
    #[error("the daemon can't become `{name}` ({step}): {errno}")]
    Kernel {
        /// The user.
        name: String,
        /// What failed.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Somebody to become.
#[derive(Debug, Clone)]
pub struct Somebody {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Somebody {
    /// The user of this name or number. None when we are that user already.
    ///
    /// # Errors
    /// See [`UserError`].
    pub fn find(name: &str) -> Result<Option<Self>, UserError> {
        let found = match name.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(name),
        };
        let user = found.ok().flatten().ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        match (user.uid.is_root(), Uid::effective()) {
            (true, _) => Err(UserError::Root(name.to_owned())),
            (false, us) if us == user.uid => Ok(None),
            (false, us) if !us.is_root() => Err(UserError::NotRoot(name.to_owned())),
            _ => Ok(Some(Self { name: user.name, uid: user.uid, gid: user.gid })),
        }
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives them one of root's directories, with those of its files that are root's and are called so.
    ///
    /// # Errors
    /// It can't be opened or given away, or has something else of root's in it (`ENOTEMPTY`): then it is not ours alone.
    pub fn own(&self, directory: &Path, ours: impl Fn(&[u8]) -> bool) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = open(directory, flags, Mode::empty())?;
        let mut entries = Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?;
        let mut files = Vec::new();
        for entry in entries.iter().flatten().filter(|entry| ![c".", c".."].contains(&entry.file_name())) {
            // Opened, then judged: its owner may be at work there.
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = openat(directory.as_fd(), entry.file_name(), flags, Mode::empty());
            let of_root = file.as_ref().is_ok_and(|file| fstat(file).is_ok_and(|found| found.st_uid == 0));
            match file {
                Ok(_) if of_root && !ours(entry.file_name().to_bytes()) => return Err(Errno::ENOTEMPTY),
                Ok(file) => files.push(file),
                // A socket, or a link.
                Err(_) => {}
            }
        }
        self.give(&directory, SFlag::S_IFDIR)?;
        files.iter().try_for_each(|file| self.give(file, SFlag::S_IFREG))?;
        Ok(())
    }

    /// Of files only those that have no other name, which could be anybody's.
    fn give(&self, file: &OwnedFd, kind: SFlag) -> Result<(), Errno> {
        let found = fstat(file)?;
        let is = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind;
        let alone = kind == SFlag::S_IFDIR || found.st_nlink == 1;
        if is && alone && found.st_uid == 0 { fchown(file, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    /// Becomes this user: no other group, no capability, no way back.
    ///
    /// # Errors
    /// [`UserError::Kernel`]; then this process must end.
    pub fn become_for_good(&self) -> Result<(), UserError> {
        let (uid, gid) = (self.uid, self.gid);
        self.step("setgroups", setgroups(&[gid]))?;
        self.step("setresgid", setresgid(gid, gid, gid))?;
        self.step("setresuid", setresuid(uid, uid, uid))?;
        let users = self.step("getresuid", getresuid())?;
        let groups = self.step("getresgid", getresgid())?;
        let whole = [users.real, users.effective, users.saved] == [uid; 3]
            && [groups.real, groups.effective, groups.saved] == [gid; 3];
        let root = Uid::from_raw(0);
        let back = setresuid(root, root, root).is_ok() || setgroups(&[]).is_ok();
        let powerless = ProcDir::own().and_then(|own| own.capabilities()).is_ok_and(|held| held == 0);
        let for_good = whole && !back && powerless;
        self.step("root can come back", for_good.then_some(()).ok_or(Errno::EPERM))
    }

    fn step<T>(&self, step: &'static str, done: nix::Result<T>) -> Result<T, UserError> {
        done.map_err(|errno| UserError::Kernel { name: self.name.clone(), step, errno })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::super::scratch::{Scratch, alone};
    use super::*;

    #[test]
    fn a_user_that_can_not_be_become_is_told_by_name() {
        assert!(matches!(Somebody::find("no such user"), Err(UserError::Unknown(_))));
        assert!(matches!(Somebody::find("root"), Err(UserError::Root(_))));
        match Somebody::find("65534") {
            Ok(found) => assert!(found.is_none_or(|found| found.uid == Uid::from_raw(65534))),
            Err(fault) => assert!(!Uid::effective().is_root(), "{fault}"),
        }
    }

    #[test]
    fn root_becomes_a_user_and_never_comes_back() {
        if Uid::effective().is_root() {
            alone("sys::user::tests::becomes_nobody");
        } else {
            println!("not tested: needs root");
        }
    }

    #[test]
    #[ignore = "changes who the process is; a test above runs it alone"]
    fn becomes_nobody() {
        let scratch = Scratch::new();
        let at = |name| scratch.join(name);
        for file in ["state", "ours", "foreign"] {
            std::fs::write(at(file), b"").unwrap();
        }
        let folder = at("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), b"").unwrap();
        symlink(at("ours"), folder.join("link")).unwrap();
        std::fs::hard_link(at("state"), folder.join("second name")).unwrap();
        let nobody = Somebody::find("65534").unwrap().unwrap();
        assert_eq!(nobody.own(&folder, |name| name == b"file"), Err(Errno::ENOTEMPTY), "it holds somebody else's too");
        assert_eq!(folder.metadata().unwrap().uid(), 0);
        nobody.own(&folder, |_| true).unwrap();
        let owner = |path: &Path| path.metadata().unwrap().uid();
        assert_eq!((owner(&folder), owner(&folder.join("file"))), (65534, 65534));
        assert_eq!((owner(&at("ours")), owner(&at("state"))), (0, 0), "a link leads to what is somebody else's");
        assert!(nobody.own(&folder.join("link"), |_| true).is_err());

        std::fs::File::open("/etc/shadow").unwrap();
        nobody.become_for_good().unwrap();
        assert!(std::fs::File::open("/etc/shadow").is_err());
        assert_eq!(ProcDir::own().unwrap().uids().unwrap(), [65534; 4]);
        assert_eq!(nix::unistd::getgroups().unwrap(), [Gid::from_raw(65534)]);
        assert!(nix::unistd::setuid(Uid::from_raw(0)).is_err());
        assert!(nix::unistd::chroot("/").is_err());
    }
}
