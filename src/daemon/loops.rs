//! The loops that serve: this one, and for machines with many cores further ones of the same shape, each on its thread.
//! They share the broker; a connection stays on the loop that accepted it.

use super::DaemonError;
use crate::sys::scrub;
use tokio::runtime::{Builder, Handle};

/// This loop, and `workers - 1` more that run until the process ends.
pub(super) fn start(workers: u32) -> Result<Vec<Handle>, DaemonError> {
    let fault = |fault| DaemonError::Kernel("a further loop cannot be made", fault);
    let mut loops = vec![Handle::current()];
    for _ in 1..workers {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fault)?;
        loops.push(runtime.handle().clone());
        scrub::thread(move || scrub::run(&runtime, std::future::pending::<()>())).map_err(fault)?;
    }
    Ok(loops)
}
