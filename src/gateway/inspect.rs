//! A request's body before it goes out: read whole where a rule or the counting of usage wants it looked into, and
//! within a bound; else passed as it comes. It keeps no word of it but what was asked for.

use super::{
    GatewayOptions,
    arriving::{Arriving, Fate},
    head::Head,
    watch::Watched,
};
use crate::{
    broker::{Upload, Way},
    model::{Code, Shape},
    wire::{Look, LookFault, Seen},
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request,
    body::{Body, Bytes, Frame, SizeHint},
    header::{self, HeaderValue},
};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::timeout;

/// A body that was looked at as far as that goes.
pub(super) struct Inspected {
    /// What goes to the provider.
    pub(super) upload: Upload,
    /// Its length, where that is known to be another than the client told.
    pub(super) length: Option<usize>,
    /// What the body says; none where it was not looked into.
    pub(super) seen: Option<Seen>,
    /// Whether it breaks off on the way.
    pub(super) fate: Fate,
}

/// Whether the outcome of the look decides about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A rule goes by it: what cannot be read is refused.
    Judged,
    /// For counting alone: what cannot be read passes.
    Counted,
}

/// Why a body goes nowhere.
pub(super) struct Bad {
    pub(super) code: Code,
    pub(super) why: String,
}

impl Inspected {
    /// A body that goes on as it comes.
    fn passing(head: &Head, body: Upload, fate: Fate) -> Self {
        let upload = UnsyncBoxBody::new(Watched::new(body, head.key.clone(), fate.clone()));
        Self { upload, length: None, seen: None, fate }
    }
}

/// Looks at the body of a call, if its route's shape says where to look.
pub(super) async fn inspect(
    head: &Head,
    way: &Way,
    body: Arriving,
    need: Need,
    options: &GatewayOptions,
) -> Result<Inspected, Bad> {
    let fate = body.fate().clone();
    if way.shape == Shape::None || head.method != Method::POST || body.is_end_stream() {
        return Ok(Inspected::passing(head, body.boxed_unsync(), fate));
    }
    let (pieces, rest) = timeout(options.body_time, read(body, options.look_bytes))
        .await
        .map_err(|_| bad(Code::Malformed, "the body did not arrive in time"))??;
    if pieces.windows_have(head) {
        return Err(bad(Code::Malformed, "the virtual key stands in the body"));
    }
    match (look(way.shape, &pieces), rest, need) {
        (_, Some(_), Need::Judged) => {
            Err(bad(Code::TooLarge, format!("a rule looks into bodies of at most {} bytes", options.look_bytes)))
        }
        (Err(fault), None, Need::Judged) => Err(bad(Code::Malformed, fault.to_string())),
        (Ok(seen), None, _) => Ok(whole(pieces, seen)),
        (_, rest, Need::Counted) => Ok(Inspected::passing(head, pieces.then(rest), fate)),
    }
}

fn bad(code: Code, why: impl Into<String>) -> Bad {
    Bad { code, why: why.into() }
}

/// The first pieces of a body.
struct Pieces(VecDeque<Bytes>);

/// Reads until the end, or until more than `most` bytes are there: then the rest of the body is given too.
async fn read(mut body: Arriving, most: usize) -> Result<(Pieces, Option<Arriving>), Bad> {
    let (mut pieces, mut length) = (VecDeque::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad(Code::Malformed, "the body did not arrive whole"))?;
        if let Ok(data) = frame.into_data() {
            length += data.len();
            pieces.push_back(data);
        }
        if length > most {
            return Ok((Pieces(pieces), Some(body)));
        }
    }
    Ok((Pieces(pieces), None))
}

fn look(shape: Shape, pieces: &Pieces) -> Result<Seen, LookFault> {
    let mut look = Look::new(shape);
    pieces.0.iter().try_for_each(|piece| look.feed(piece))?;
    look.finish()
}

/// The whole body, with the wish for a usage event put in where the client has none.
fn whole(pieces: Pieces, seen: Seen) -> Inspected {
    let mut bytes = pieces.0.into_iter().fold(Vec::new(), |mut all, piece| {
        all.extend_from_slice(&piece);
        all
    });
    if let Some(edit) = &seen.edit {
        bytes = edit.apply(&bytes);
    }
    let length = Some(bytes.len());
    let upload = UnsyncBoxBody::new(Full::from(bytes).map_err(|never| match never {}));
    Inspected { upload, length, seen: Some(seen), fate: Fate::default() }
}

impl Pieces {
    /// Whether the virtual key stands in them, across their borders too.
    fn windows_have(&self, head: &Head) -> bool {
        let (most, mut tail) = (head.key.len(), Vec::new());
        self.0.iter().any(|piece| {
            let border = [&tail[..], &piece[..piece.len().min(most)]].concat();
            let found = head.key.is_in(piece) || head.key.is_in(&border);
            tail = [&tail[..], &piece[piece.len().saturating_sub(most)..]].concat();
            tail.drain(..tail.len().saturating_sub(most));
            found
        })
    }

    /// The pieces, and then what follows them.
    fn then(self, rest: Option<Arriving>) -> Upload {
        UnsyncBoxBody::new(Chained { first: self.0, rest })
    }
}

struct Chained {
    first: VecDeque<Bytes>,
    rest: Option<Arriving>,
}

impl Body for Chained {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match (self.first.pop_front(), &mut self.rest) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.iter().map(|piece| piece.len() as u64).sum::<u64>();
        match &self.rest {
            None => SizeHint::with_exact(first),
            Some(rest) => {
                let rest = rest.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(first + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(first + upper);
                }
                hint
            }
        }
    }
}

/// Sets what the head must say of the body: its length where it is another than the client's, and that it is chunked
/// where nobody knows it. Hyper would leave out such a body of a GET.
pub(super) fn tell_length(request: &mut Request<Upload>, length: Option<usize>) {
    let unknown = request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    match length {
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        None if unknown && !headers.contains_key(header::CONTENT_LENGTH) => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        None => {}
    }
}
