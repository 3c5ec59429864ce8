//! What the daemon takes from itself once it knows its config, while it has one thread and no key.
//! It must never leave out a part in silence: what is not in force is told, or ends the daemon where the config says so.

use super::{
    DaemonError,
    doors::Name,
    listen,
    places::{self, Found},
};
use crate::{
    config::{self, Unlock, environment},
    observe::Confinement,
    sys::{
        confine::{Dumpable, refuses_new_code},
        landlock::{self, Access, Bounds, Ruleset},
        lookout::{self, Post},
        seccomp::{self, Program},
        user::Somebody,
    },
};
use nix::errno::Errno;
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What names and users are looked up with, and the libraries that do it. /etc as a whole: its files are replaced.
const LOOKED_UP: [&str; 18] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/systemd/machines",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/nscd",
    "/var/cache/nscd",
    "/var/lib/sss",
    "/proc",
    "/sys/devices/system/cpu",
];

/// Becomes who the config says, if it says so.
pub(super) fn become_user(found: &Found, dumpable: Dumpable) -> Result<Option<String>, DaemonError> {
    let Some(name) = &found.config.daemon.user else { return Ok(None) };
    let Some(user) = Somebody::find(name)? else { return Ok(None) };
    for (path, mode) in [(&found.paths.state, 0o700), (&found.paths.runtime, listen::modes(Name::Broker).directory)] {
        if !path.exists() {
            places::own(Some(path), mode)?;
        }
        user.own(path, is_ours).map_err(|errno| DaemonError::Given(path.clone(), errno))?;
    }
    user.become_for_good()?;
    dumpable.set()?;
    Ok(Some(user.name().to_owned()))
}

/// How the files begin that the daemon writes. Sockets are no files that could be given.
fn is_ours(name: &[u8]) -> bool {
    [&b"vault."[..], b"audit.", b"usage.", b"run"].iter().any(|ours| name.starts_with(ours))
}

/// Confines this process as the config wants it.
pub(super) fn confine(found: &Found, user: Option<String>) -> Result<Confinement, DaemonError> {
    let wanted = found.config.daemon.confinement;
    let (landlock, ports, missing) = (None, None, Vec::new());
    let mut got = Confinement { wanted: wanted.name(), seccomp: false, landlock, ports, user, missing };
    if wanted == config::Confinement::Off {
        return Ok(got);
    }
    // The rules are on directories, which must be there.
    make_directories(found);
    match bound_files(found) {
        Ok((version, ports)) => {
            (got.landlock, got.ports) = (Some(version), ports);
            got.missing.extend(landlock::left_open(version).map(ToOwned::to_owned));
        }
        Err(errno) => got.missing.push(format!("files are not bounded (Landlock): {}", errno.desc())),
    }
    if got.ports.is_none() && !found.config.upstream.ports.is_empty() {
        got.missing
            .push("the kernel does not hold to [upstream] ports (Landlock 4, Linux 6.7): the daemon alone does".into());
    }
    if !refuses_new_code() {
        got.missing.push("memory that was written can be run (PR_SET_MDWE, Linux 6.3)".into());
    }
    match seccomp::confine(Program::Daemon) {
        Ok(()) => got.seccomp = true,
        Err(errno) => got.missing.push(format!("system calls are not bounded (seccomp): {}", errno.desc())),
    }
    match wanted {
        config::Confinement::Require if !got.missing.is_empty() => Err(DaemonError::Unconfined(got.missing)),
        _ => Ok(got),
    }
}

/// Whoever then uses one tells what is wrong with it; one that holds a socket of the service manager's need not be ours.
fn make_directories(found: &Found) {
    let _ = places::own(Some(&found.paths.state), 0o700);
    for socket in sockets(found) {
        let _ = places::own(socket.parent(), listen::modes(Name::Broker).directory);
    }
}

/// The version of Landlock, and the ports if they are bounded.
fn bound_files(found: &Found) -> Result<(u32, Option<Vec<u16>>), Errno> {
    landlock::version()?;
    let ports = &found.config.upstream.ports;
    let by_name = environment("NOTIFY_SOCKET").is_none_or(|socket| !socket.as_bytes().starts_with(b"@"));
    let ruleset = Ruleset::new(Bounds { ports: !ports.is_empty(), abstract_sockets: by_name })?;
    for path in read(found) {
        ruleset.allow(&path, Access::Read)?;
    }
    for path in written(found) {
        ruleset.allow(&path, Access::Write)?;
    }
    let bounded = !ports.is_empty() && ruleset.knows_ports();
    // Port 53: a name's answer that is too long for a datagram.
    for port in ports.iter().chain(&[53]).filter(|_| bounded) {
        ruleset.allow_port(*port)?;
    }
    // From here on this process sees no other's program.
    lookout::post(Post::Programs)?;
    if found.config.gateway.listen.is_some() {
        lookout::post(Post::Sockets)?;
    }
    Ok((ruleset.restrict()?, bounded.then(|| ports.clone())))
}

fn sockets(found: &Found) -> [&Path; 3] {
    [&found.paths.broker, &found.paths.control, &found.paths.gateway]
}

/// Directories rather than files: a file that is replaced is another one.
fn written(found: &Found) -> Vec<PathBuf> {
    let [broker, control, gateway] = sockets(found).map(folder);
    let all = [broker, control, gateway, folder(&found.paths.audit), found.paths.state.clone()];
    all.into_iter().filter(|folder| folder.parent().is_some()).collect()
}

fn read(found: &Found) -> impl Iterator<Item = PathBuf> {
    let unlock = match &found.config.vault.unlock {
        Unlock::Passphrase => None,
        Unlock::File(path) => Some(folder(path)),
        Unlock::Credential(_) => environment("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    };
    // Where a resolver of the machine's own keeps it.
    let resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
    let resolver = resolver.map(|file| folder(&file));
    let config = [folder(&found.paths.config), found.paths.providers()];
    let others = [found.config.upstream.ca_file.clone(), unlock, resolver];
    let all = LOOKED_UP.iter().map(PathBuf::from).chain(config).chain(others.into_iter().flatten());
    // Never all there is.
    all.filter(|path| path.parent().is_some())
}

fn folder(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bases, Config, Paths};

    #[test]
    fn what_is_written_is_ours_alone_and_never_all_there_is() {
        let bases = Bases { config: "/c".into(), state: "/s".into(), runtime: Some("/r".into()) };
        let paths = Paths::user(&bases, |_| None);
        let mut found = Found { config: Config::default(), recipes: Default::default(), paths };
        assert!(
            written(&found).iter().all(|path| [Path::new("/r/sixty"), Path::new("/s/sixty")].contains(&path.as_path()))
        );
        assert!(read(&found).any(|path| path == Path::new("/c/sixty")));
        (found.paths.broker, found.paths.config) = ("/broker.sock".into(), "/sixty.toml".into());
        let root = Path::new("/");
        assert!(!written(&found).iter().any(|path| path == root) && !read(&found).any(|path| path == root));
    }

    #[test]
    fn only_what_the_daemon_writes_is_given_away() {
        assert!([&b"vault.sealed"[..], b"audit.ndjson.1", b"usage.json"].into_iter().all(is_ours));
        assert!(![&b"sixty.toml"[..], b"shadow", b".ssh"].into_iter().any(is_ours));
    }
}
