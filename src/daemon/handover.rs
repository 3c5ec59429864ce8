//! The daemon that serves hands over to one that takes over: it drains, gives all it has, and goes once the other can serve.
//! Until then it can go on by itself. One process at a time serves, keeps leases and writes the audit.

use super::{
    DaemonError,
    doors::{self, Name, Served},
    takeover::Lot,
};
use crate::{
    audit::AuditError,
    broker::Broker,
    sys::{closing::Course, era, memfd, passing},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use tokio::{io::Interest, net::UnixStream, time::timeout};
use tracing::{info, warn};

/// Who serves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    /// The new daemon: this one goes.
    Other,
    /// This one goes on.
    Us,
}

/// How long each part may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Answers that are under way.
    pub(super) drain: Duration,
    /// The new daemon, from when it was given all until it can serve.
    pub(super) takeover: Duration,
}

/// Why the other does not serve.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It is gone, or something else happened on the way.
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("it did not serve within `takeover` under [daemon]")]
    Late,
    #[error("it ended, or said something else than that it can serve")]
    Ended,
}

/// How often, and how many times, the audit is tried for again: whoever ends lets go of it a moment later.
const TRY: (Duration, u32) = (Duration::from_millis(50), 40);

/// Hands over to whoever asked on this connection.
pub(super) async fn hand_over(
    stream: UnixStream,
    doors: &mut [Served],
    broker: &Broker,
    times: Times,
) -> Result<Serving, DaemonError> {
    info!("another daemon takes over: draining");
    // A person takes longer than everybody else may wait.
    broker.stop_asking();
    let waits = doors::close(doors, Course::Move, times.drain);
    let here = tokio::select! {
        biased;
        () = waits => true,
        () = gone(&stream) => false,
    };
    let resting: Vec<(Name, Vec<OwnedFd>)> = doors.iter().map(|door| (door.name, door.resting())).collect();
    if !here {
        return come_back(doors, resting, &Failure::Ended);
    }
    let resting_vault = match broker.let_go().await {
        Ok(resting) => resting,
        Err(fault) => return come_back(doors, resting, &fault.into()),
    };
    let given = async {
        give(&stream, doors, &resting, broker).await?;
        match receive(&stream).await? {
            Some(byte) if Lot::of(byte) == Some(Lot::Ready) => Ok(send(&stream, Lot::Yours, &[]).await?),
            _ => Err(Failure::Ended),
        }
    };
    let given = timeout(times.takeover, given).await.unwrap_or(Err(Failure::Late));
    let Err(failure) = given else {
        info!("the other daemon serves; this one ends");
        return Ok(Serving::Other);
    };
    let mut audit = None;
    for _ in 0..TRY.1 {
        match broker.take_again() {
            Ok(()) => {
                // It may live still, and wake up with leases that are old by then.
                let _ = send(&stream, Lot::Mine, &[]).await;
                drop(resting_vault);
                return come_back(doors, resting, &failure);
            }
            Err(fault) => audit = Some(fault),
        }
        tokio::time::sleep(TRY.0).await;
    }
    if let Some(fault) = audit.filter(|fault| !matches!(fault, AuditError::Busy(_))) {
        return Err(fault.into());
    }
    let _ = send(&stream, Lot::Yours, &[]).await;
    warn!(%failure, "the other daemon has the audit, so it serves; this one ends");
    Ok(Serving::Other)
}

/// Serves as before.
fn come_back(
    doors: &mut [Served],
    resting: Vec<(Name, Vec<OwnedFd>)>,
    failure: &Failure,
) -> Result<Serving, DaemonError> {
    warn!(%failure, "the takeover failed; this daemon goes on");
    for (door, (_, resting)) in doors.iter_mut().zip(resting) {
        door.come_back(resting)?;
    }
    Ok(Serving::Us)
}

/// Sends all that there is.
async fn give(
    stream: &UnixStream,
    doors: &[Served],
    resting: &[(Name, Vec<OwnedFd>)],
    broker: &Broker,
) -> Result<(), Failure> {
    for door in doors {
        let lot = if door.has_a_file_of_ours() { Lot::Ours } else { Lot::Given };
        send(stream, lot(door.name), &[door.listener()]).await?;
    }
    for (name, connections) in resting {
        let fds: Vec<BorrowedFd<'_>> = connections.iter().map(AsFd::as_fd).collect();
        for some in fds.chunks(passing::MOST) {
            send(stream, Lot::Resting(*name), some).await?;
        }
    }
    if broker.is_locked() {
        send(stream, Lot::Locked, &[]).await?;
    }
    let estate = memfd::sealed(|to| broker.leave(&era::here(), to))?;
    send(stream, Lot::Estate, &[estate.as_fd()]).await?;
    Ok(send(stream, Lot::End, &[]).await?)
}

async fn send(stream: &UnixStream, lot: Lot, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    stream.async_io(Interest::WRITABLE, || Ok(passing::send(stream.as_fd(), &[lot.byte()], fds)?)).await
}

async fn receive(stream: &UnixStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let receive = || Ok(passing::receive(stream.as_fd(), &mut byte)?);
    let (length, _) = stream.async_io(Interest::READABLE, receive).await?;
    Ok((length > 0).then_some(byte[0]))
}

/// Returns when the other is gone: it has nothing to say before it can serve.
async fn gone(stream: &UnixStream) {
    let _ = receive(stream).await;
}
