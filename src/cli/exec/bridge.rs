//! From a loopback port to the gateway's socket, for clients that know no Unix sockets. To the daemon, whoever comes
//! over it is this process; so it must never pass a byte of anybody but this process's own descendants.

use std::io;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use crate::sys::descent::descends;
use crate::sys::scrub;
use crate::sys::tcp::{self, TcpPeer};

/// Connections at once; further ones wait. The daemon has a limit of its own, `connections_per_uid`.
const OPEN: usize = 128;

/// Serves a listener on a thread of its own until the process ends.
///
/// # Errors
/// No thread, or no event loop.
pub(super) fn serve(listener: StdListener, gateway: PathBuf) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    scrub::thread(move || scrub::run(&runtime, accept(listener, gateway))).map(drop)
}

async fn accept(listener: StdListener, gateway: PathBuf) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let (gateway, slots) = (Arc::<Path>::from(gateway), Arc::new(Semaphore::new(OPEN)));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let gateway = gateway.clone();
                scrub::spawn(async move {
                    let _ = carry(stream, &gateway).await;
                    drop(slot);
                });
            }
            // Out of descriptors, or the peer is gone: others may do better in a moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn carry(mut stream: TcpStream, gateway: &Path) -> io::Result<()> {
    if !is_ours(&stream).await? {
        return Ok(());
    }
    let mut unix = UnixStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut stream, &mut unix).await.map(drop)
}

/// Whether every process at the other end descends from this one.
async fn is_ours(stream: &TcpStream) -> io::Result<bool> {
    use std::os::fd::AsFd;
    let copy = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    let (tell, told) = oneshot::channel();
    scrub::thread(move || tell.send(all_descend(&copy)))?;
    Ok(told.await.unwrap_or(false))
}

fn all_descend(stream: &std::net::TcpStream) -> bool {
    let Ok(TcpPeer::Held(all)) = tcp::peer(stream) else { return false };
    let us = std::process::id();
    all.iter().all(|one| one.proc.as_ref().is_some_and(|proc| matches!(descends(proc, us), Ok(true))) && one.is_alive())
}
