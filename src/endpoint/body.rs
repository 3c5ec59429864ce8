//! Bodies: those that come in are read within a bound and wiped; those that go out are whole, or a stream of lines.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use zeroize::Zeroizing;

/// What goes out.
pub(super) enum Outgoing {
    Whole(Full<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Outgoing::Whole(full) => Pin::new(full).poll_frame(cx),
            Outgoing::Lines(lines) => lines.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Outgoing::Whole(full) if full.is_end_stream())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Outgoing::Whole(full) => full.size_hint(),
            Outgoing::Lines(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Why a body was not read.
pub(super) enum Unread {
    /// Larger than the bound.
    TooLarge,
    /// Too slow, or broken off.
    Late,
}

/// Reads a body whole. A declared length over the bound is refused before a byte is read.
pub(super) async fn read(body: Incoming, most: usize, within: Duration) -> Result<Zeroizing<Vec<u8>>, Unread> {
    if body.is_end_stream() {
        return Ok(Zeroizing::default());
    }
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > most as u64) {
        return Err(Unread::TooLarge);
    }
    // With a declared length the buffer never grows, so that no outgrown copy is left.
    let capacity = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(most.min(8192));
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let mut body = Limited::new(body, most);
    let all = async {
        // The last byte ends it: to wait until hyper says so as well is another turn of the loop, and two timers.
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|fault| match fault.is::<LengthLimitError>() {
                true => Unread::TooLarge,
                false => Unread::Late,
            })?;
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        Ok(())
    };
    timeout(within, all).await.unwrap_or(Err(Unread::Late))?;
    Ok(bytes)
}
