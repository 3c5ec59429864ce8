//! The caller's side of a sixty socket: one request on one connection, bounded in time and in size.
//! It must never know what a vault, a rule or an issuer is, and never print.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::sys::scrub;

mod answer;
#[cfg(test)]
pub(crate) mod fake;

pub use answer::{Answer, Problem};
pub use hyper::Method;

/// How long one answer may take: a wrong passphrase is slowed down to 10 s, a mint is over well before this.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where a person may be asked first, who has 10 minutes at most.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(11 * 60);
/// The largest answer that is read into memory, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// The longest line of a stream, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// A request that got no answer. The answers' own refusals are [`Problem`]s.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers on {path}: {fault}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        fault: std::io::Error,
    },
    /// The socket is not ours to open.
    #[error("{path} may not be opened by this user")]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// It listens, but says nothing.
    #[error("the daemon on {path} did not answer within {} s", within.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        within: Duration,
    },
    /// The connection ended in the middle of an answer, or what came was not HTTP.
    #[error("the daemon on {path} broke off its answer: {fault}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What hyper said; never bytes of the answer.
        fault: hyper::Error,
    },
    /// More than we take.
    #[error("the answer from {path} is larger than {MAX_ANSWER} bytes")]
    TooLarge {
        /// The socket.
        path: PathBuf,
    },
    /// No event loop could be made.
    #[error("this process can't wait for the network: {0}")]
    Runtime(std::io::Error),
}

/// One socket of one daemon. Each request is a connection of its own, closed after the answer.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the broker socket.
    pub fn broker(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), patience: PATIENCE }
    }

    /// A client of the control socket, which is its owner's alone.
    pub fn control(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), patience: PATIENCE }
    }

    /// The same for a request that may have to wait for a person's yes.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { patience: PATIENCE_WITH_PEOPLE, ..self.clone() }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends one request, `json` as its body, and waits for the whole answer.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal is an [`Answer`].
    pub fn request(
        &self,
        method: Method,
        target: &str,
        json: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Answer, ClientError> {
        wait(self.within(async {
            let response = self.send(method, target, json).await?;
            let status = response.status().as_u16();
            Ok(Answer { status, body: self.whole(response.into_body()).await? })
        }))
    }

    /// Reads NDJSON from `target` and hands on each line, without its end, until the daemon or `line` ends it.
    /// The answer's body is empty, or a refusal.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream(&self, target: &str, line: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<Answer, ClientError> {
        wait(async {
            let response = self.within(self.send(Method::GET, target, None)).await?;
            let status = response.status().as_u16();
            if !response.status().is_success() {
                let body = self.within(self.whole(response.into_body())).await?;
                return Ok(Answer { status, body });
            }
            self.lines(response.into_body(), line).await?;
            Ok(Answer { status, body: Zeroizing::default() })
        })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let late = |_| ClientError::TimedOut { path: self.path.clone(), within: self.patience };
        tokio::time::timeout(self.patience, work).await.map_err(late)?
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        json: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<hyper::Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|fault| self.no_connection(fault))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|fault| self.broken(fault))?;
        scrub::spawn(async move {
            // Its error is the request's too, and told there.
            let _ = connection.await;
        });
        sender.send_request(message(method, target, json)).await.map_err(|fault| self.broken(fault))
    }

    async fn whole(&self, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|fault| self.broken(fault))?.into_data() else { continue };
            if bytes.len() + data.len() > MAX_ANSWER {
                return Err(ClientError::TooLarge { path: self.path.clone() });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    async fn lines(
        &self,
        mut body: Incoming,
        mut line: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|fault| self.broken(fault))?.into_data() else { continue };
            rest.extend_from_slice(&data);
            if each_line(&mut rest, &mut line).is_break() {
                return Ok(());
            }
            if rest.len() > MAX_LINE {
                return Err(ClientError::TooLarge { path: self.path.clone() });
            }
        }
        if !rest.is_empty() {
            let _ = line(&rest);
        }
        Ok(())
    }

    fn no_connection(&self, fault: std::io::Error) -> ClientError {
        let path = self.path.clone();
        match fault.kind() {
            ErrorKind::PermissionDenied => ClientError::Forbidden { path },
            _ => ClientError::Unreachable { path, fault },
        }
    }

    fn broken(&self, fault: hyper::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), fault }
    }
}

