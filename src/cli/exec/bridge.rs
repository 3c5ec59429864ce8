//! From a loopback port to the gateway's socket, for clients that know no Unix sockets. To the daemon, whoever comes
//! over it is this process; so it must never pass a byte of anybody but this process's own descendants.

use std::io;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

use crate::sys::descent::descends;
use crate::sys::scrub;
use crate::sys::tcp::{self, TcpPeer};

/// Connections at once; further ones wait. As many as the daemon's `connections_per_uid` lets a user have if nothing else is
/// said: what is more would be told `busy` there. The manual (`gateway`) names it.
const OPEN: usize = 128;

/// Serves a listener on a thread of its own until the process ends.
///
/// # Errors
/// No thread, or no event loop.
pub(super) fn serve(listener: StdListener, gateway: PathBuf) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    scrub::thread(move || scrub::run(&runtime, accept(listener, gateway, OPEN))).map(drop)
}

async fn accept(listener: StdListener, gateway: PathBuf, most: usize) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let (gateway, slots) = (Arc::<Path>::from(gateway), Arc::new(Semaphore::new(most)));
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
    scrub::beside(move || all_descend(&copy)).await
}

fn all_descend(stream: &std::net::TcpStream) -> bool {
    let Ok(TcpPeer::Held(all)) = tcp::peer(stream) else { return false };
    let us = std::process::id();
    all.iter().all(|one| one.proc.as_ref().is_some_and(|proc| matches!(descends(proc, us), Ok(true))) && one.is_alive())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;
    use tokio::time::timeout;

    #[tokio::test]
    async fn no_more_connections_are_carried_at_once_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let gateway = UnixListener::bind(&path).unwrap();
        let bridge = StdListener::bind("127.0.0.1:0").unwrap();
        let address = bridge.local_addr().unwrap();
        bridge.set_nonblocking(true).unwrap();
        let carrying = scrub::spawn(accept(bridge, path, 2));
        // Nobody but descendants is carried, and this process is its own none.
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; exec sleep 60", address.port());
        let caller = || std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
        let within = Duration::from_secs(5);
        let mut carried = Vec::new();
        for _ in 0..2 {
            carried.push(caller());
            timeout(within, gateway.accept()).await.unwrap().unwrap();
        }
        let mut waits = caller();
        let mut third = std::pin::pin!(gateway.accept());
        assert!(timeout(Duration::from_millis(100), &mut third).await.is_err());
        carried[0].kill().unwrap();
        assert!(timeout(within, third).await.is_ok(), "a place is free again");
        carrying.abort();
        waits.kill().unwrap();
        carried[1].kill().unwrap();
        carried.iter_mut().chain([&mut waits]).for_each(|one| drop(one.wait()));
    }
}
