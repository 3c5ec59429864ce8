//! A request's body as it comes from the client: whether it comes on, whether all of it was read, and why it broke off.
//! It keeps no byte of it.

use super::patience::Patience;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

/// What a connection knows of the body that it reads.
#[derive(Clone, Default)]
pub(super) struct Course(Arc<State>);

#[derive(Default)]
struct State {
    unread: AtomicBool,
    moved: AtomicBool,
    switched: AtomicBool,
    kept: AtomicBool,
}

impl Course {
    /// Whether some of the body may be still to come.
    pub(super) fn unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    /// The connection is no longer HTTP's: what comes has a reader of its own.
    pub(super) fn switch(&self) {
        self.0.switched.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to outlive HTTP's end: the house moves. Whatever is written ends that.
    pub(super) fn keep(&self, kept: bool) {
        self.0.kept.store(kept, Ordering::Relaxed);
    }

    pub(super) fn is_kept(&self) -> bool {
        self.0.kept.load(Ordering::Relaxed)
    }

    pub(super) fn switched(&self) -> bool {
        self.0.switched.load(Ordering::Relaxed)
    }

    /// Returns when no piece of the body has come for so long, or a quarter more.
    pub(super) async fn stands(&self, limit: Duration) {
        const LOOKS: u32 = 4;
        let mut still = 0;
        while still < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            still = if self.0.moved.swap(false, Ordering::Relaxed) { 0 } else { still + 1 };
        }
    }
}

/// Why a body went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The virtual key stood in it.
    Leaked,
    /// The client said nothing for too long.
    Silent,
}

/// Told by a body on its way, for who has sent it there.
#[derive(Clone, Default)]
pub(super) struct Fate(Arc<OnceLock<Broken>>);

impl Fate {
    pub(super) fn broken(&self) -> Option<Broken> {
        self.0.get().copied()
    }

    /// It ends here.
    pub(super) fn breaks(&self, why: Broken) -> io::Error {
        let _ = self.0.set(why);
        io::Error::other("the body broke off")
    }
}

/// One body.
pub(super) struct Arriving {
    body: Incoming,
    patience: Patience,
    course: Course,
    fate: Fate,
}

impl Arriving {
    /// Reads a body with so much patience for each piece of it.
    pub(super) fn new(body: Incoming, limit: Duration, course: &Course) -> Self {
        course.0.unread.store(!body.is_end_stream(), Ordering::Relaxed);
        Self { body, patience: Patience::new(limit), course: course.clone(), fate: Fate::default() }
    }

    pub(super) fn fate(&self) -> &Fate {
        &self.fate
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let me = &mut *self;
        let polled = Pin::new(&mut me.body).poll_frame(cx);
        let Ok(next) = ready!(me.patience.bound(cx, polled)) else {
            return Poll::Ready(Some(Err(me.fate.breaks(Broken::Silent))));
        };
        me.course.0.moved.store(true, Ordering::Relaxed);
        if next.is_none() || me.body.is_end_stream() {
            me.course.0.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(next.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