/// `text` as one value of a query (RFC 3986, 2.3: all but the unreserved is percent-encoded).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn wait<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ClientError::Runtime)?;
    scrub::run(&runtime, work)
}

fn message(method: Method, target: &str, json: Option<Zeroizing<Vec<u8>>>) -> hyper::Request<Full<Bytes>> {
    let typed = json.is_some();
    let body = json.map_or_else(Bytes::new, Bytes::from_owner);
    let mut request = hyper::Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().expect("invariant: targets are made of routes, key names and encoded values");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("sixty"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if typed {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

/// Hands on every whole line and leaves what comes after the last one.
fn each_line(bytes: &mut Vec<u8>, line: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut done = 0;
    while let Some(len) = bytes[done..].iter().position(|&byte| byte == b'\n') {
        line(&bytes[done..done + len])?;
        done += len + 1;
    }
    bytes.drain(..done);
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;

    #[test]
    fn a_request_goes_out_once_and_its_answer_comes_back_whole() {
        let fake = Fake::answering("201 Created", "{\"token\":\"st-1\"}");
        let body = Zeroizing::new(b"{\"key\":\"a\"}".to_vec());
        let answer = Client::broker(fake.path()).request(Method::POST, "/v1/leases", Some(body)).unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(&*answer.accepted().unwrap(), b"{\"token\":\"st-1\"}");
        let asked = fake.asked();
        assert!(asked.starts_with("POST /v1/leases HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("connection: close\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\n{\"key\":\"a\"}"), "{asked}");
    }

    #[test]
    fn a_refusal_is_read_even_with_fields_of_tomorrow() {
        let body = r#"{"type":"about:blank","title":"no","status":403,"code":"denied","retry":"never",
            "request_id":"0a","mood":"grim"}"#;
        let fake = Fake::answering("403 Forbidden", body);
        let problem = Client::broker(fake.path()).request(Method::GET, "/", None).unwrap().accepted().unwrap_err();
        assert_eq!((problem.code.as_str(), problem.request_id.as_str()), ("denied", "0a"));
        fake.asked();
    }

    #[test]
    fn a_refusal_without_a_body_still_says_its_status() {
        let fake = Fake::answering("500 Oops", "<html>");
        let problem = Client::broker(fake.path()).request(Method::GET, "/", None).unwrap().accepted().unwrap_err();
        assert_eq!((problem.status, problem.title.as_str()), (500, "HTTP 500 without a reason"));
        fake.asked();
    }

    #[test]
    fn nobody_listening_is_told_apart_from_a_broken_answer() {
        let nowhere = Client::broker("/nonexistent/sixty.sock").request(Method::GET, "/", None);
        assert!(matches!(nowhere, Err(ClientError::Unreachable { .. })));
        let fake = Fake::saying("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort".to_owned());
        let cut = Client::broker(fake.path()).request(Method::GET, "/", None);
        assert!(matches!(cut, Err(ClientError::Broken { .. })));
        fake.asked();
    }

    #[test]
    fn a_stream_is_cut_at_its_lines_and_a_last_one_without_an_end_counts() {
        let fake = Fake::answering("200 OK", "{\"a\":1}\n{\"b\":2}\n{\"c\":3}");
        let mut lines = Vec::new();
        let answer = Client::control(fake.path()).stream("/v1/audit", |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        assert_eq!(answer.unwrap().status, 200);
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        fake.asked();
    }

    #[test]
    fn a_reader_that_had_enough_is_sent_no_more() {
        let fake = Fake::answering("200 OK", "1\n2\n3\n");
        let mut seen = 0;
        let answer = Client::control(fake.path()).stream("/v1/audit", |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert!(answer.is_ok());
        assert_eq!(seen, 1);
        fake.asked();
    }

    #[test]
    fn a_selector_with_odd_bytes_is_one_query_value() {
        assert_eq!(encoded("exe:/opt/my app&all=true"), "exe%3A%2Fopt%2Fmy%20app%26all%3Dtrue");
    }
}
