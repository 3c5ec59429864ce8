//! Measures how deep the stack goes in one poll of the deepest thing the daemon does: a TLS handshake and an exchange.
//! It must never be compiled into the program.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use super::scrub::DEPTH;

/// How far down is looked, in bytes.
const WINDOW: usize = 512 * 1024;
const PAINT: u8 = 0xCC;

/// A future that notes how many bytes of stack its deepest poll changed.
struct Measured<F>(F, Arc<AtomicUsize>);

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let deepest = Arc::clone(&self.1);
        // SAFETY: structural pinning, as in `Scrub`.
        let inner = unsafe { self.map_unchecked_mut(|measured| &mut measured.0) };
        let start = paint();
        let polled = polled(inner, context);
        deepest.fetch_max(gone(start), Ordering::Relaxed);
        polled
    }
}

#[inline(never)]
fn polled<F: Future>(inner: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    inner.poll(context)
}

/// Paints the stack below the caller and tells where the paint begins.
#[inline(never)]
fn paint() -> u64 {
    let mut area = std::mem::MaybeUninit::<[u8; WINDOW]>::uninit();
    let start: *mut u8 = area.as_mut_ptr().cast();
    // SAFETY: `area` is ours; its address escapes, so that the paint is not left out.
    unsafe { std::ptr::write_bytes(start, PAINT, WINDOW) };
    std::hint::black_box(start) as u64
}

/// How many bytes from its upper end the paint is gone; read as another process would, the frame being dead.
fn gone(start: u64) -> usize {
    let mut area = vec![0; WINDOW];
    std::fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut area, start).unwrap();
    WINDOW - area.iter().position(|byte| *byte != PAINT).unwrap_or(WINDOW)
}

#[test]
fn the_scrub_reaches_as_deep_as_a_tls_handshake() {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (client_end, server_end) = tokio::io::duplex(64 * 1024);
    let deepest = Arc::new(AtomicUsize::new(0));
    let both = async {
        let measured = Measured(serve(&certificate, server_end), Arc::clone(&deepest));
        tokio::select! {
            () = measured => {}
            () = Measured(call(&certificate, client_end), Arc::clone(&deepest)) => {}
        }
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(both);
    let deepest = deepest.load(Ordering::Relaxed);
    assert!((4096..WINDOW).contains(&deepest), "not measured: {deepest}");
    assert!(deepest < DEPTH, "a poll goes {deepest} bytes deep and the scrub {DEPTH}");
}

type Certificate = rcgen::CertifiedKey<rcgen::KeyPair>;

/// An echo of JSON over HTTP over TLS.
async fn serve(certificate: &Certificate, end: DuplexStream) {
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(end).await.unwrap();
    let echo = hyper::service::service_fn(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(value.to_string()))))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), echo).await;
}

async fn call(certificate: &Certificate, end: DuplexStream) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, end).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    // As deep as serde_json goes, and then some of its own.
    let body = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let request = Request::post("/").header("host", "localhost").body(Full::new(Bytes::from(body))).unwrap();
    tokio::select! {
        answer = sender.send_request(request) => {
            answer.unwrap().into_body().collect().await.unwrap();
        }
        _ = connection => {}
    }
}
