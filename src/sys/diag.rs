//! The kernel's word on a TCP connection's other end on this machine: sock_diag(7), `inet_diag`.
//! It must never take a listening socket, or one of other addresses, for the one that was asked about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// One socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its inode, which /proc/PID/fd shows to whoever holds it. Never 0, which is a socket that nobody holds.
    pub inode: u32,
    /// The user who made it.
    pub uid: u32,
    /// No other socket has it until the machine starts anew.
    cookie: [u8; 8],
}

/// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// net/tcp_states.h.
const LISTEN: u8 = 10;

/// The connected socket with these two addresses: its own, and the one that it is connected to.
///
/// # Errors
/// `ENOENT` when there is none in our network namespace that somebody holds; others when the kernel can't be asked.
pub fn connected(own: SocketAddr, other: SocketAddr) -> Result<TcpSocket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
    let message = message(own, other).ok_or(Errno::EINVAL)?;
    sendto(netlink.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // The kernel answers before sendto returns, and no other sender is heard: the socket has no address to be found by.
    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    read(answer.get(..length).unwrap_or_default(), own, other)
}

fn message(own: SocketAddr, other: SocketAddr) -> Option<Vec<u8>> {
    let family = match (own, other) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => libc::AF_INET,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => libc::AF_INET6,
        _ => return None,
    };
    let length = HEADER + 8 + SOCKET_ID;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).ok()?.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family).ok()?, u8::try_from(libc::IPPROTO_TCP).ok()?, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(other.port().to_be_bytes());
    bytes.extend(sixteen(own.ip()));
    bytes.extend(sixteen(other.ip()));
    // On any interface, with any cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    Some(bytes)
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&ip.octets());
            all
        }
    }
}

fn read(answer: &[u8], own: SocketAddr, other: SocketAddr) -> Result<TcpSocket, Errno> {
    let part = |from: usize, length: usize| answer.get(from..from + length).ok_or(Errno::EBADMSG);
    let word = |from: usize| Ok(u32::from_ne_bytes(array(part(from, 4)?)?));
    let port = |from: usize| Ok(u16::from_be_bytes(array(part(from, 2)?)?));
    match u16::from_ne_bytes(array(part(4, 2)?)?) {
        NLMSG_ERROR => return Err(Errno::from_raw(word(HEADER)?.cast_signed().saturating_neg())),
        SOCK_DIAG_BY_FAMILY => {}
        _ => return Err(Errno::EBADMSG),
    }
    // struct inet_diag_msg: family, state, timer, retrans; the socket's id; expires, rqueue, wqueue, uid, inode.
    let (family, state, id) = (part(HEADER, 1)?[0], part(HEADER + 1, 1)?[0], HEADER + 4);
    let told = [(id, id + 4), (id + 2, id + 20)].map(|(number, address)| {
        Ok::<_, Errno>(SocketAddr::new(ip(family, array(part(address, 16)?)?), port(number)?))
    });
    let [told_own, told_other] = told;
    let same =
        |told: SocketAddr, asked: SocketAddr| (told.ip(), told.port()) == (asked.ip().to_canonical(), asked.port());
    let socket = TcpSocket {
        inode: word(id + SOCKET_ID + 16)?,
        uid: word(id + SOCKET_ID + 12)?,
        cookie: array(part(id + 40, 8)?)?,
    };
    match state != LISTEN && socket.inode != 0 && same(told_own?, own) && same(told_other?, other) {
        true => Ok(socket),
        false => Err(Errno::ENOENT),
    }
}

/// An IPv4 connection that was made by an IPv6 socket is told as such: `::ffff:127.0.0.1`.
fn ip(family: u8, bytes: [u8; 16]) -> IpAddr {
    match i32::from(family) {
        libc::AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        _ => Ipv6Addr::from(bytes).to_canonical(),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Errno> {
    bytes.try_into().map_err(|_| Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(stream: &TcpStream) -> u64 {
        std::fs::metadata(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap().ino()
    }

    #[test]
    fn each_end_of_a_connection_is_told_from_the_other() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, from) = listener.accept().unwrap();
            let here = server.local_addr().unwrap();
            let found = connected(from, here).unwrap();
            assert_eq!(u64::from(found.inode), inode(&client));
            assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
            assert_eq!(u64::from(connected(here, from).unwrap().inode), inode(&server));
            assert_eq!(connected(from, here), Ok(found), "the same as long as it lives");
            drop(client);
            // Other tests fork, and until their children exec they hold it too.
            assert!((0..10_000).any(|_| connected(from, here) == Err(Errno::ENOENT)), "nobody holds it");
        }
    }

    #[test]
    fn a_listener_is_no_connected_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(connected(listener.local_addr().unwrap(), nobody), Err(Errno::ENOENT));
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let [own, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for length in 0..80 {
            let mut answer = vec![0; length];
            if let Some(kind) = answer.get_mut(4..6) {
                kind.copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            }
            assert_eq!(read(&answer, own, other), Err(Errno::EBADMSG), "{length}");
        }
    }
}
