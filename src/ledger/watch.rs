//! The ledger's two kinds of task: one waits for the next deadline, one for each owner's end.
//! They hold no lock while they wait.

use super::Ledger;
use crate::sys::{process::Process, readable::readable, scrub, timer::BootTimer};
use nix::errno::Errno;
use tokio::{
    io::unix::AsyncFd,
    task::{AbortHandle, JoinHandle},
};

/// So many leases are removed before others get the loop: far below a millisecond's work.
const BATCH: usize = 512;

/// Waits for one process to end, then buries its leases. Aborted when it has none any more.
pub(super) fn owner(ledger: Ledger, owner: u32, process: Process) -> AbortHandle {
    let watch = scrub::spawn_shallow(async move {
        if let Ok(pidfd) = readable(process.pidfd.clone()) {
            let _ = pidfd.readable().await;
        }
        // Also when it cannot be watched: a lease whose owner nobody watches must not live.
        ledger.book().bury(owner, &process.pidfd);
    });
    watch.abort_handle()
}

/// Removes leases at their deadlines. The timer runs on CLOCK_BOOTTIME, so it fires right after a suspend.
pub(super) fn reaper(ledger: Ledger) -> Result<JoinHandle<()>, Errno> {
    let timer = readable(BootTimer::new()?).map_err(|_| Errno::EMFILE)?;
    Ok(scrub::spawn_shallow(async move {
        loop {
            let next = ledger.reap(BATCH);
            match next {
                Some(when) if when <= ledger.clock.boot() => tokio::task::yield_now().await,
                Some(when) => {
                    let _ = timer.get_ref().arm(when);
                    wait(&ledger, &timer).await;
                }
                None => ledger.earlier.notified().await,
            }
        }
    }))
}

async fn wait(ledger: &Ledger, timer: &AsyncFd<BootTimer>) {
    tokio::select! {
        () = ledger.earlier.notified() => {}
        ready = timer.readable() => {
            if let Ok(mut guard) = ready {
                let _ = timer.get_ref().drain();
                guard.clear_ready();
            }
        }
    }
}
