//! How long somebody may say nothing. It never counts the time in which nobody listened.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// A bound for each wait of a stream, from when it has nothing until it has something.
pub(super) struct Patience {
    limit: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, wait: None }
    }

    /// What came of asking the stream.
    ///
    /// # Errors
    /// `TimedOut`: nothing, and for too long.
    pub(super) fn bound<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(value) => {
                self.wait = None;
                Poll::Ready(Ok(value))
            }
            Poll::Pending => {
                let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(self.limit)));
                wait.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn only_a_wait_that_somebody_waits_counts() {
        let limit = Duration::from_millis(40);
        let mut patience = Patience::new(limit);
        let mut ask = async |polled: Poll<u8>| poll_fn(|cx| Poll::Ready(patience.bound(cx, polled))).await;
        for _ in 0..3 {
            // Nobody asks: that is nobody's silence.
            sleep(limit).await;
            assert!(ask(Poll::Pending).await.is_pending());
            sleep(limit).await;
            assert!(matches!(ask(Poll::Ready(1)).await, Poll::Ready(Ok(1))), "what has come counts, however late");
        }
        assert!(ask(Poll::Pending).await.is_pending());
        sleep(limit).await;
        let Poll::Ready(Err(fault)) = ask(Poll::Pending).await else { panic!("for ever") };
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }
}
