//! Websockets: once both sides have switched, bytes pass both ways until one side ends or the lease does. What the
//! provider says is searched for the real key; nothing else is looked into.

use super::{answer::Outgoing, stream::Stream};
use http_body_util::Full;
use hyper::{
    Response,
    body::Bytes,
    header::{self, HeaderValue},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tracing::debug;

/// Two connections that are about to be joined, with the call that they belong to.
pub(super) struct Websocket {
    client: OnUpgrade,
    provider: OnUpgrade,
    stream: Stream,
}

/// What is read of a provider at once.
const PIECE: usize = 16 * 1024;

/// The answer `101`, and the websocket that begins when it has gone out.
pub(super) fn join(mut response: Response<Stream>, client: OnUpgrade) -> (Response<Outgoing>, Websocket) {
    let provider = hyper::upgrade::on(&mut response);
    let (mut parts, stream) = response.into_parts();
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let answer = Response::from_parts(parts, Outgoing::Whole(Full::default()));
    (answer, Websocket { client, provider, stream })
}

impl Websocket {
    /// Passes bytes until either side or the lease ends.
    pub(super) async fn pass(mut self) {
        let mut cut = self.stream.passage().cut();
        let stream = &mut self.stream;
        let both = async { tokio::try_join!(self.client, self.provider) };
        let passing = async {
            match both.await {
                Ok((client, provider)) => drop(pass(client, provider, stream).await),
                Err(fault) => debug!(%fault, "a websocket was not switched"),
            }
        };
        tokio::select! {
            () = cut.wait() => {}
            () = passing => {}
        }
    }
}

async fn pass(client: Upgraded, provider: Upgraded, stream: &mut Stream) -> io::Result<()> {
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_provider, mut to_provider) = split(TokioIo::new(provider));
    let up = async {
        copy(&mut from_client, &mut to_provider).await?;
        to_provider.shutdown().await
    };
    let down = async {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from_provider.read(&mut piece).await?;
            if read == 0 {
                to_client.write_all(&stream.held()).await?;
                return to_client.shutdown().await;
            }
            if let Some(bytes) = stream.searched_frames(Bytes::copy_from_slice(&piece[..read]))? {
                to_client.write_all(&bytes).await?;
            }
        }
    };
    tokio::try_join!(up, down).map(drop)
}
