//! Who is at the other end of a TCP connection on this machine: the socket by netlink, its holders by /proc.
//! It must never name a process unless the kernel says that the connection is that process's, before the look and after.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;

use nix::errno::Errno;

use super::descent::descends;
use super::diag;
use super::holders::{Holder, holders};
use super::peer::{PeerCredentials, PeerError};
use super::procfs::ProcError;

/// What could be established of the other end.
#[derive(Debug)]
pub enum TcpPeer {
    /// The processes that hold its socket, never none; without those that descend from another one of them, as a
    /// process that just forks has.
    Held(Vec<PeerCredentials>),
    /// The user who made the socket. Who holds it can't be seen: another user's process and we are not root, hidepid,
    /// another pid namespace, or a holder that is not the socket's user.
    Unseen {
        /// The user.
        uid: u32,
    },
}

/// How often is looked again when a holder ends meanwhile: a program that starts others has short-lived ones.
const LOOKS: usize = 4;

/// Looks up who is at the other end. Milliseconds, by the number of processes: for a thread of its own.
///
/// # Errors
/// [`PeerError`]: nothing is known, not even the user, or the connection ended meanwhile; close it.
pub fn peer(connection: &TcpStream) -> Result<TcpPeer, PeerError> {
    let (own, other) = addresses(connection).map_err(PeerError::Kernel)?;
    let socket = diag::connected(other, own).map_err(PeerError::Kernel)?;
    let look = || heads(holders(socket.inode, socket.uid).unwrap_or_default());
    let found = (0..LOOKS).find_map(|_| look().ok()).unwrap_or_default();
    // Still connected, and to the very same socket: its number can't have been another's while we looked.
    let again = addresses(connection).and_then(|(own, other)| diag::connected(other, own));
    if again != Ok(socket) {
        return Err(PeerError::Kernel(Errno::ENOTCONN));
    }
    // A holder of another user: one of the two would be named for the other's doing.
    match !found.is_empty() && found.iter().all(|one| one.uid == socket.uid) {
        true => Ok(TcpPeer::Held(found)),
        false => Ok(TcpPeer::Unseen { uid: socket.uid }),
    }
}

/// Whether this kernel and this /proc can tell at all; tried once, on ourselves.
pub fn works() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| {
        let connected = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            let client = TcpStream::connect(listener.local_addr()?)?;
            Ok((listener.accept()?.0, client))
        });
        let found = connected.ok().map(|(server, _client)| peer(&server));
        matches!(found, Some(Ok(TcpPeer::Held(_))))
    })
}

/// The two ends; an error once the connection is no more.
fn addresses(connection: &TcpStream) -> Result<(SocketAddr, SocketAddr), Errno> {
    let ends = connection.local_addr().and_then(|own| Ok((own, connection.peer_addr()?)));
    ends.map_err(|fault| fault.raw_os_error().map_or(Errno::ENOTCONN, Errno::from_raw))
}

/// Those that are not known to descend from another one; an error when one has ended.
fn heads(seen: Vec<Holder>) -> Result<Vec<PeerCredentials>, ProcError> {
    let made = |one: &Holder| {
        let descent = |other: &Holder| match descends(&one.proc, other.pid.unsigned_abs()) {
            Err(ProcError::Deep { .. }) => Ok(false),
            told => told,
        };
        let mut others = seen.iter().map(descent);
        others.find(|made| !matches!(made, Ok(false))).unwrap_or(Ok(false))
    };
    let made = seen.iter().map(made).collect::<Result<Vec<_>, _>>()?;
    seen.into_iter().zip(made).filter(|(_, made)| !made).map(|(holder, _)| credentials(holder)).collect()
}

fn credentials(holder: Holder) -> Result<PeerCredentials, ProcError> {
    let Holder { pid, proc, pidfd } = holder;
    let ([_, uid, _, _], [_, gid, _, _]) = (proc.uids()?, proc.gids()?);
    Ok(PeerCredentials::held(uid, gid, pid, (pidfd, proc)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    fn pids(found: TcpPeer) -> Vec<u32> {
        let TcpPeer::Held(all) = found else { panic!("{found:?}") };
        assert!(all.iter().all(PeerCredentials::is_alive));
        all.iter().map(|one| one.pid.unsigned_abs()).collect()
    }

    /// Something else that holds the client's end, and is no descendant of ours: of pid 1, or of a subreaper.
    const SHARED: &str = "exec 9<&0; sleep 30 & echo $!";

    #[test]
    fn the_process_at_the_other_end_is_told_and_held() {
        assert!(works());
        let (server, client) = pair();
        assert_eq!(pids(peer(&server).unwrap()), [std::process::id()]);
        let theirs = OwnedFd::from(client.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("30").stdin(Stdio::from(theirs)).spawn().unwrap();
        assert_eq!(pids(peer(&server).unwrap()), [std::process::id()], "a child is under its parent's name");
        drop(client);
        let TcpPeer::Held(found) = peer(&server).unwrap() else { panic!() };
        assert_eq!(found.iter().map(|one| one.pid.unsigned_abs()).collect::<Vec<_>>(), [child.id()]);
        assert_eq!((found[0].uid, found[0].gid), (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found[0].is_alive());
        assert!(peer(&server).is_err(), "nobody is there any more");
    }

    #[test]
    fn strangers_that_share_a_connection_are_all_told() {
        let (server, client) = pair();
        let mut shell = Command::new("sh");
        shell.args(["-c", SHARED]).stdin(Stdio::from(OwnedFd::from(client.try_clone().unwrap())));
        let mut shell = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        shell.wait().unwrap();
        let stray: u32 = line.trim().parse().unwrap();
        let mut both = [std::process::id(), stray];
        both.sort_unstable();
        let mut found = pids(peer(&server).unwrap());
        found.sort_unstable();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(stray.cast_signed()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        assert_eq!(found, both);
    }

    #[test]
    fn a_connection_that_is_over_has_no_peer() {
        let (server, client) = pair();
        drop(client);
        assert!(matches!(peer(&server), Err(PeerError::Kernel(_))));
        let file = TcpStream::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        assert!(matches!(peer(&file), Err(PeerError::Kernel(Errno::ENOTSOCK))));
    }

    #[test]
    fn a_holder_of_another_user_makes_it_nobodys() {
        if !nix::unistd::geteuid().is_root() {
            println!("not tested: needs root, to be two users");
            return;
        }
        let (server, client) = pair();
        let theirs = OwnedFd::from(client);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "sleep", "30"]).stdin(Stdio::from(theirs));
        let mut child = command.spawn().unwrap();
        drop(command);
        while std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        assert!(matches!(peer(&server), Ok(TcpPeer::Unseen { uid: 0 })));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
