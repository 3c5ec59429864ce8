//! The baselines: hyper with nothing behind it, on a Unix socket; and one TLS call made bare, on a fresh connection.

use crate::{Done, house::Notified, proc};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, Response, body::Bytes, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::net::{TcpStream, UnixListener};

/// The server's main: answers every request with so many bytes. It is given the program's own wiping allocator, which
/// comes with the library; that costs it less than a hundredth.
#[allow(clippy::disallowed_methods, reason = "a baseline scrubs nothing")]
pub(crate) fn serve(socket: &str, bytes: &str) -> Done {
    let body = Bytes::from(vec![b'x'; bytes.parse()?]);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = UnixListener::bind(socket)?;
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
        loop {
            let (stream, _) = listener.accept().await?;
            let body = body.clone();
            tokio::spawn(async move {
                let answer = service_fn(|_| std::future::ready(Ok::<_, Infallible>(answer(&body))));
                let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    })
}

fn answer(body: &Bytes) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.clone()))
}

/// Starts the server in a process of its own. Gives it once it serves.
pub(crate) fn server(socket: &Path, bytes: usize) -> Done<proc::Guarded> {
    let _ = std::fs::remove_file(socket);
    let ready = Notified::at(&socket.with_extension("ready"))?;
    let mut command = proc::again()?;
    command.arg("bare-server").arg(socket).arg(bytes.to_string()).env("NOTIFY_SOCKET", ready.path());
    let server = proc::Guarded::spawn(&mut command)?;
    ready.wait()?;
    Ok(server)
}

/// The client's side of TLS, as the daemon has it.
pub(crate) struct Tls {
    connector: tokio_rustls::TlsConnector,
    address: SocketAddr,
    key: String,
}

impl Tls {
    pub(crate) fn new(ca_file: &Path, address: SocketAddr, key: &str) -> Done<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add(CertificateDer::from_pem_file(ca_file)?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: Arc::new(config).into(), address, key: key.to_owned() })
    }

    /// Connects, rests as the daemon's ready connection does, then makes the call. Gives the nanoseconds of the call.
    #[allow(clippy::disallowed_methods, reason = "a baseline scrubs nothing")]
    pub(crate) async fn call(&self, rest: Duration) -> Done<f64> {
        let clock = sixty::clock::Clock::system();
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let stream = self.connector.connect(self.address.ip().into(), tcp).await?;
        tokio::time::sleep(rest).await;
        let began = clock.boot();
        let (mut sender, driver) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(driver);
        let request = Request::post("/api/v1/tokens?expire_in_seconds=60")
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.key))
            .header("accept", "application/json")
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        let took = clock.boot().since(began).as_nanos() as f64;
        driver.abort();
        if status == 200 { Ok(took) } else { Err(format!("the stand-in answered {status}").into()) }
    }
}
