//! Our files: whether they are there, ours, and closed to others; and whether there is room for more.

use crate::{
    config::{self, Config, Paths},
    model::Finding,
};
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, Uid, access, geteuid},
};
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Room below which the audit, and with it every mint, is about to stop: 16 MiB.
const ROOM: u64 = 16 << 20;

/// The config, if there is none wrong with it.
pub(super) fn config(path: &Path) -> (Finding, Option<Config>) {
    match config::load(path) {
        Ok((config, _)) if config.warnings.is_empty() => {
            (Finding::good("config", path.display().to_string()), Some(config))
        }
        Ok((config, _)) => {
            let says = format!("{} is not all it seems", path.display());
            (Finding::weak("config", says, "`sixty check` shows where"), Some(config))
        }
        Err(_) if !path.exists() => {
            (Finding::bad("config", format!("{} is not there", path.display()), "`sixty init` writes one"), None)
        }
        Err(_) => (Finding::bad("config", format!("{} is faulty", path.display()), "`sixty check` shows where"), None),
    }
}

pub(super) fn all(paths: &Paths) -> Vec<Finding> {
    let mut findings = Vec::from([
        place("state", &paths.state, 0o077),
        place("vault", &paths.vault, 0o077),
        place("audit", &paths.audit, 0o077),
        place("program", &std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")), 0o022),
    ]);
    findings.extend(room(&paths.state));
    findings
}

/// A program that the config names.
pub(super) fn runs(program: &Path) -> Finding {
    let name = program.display();
    match access(program, AccessFlags::X_OK) {
        Ok(()) => Finding::good("program", format!("{name} can be run")),
        Err(errno) => {
            Finding::bad("program", format!("{name}: {}", errno.desc()), "name one that the daemon's user may run")
        }
    }
}

/// A file or folder of ours on which others have none of the rights in `closed`.
fn place(about: &'static str, path: &Path, closed: u32) -> Finding {
    match path.metadata() {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
            Finding::weak(about, format!("{} is not there yet", path.display()), "`sixty init` or the daemon makes it")
        }
        Err(fault) => Finding::bad(about, format!("{}: {fault}", path.display()), "look at it as the daemon's user"),
        Ok(found) => judged(about, path, &found, closed),
    }
}

fn judged(about: &'static str, path: &Path, found: &Metadata, closed: u32) -> Finding {
    let (name, mode, owner) = (path.display(), found.mode() & 0o7777, Uid::from_raw(found.uid()));
    if owner != geteuid() && !owner.is_root() {
        return Finding::bad(about, format!("{name} belongs to uid {owner}"), "run this as the daemon's user");
    }
    match mode & closed {
        0 => Finding::good(about, name.to_string()),
        open => Finding::bad(
            about,
            format!("{name} is open to others (mode {mode:04o})"),
            format!("chmod {} {name}", if open & 0o055 == 0 { "go-w" } else { "go=" }),
        ),
    }
}

fn room(state: &Path) -> Option<Finding> {
    let disk = statvfs(state).ok()?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    Some(match free >= ROOM {
        true => Finding::good("disk", format!("{} MiB free for vault and audit", free >> 20)),
        false => Finding::bad(
            "disk",
            format!("{} KiB free: without a record there is no mint", free >> 10),
            "make room, or rotate the audit (`sixty manual audit`)",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Health;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_may_read_or_write_is_bad_and_the_advice_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        assert_eq!(place("vault", &path, 0o077).health, Health::Weak);
        std::fs::write(&path, "x").unwrap();
        for (mode, closed, health, advice) in [
            (0o600, 0o077, Health::Good, None),
            (0o640, 0o077, Health::Bad, Some("chmod go=")),
            (0o755, 0o022, Health::Good, None),
            (0o775, 0o022, Health::Bad, Some("chmod go-w")),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = place("vault", &path, closed);
            assert_eq!(finding.health, health, "{mode:o}");
            assert_eq!(finding.advice.is_some_and(|said| said.starts_with(advice.unwrap())), advice.is_some());
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_bad() {
        assert_eq!(runs(Path::new("/bin/sh")).health, Health::Good);
        for none in ["/not/there", "/etc/passwd"] {
            assert_eq!(runs(Path::new(none)).health, Health::Bad, "{none}");
        }
    }

    #[test]
    fn a_disk_without_room_is_bad() {
        assert_eq!(room(Path::new("/")).unwrap().health, Health::Good);
        // A file system that never has room.
        assert_eq!(room(Path::new("/proc")).unwrap().health, Health::Bad);
        assert!(room(Path::new("/nowhere/at/all")).is_none());
    }
}
