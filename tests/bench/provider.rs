//! A provider that costs next to nothing, so that what is measured is whoever stands before it: answers by hand, on a
//! Unix socket, on TCP and on TLS, in a process of its own.

use crate::{
    Done,
    house::Notified,
    proc::{self, Guarded},
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use sixty::clock::Clock;
use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

/// Bytes of a large body, either way.
pub(crate) const LARGE: usize = 100 << 20;
/// Events of one stream.
pub(crate) const EVENTS: usize = 500;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(1);

/// Where it listens.
pub(crate) struct Provider {
    process: Guarded,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// Its certificate, which is its own authority.
    pub(crate) certificate: String,
}

impl Provider {
    /// Starts it; its Unix socket is `provider.sock` in `place`.
    pub(crate) fn start(place: &Path) -> Done<Self> {
        let ready = Notified::at(&place.join("provider.ready"))?;
        let mut command = proc::again()?;
        command.arg("provider").arg(place).env("NOTIFY_SOCKET", ready.path());
        let process = Guarded::spawn(&mut command)?;
        ready.wait()?;
        let told = std::fs::read_to_string(place.join("provider.txt"))?;
        let mut lines = told.splitn(3, '\n');
        let mut next = || lines.next().ok_or("the provider told nothing");
        Ok(Self { process, plain: next()?.parse()?, tls: next()?.parse()?, certificate: next()?.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Its main.
#[allow(clippy::disallowed_methods, reason = "it holds no secret and scrubs nothing")]
pub(crate) fn serve(place: &str) -> Done {
    let place = Path::new(place);
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der())?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.cert.der().clone()], key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let unix = UnixListener::bind(place.join("provider.sock"))?;
        let (plain, tls) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let told = format!("{}\n{}\n{}", plain.local_addr()?, tls.local_addr()?, certificate.cert.pem());
        std::fs::write(place.join("provider.txt"), told)?;
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
        loop {
            tokio::select! {
                accepted = unix.accept() => drop(tokio::spawn(speak(accepted?.0))),
                accepted = plain.accept() => {
                    let stream = accepted?.0;
                    stream.set_nodelay(true)?;
                    tokio::spawn(speak(stream));
                }
                accepted = tls.accept() => {
                    let (stream, acceptor) = (accepted?.0, acceptor.clone());
                    stream.set_nodelay(true)?;
                    tokio::spawn(async move { speak(acceptor.accept(stream).await?).await });
                }
            }
        }
    })
}

async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (mut read, mut piece) = (Vec::with_capacity(4096), vec![0; 256 * 1024]);
    loop {
        let head = loop {
            match read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if stream.read_buf(&mut read).await? == 0 => return Ok(()),
                None => {}
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
        if !text.contains("authorization: bearer ") || text.contains("transfer-encoding") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut left = length.unwrap_or(0_usize).saturating_sub(read.len() - head);
        while left > 0 {
            left -= stream.read(&mut piece[..left.min(256 * 1024)]).await?;
        }
        read.clear();
        answer(&mut stream, &target, &piece).await?;
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), target: &str, piece: &[u8]) -> io::Result<()> {
    match target {
        "/v1/large" => {
            stream.write_all(head("application/octet-stream", LARGE).as_bytes()).await?;
            let mut left = LARGE;
            while left > 0 {
                let now = left.min(piece.len());
                stream.write_all(&piece[..now]).await?;
                left -= now;
            }
            stream.flush().await
        }
        "/v1/chat/completions?events" => events(stream, EVENTS).await,
        "/v1/chat/completions?hold" => {
            events(stream, 1).await?;
            std::future::pending().await
        }
        _ => {
            stream.write_all((head("application/json", ANSWER.len()) + ANSWER).as_bytes()).await?;
            stream.flush().await
        }
    }
}

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"I am a benchmark."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":6,"total_tokens":18}}"#;

fn head(kind: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}

/// Each event in one write and one chunk, with its number and the time at which it was written.
async fn events(stream: &mut (impl AsyncWrite + Unpin), count: usize) -> io::Result<()> {
    let clock = Clock::system();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for number in 0..count {
        tokio::time::sleep(PAUSE).await;
        let choice = r#""choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]"#;
        let event = format!("data: {{\"n\":{number},\"t\":{},{choice}}}\n\n", clock.boot().nanos());
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        stream.flush().await?;
    }
    if count == EVENTS {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await
}
