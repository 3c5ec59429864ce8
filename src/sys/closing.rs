//! How a socket's connections hear that the house closes, and where those at rest go when another process is to serve them.
//! It must never give one away of which something was read that is not answered.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::Listener;

/// Tells when the house closes, and how. A connection holds it until its end.
pub type Closing = watch::Receiver<Course>;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// They are served.
    Open,
    /// What is under way ends, nothing new begins.
    Drain,
    /// The same, and a connection that is at rest is given back: another process serves it.
    Move,
    /// They end now.
    Over,
}

/// Returns when the house closes; whether connections at rest are given back.
pub async fn closed(closing: &mut Closing) -> bool {
    closing.wait_for(|course| *course != Course::Open).await.is_ok_and(|course| *course == Course::Move)
}

/// A socket that is served.
pub struct Server {
    pub(super) accepting: Vec<JoinHandle<()>>,
    closing: watch::Sender<Course>,
    resting: Resting,
}

/// Connections at rest that were given back.
type Resting = Arc<Mutex<Vec<OwnedFd>>>;

/// How a connection hears of its end, and where it goes then.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) closing: Closing,
    resting: Resting,
}

impl Ends {
    /// Gives back a connection at rest; gets it again where the house is open by now.
    pub(super) fn give_back<L: Listener>(&self, stream: L::Stream) -> Option<L::Stream> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.closing.borrow() == Course::Open {
            return Some(stream);
        }
        resting.extend(L::leave(stream));
        None
    }
}

impl Server {
    /// Open, and nobody accepts yet.
    pub(super) fn new() -> Self {
        Self { accepting: Vec::new(), closing: watch::Sender::new(Course::Open), resting: Resting::default() }
    }

    /// What one more connection is to have.
    pub(super) fn ends(&self) -> Ends {
        Ends { closing: self.closing.subscribe(), resting: self.resting.clone() }
    }

    /// Accepts nothing more.
    pub fn shut(&self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }

    /// Tells its connections what becomes of them.
    pub fn turn(&self, course: Course) {
        self.closing.send_replace(course);
    }

    /// Returns when its last connection has ended.
    pub async fn ended(&self) {
        // Every connection holds a receiver.
        self.closing.closed().await;
    }

    /// From here on connections at rest are served again; gives those that were given back.
    pub(super) fn reopen(&mut self) -> Vec<OwnedFd> {
        // Whoever still accepts would never hear of the next end.
        self.accepting.drain(..).for_each(|accepting| accepting.abort());
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        self.closing.send_replace(Course::Open);
        std::mem::take(&mut resting)
    }

    /// The connections at rest that were given back.
    pub fn resting(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.resting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}
