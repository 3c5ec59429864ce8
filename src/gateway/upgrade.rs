//! Websockets: once both sides have switched, bytes pass both ways until one side ends or the lease does.
//! They are not looked into.

use super::{answer::Outgoing, stream::Stream};
use crate::sys::scrub;
use http_body_util::Full;
use hyper::{
    Response,
    header::{self, HeaderValue},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tracing::debug;

/// Answers `101` and joins the two connections.
pub(super) fn join(mut response: Response<Stream>, client: OnUpgrade) -> Response<Outgoing> {
    let provider = hyper::upgrade::on(&mut response);
    let (mut parts, stream) = response.into_parts();
    parts.headers.remove(header::SET_COOKIE);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    scrub::spawn(async move {
        let mut cut = stream.passage().cut();
        let both = async { tokio::try_join!(client, provider) };
        tokio::select! {
            () = cut.wait() => {}
            both = both => match both {
                Ok((client, provider)) => tokio::select! {
                    () = cut.wait() => {}
                    () = pass(client, provider) => {}
                },
                Err(fault) => debug!(%fault, "a websocket was not switched"),
            },
        }
        drop(stream);
    });
    Response::from_parts(parts, Outgoing::Whole(Full::default()))
}

async fn pass(client: Upgraded, provider: Upgraded) {
    let (mut client, mut provider) = (TokioIo::new(client), TokioIo::new(provider));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut provider).await;
}
