//! A bridge from loopback to a Unix socket, for programs that know no Unix sockets. For tests alone: whoever can reach
//! the port is, to the daemon, this process.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Open until it is dropped.
pub struct Bridge {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Opens a free port on 127.0.0.1.
    pub fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let closed = closing.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let socket = socket.clone();
                thread::spawn(move || carry(&stream, &socket));
            }
        });
        Self { address, closing, accepting: Some(accepting) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// Both ways until both have ended. Each end closes only the way that it fed: the other may still speak.
fn carry(tcp: &TcpStream, socket: &Path) -> Option<()> {
    let unix = UnixStream::connect(socket).ok()?;
    let (mut from_tcp, mut to_tcp) = (tcp.try_clone().ok()?, tcp.try_clone().ok()?);
    let (mut from_unix, mut to_unix) = (unix.try_clone().ok()?, unix);
    thread::spawn(move || {
        let _ = io::copy(&mut from_tcp, &mut to_unix);
        let _ = to_unix.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut from_unix, &mut to_tcp);
    tcp.shutdown(Shutdown::Both).ok()
}
