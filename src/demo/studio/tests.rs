//! The pretend Model Studio against a raw hyper client; no test may depend on another's studio.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::line::spawn;
use super::*;

const KEY: &str = "sk-made-up-for-a-test";
const MINT: &str = "/api/v1/tokens";
const CHAT: &str = "/compatible-mode/v1/chat/completions";
const NATIVE: &str = "/api/v1/services/aigc/text-generation/generation";
const SHORT: Duration = Duration::from_millis(150);

/// A studio with one key, and a clock that is wound by hand.
struct Scene {
    studio: Studio,
    clock: Arc<AtomicU64>,
    client: TlsConnector,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StudioOptions)) -> Self {
        let clock = Arc::new(AtomicU64::new(1_744_080_000));
        let reader = Arc::clone(&clock);
        let mut options = StudioOptions::new(Arc::new(move || reader.load(Relaxed)));
        change(&mut options);
        let studio = Studio::start(options).await.unwrap();
        studio.register(KEY);
        let mut roots = RootCertStore::empty();
        if !studio.ca_pem().is_empty() {
            roots.add(CertificateDer::from_pem_slice(studio.ca_pem().as_bytes()).unwrap()).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { studio, clock, client: TlsConnector::from(Arc::new(config)) }
    }

    async fn call(&self, request: Request<String>) -> Result<(StatusCode, String), Failure> {
        let tcp = TcpStream::connect(self.studio.address()).await?;
        if self.studio.ca_pem().is_empty() {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from("127.0.0.1")?;
        exchange(self.client.connect(name, tcp).await?, request).await
    }

    async fn mint(&self, credential: &str, query: &str) -> (StatusCode, Value) {
        let (status, body) = self.call(post(&format!("{MINT}{query}"), credential, Value::Null)).await.unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn token(&self) -> String {
        let (status, answer) = self.mint(KEY, "").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn chat(&self, credential: &str) -> (StatusCode, Value) {
        let (status, body) = self.call(post(CHAT, credential, question())).await.unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn fails(&self) -> bool {
        self.call(post(MINT, KEY, Value::Null)).await.is_err()
    }
}

async fn exchange<S>(stream: S, request: Request<String>) -> Result<(StatusCode, String), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request.map(|body| Full::new(Bytes::from(body)))).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn post(path: &str, credential: &str, body: Value) -> Request<String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request =
        Request::post(path).header("host", "127.0.0.1").header("authorization", format!("Bearer {credential}"));
    request.body(body).unwrap()
}

fn question() -> Value {
    json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "who are you"}]})
}

#[tokio::test]
async fn a_minted_token_is_good_for_calls_and_has_the_documented_shape() {
    let scene = Scene::new().await;
    let (status, answer) = scene.mint(KEY, "?expire_in_seconds=90").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["expires_at"], 1_744_080_090_u64);
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("st-"));
    let (status, answer) = scene.chat(token).await;
    assert_eq!((status, &answer["object"]), (StatusCode::OK, &json!("chat.completion")));
    assert_eq!((scene.studio.mints(), scene.studio.uses()), (1, 1));
}

#[tokio::test]
async fn a_token_stops_working_the_second_it_expires() {
    let scene = Scene::new().await;
    let token = scene.token().await;
    scene.clock.fetch_add(59, Relaxed);
    assert_eq!(scene.chat(&token).await.0, StatusCode::OK);
    scene.clock.fetch_add(1, Relaxed);
    let (status, answer) = scene.chat(&token).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")));
}

#[tokio::test]
async fn an_unknown_key_is_refused_in_the_native_shape() {
    let scene = Scene::new().await;
    let (status, answer) = scene.mint("sk-unknown", "").await;
    assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!("InvalidApiKey")));
    assert!(answer["message"].is_string() && answer["request_id"].is_string());
    assert_eq!(scene.studio.unauthorized(), 1);
}
