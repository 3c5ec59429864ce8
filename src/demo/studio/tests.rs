//! The pretend Model Studio against a raw hyper client; no test may depend on another's studio.

mod faults;

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

#[tokio::test]
async fn the_lifetime_must_be_plain_digits_from_1_to_1800() {
    let scene = Scene::new().await;
    for (asked, seconds) in [("", 60), ("?expire_in_seconds=1", 1), ("?a=b&expire_in_seconds=1800", 1800)] {
        let (status, answer) = scene.mint(KEY, asked).await;
        assert_eq!((status, &answer["expires_at"]), (StatusCode::OK, &json!(1_744_080_000_u64 + seconds)), "{asked}");
    }
    for asked in ["0", "1801", "", "-1", "+60", "60s", "6e1", " 60", "99999999999999999999"] {
        let asked = format!("?expire_in_seconds={}", asked.replace(' ', "%20"));
        let (status, answer) = scene.mint(KEY, &asked).await;
        assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("InvalidParameter")), "{asked}");
    }
}

#[tokio::test]
async fn a_token_cannot_mint_another() {
    let scene = Scene::new().await;
    let token = scene.token().await;
    let (status, answer) = scene.mint(&token, "").await;
    assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!("InvalidApiKey")));
}

#[tokio::test]
async fn a_retired_key_mints_no_more_and_its_tokens_live_on_until_revoked() {
    let scene = Scene::new().await;
    let token = scene.token().await;
    scene.studio.retire(KEY);
    assert_eq!(scene.mint(KEY, "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.chat(&token).await.0, StatusCode::OK);
    assert_eq!(scene.studio.live_tokens(), 1);
    scene.studio.revoke_all();
    assert_eq!(scene.chat(&token).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_request_without_a_key_is_told_so_in_the_dialect_of_its_path() {
    let scene = Scene::new().await;
    let bare = |path: &str| Request::post(path).header("host", "x").body(String::new()).unwrap();
    let (status, body) = scene.call(bare(MINT)).await.unwrap();
    assert!(status == StatusCode::UNAUTHORIZED && body.contains("\"No API-key provided.\""), "{body}");
    let (status, body) = scene.call(bare(CHAT)).await.unwrap();
    assert!(status == StatusCode::UNAUTHORIZED && body.contains("\"error\":{"), "{body}");
}

#[tokio::test]
async fn a_streamed_chat_ends_with_done_and_counts_only_when_asked() {
    let scene = Scene::new().await;
    let mut asked = question();
    asked["stream"] = json!(true);
    let (_, plain) = scene.call(post(CHAT, KEY, asked.clone())).await.unwrap();
    asked["stream_options"] = json!({"include_usage": true});
    let (_, counted) = scene.call(post(CHAT, KEY, asked)).await.unwrap();
    assert!(plain.ends_with("data: [DONE]\n\n") && counted.ends_with("data: [DONE]\n\n"));
    assert!(!plain.contains("\"total_tokens\"") && counted.contains("\"total_tokens\":9"), "{counted}");
    let pieces = plain.split("\n\n").filter_map(|event| event.strip_prefix("data: {"));
    let text: String = pieces
        .map(|piece| serde_json::from_str::<Value>(&format!("{{{piece}")).unwrap())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "This is the pretend Model Studio.");
}

#[tokio::test]
async fn the_native_call_speaks_its_own_shapes_whole_and_streamed() {
    let scene = Scene::new().await;
    let prompt = json!({"model": "qwen-max", "input": {"prompt": "hello"}});
    let (_, body) = scene.call(post(NATIVE, KEY, prompt.clone())).await.unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["output"], json!({"finish_reason": "stop", "text": "This is the pretend Model Studio."}));
    let mut streamed = post(NATIVE, KEY, prompt);
    streamed.headers_mut().insert("x-dashscope-sse", "enable".parse().unwrap());
    let (_, body) = scene.call(streamed).await.unwrap();
    assert!(body.starts_with("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{") && body.contains("\"null\""), "{body}");
}

#[tokio::test]
async fn the_anthropic_shaped_call_is_answered_whole_streamed_and_with_its_own_no() {
    let scene = Scene::new().await;
    let path = "/apps/anthropic/v1/messages";
    let mut asked = question();
    let (status, body) = scene.call(post(path, KEY, asked.clone())).await.unwrap();
    assert!(status == StatusCode::BAD_REQUEST && body.contains("\"invalid_request_error\""), "no max_tokens: {body}");
    asked["max_tokens"] = json!(9);
    let (_, body) = scene.call(post(path, KEY, asked.clone())).await.unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&answer["content"][0]["text"], &answer["usage"]["output_tokens"]),
        (&json!("This is the pretend Model Studio."), &json!(6))
    );
    asked["stream"] = json!(true);
    let (_, body) = scene.call(post(path, KEY, asked)).await.unwrap();
    assert!(
        body.starts_with("event: message_start\n")
            && body.contains("text_delta")
            && body.ends_with("{\"type\":\"message_stop\"}\n\n"),
        "{body}"
    );
    let (status, body) = scene.call(post(path, "sk-unknown", Value::Null)).await.unwrap();
    assert!(status == StatusCode::UNAUTHORIZED && body.contains("\"authentication_error\""), "{body}");
}

#[tokio::test]
async fn nonsense_gets_the_documented_no() {
    let scene = Scene::new().await;
    let unknown = json!({"model": "gpt-9", "messages": []});
    let cases = [
        (post(CHAT, KEY, json!({"model": "qwen-max"})), StatusCode::BAD_REQUEST, "invalid_parameter_error"),
        (post(CHAT, KEY, unknown), StatusCode::NOT_FOUND, "model_not_found"),
        (post(NATIVE, KEY, json!([])), StatusCode::BAD_REQUEST, "InvalidParameter"),
        (post("/api/v1/nowhere", KEY, Value::Null), StatusCode::NOT_FOUND, "NotFound"),
        (post("/compatible-mode/v1/models", KEY, Value::Null), StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error"),
    ];
    for (request, expected, code) in cases {
        let (status, body) = scene.call(request).await.unwrap();
        assert!(status == expected && body.contains(&format!("\"{code}\"")), "{status} {body}");
    }
}

#[tokio::test]
async fn plain_http_serves_the_same_for_baselines() {
    let scene = Scene::with(|options| options.transport = Transport::Plain).await;
    assert!(scene.studio.url().starts_with("http://127.0.0.1:"));
    let token = scene.token().await;
    assert_eq!(scene.chat(&token).await.0, StatusCode::OK);
    assert_eq!((scene.studio.connections(), scene.studio.handshakes()), (2, 0));
}

#[tokio::test]
async fn a_second_connection_resumes_the_first_ones_session() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.token().await;
    }
    assert_eq!((scene.studio.handshakes(), scene.studio.resumptions()), (3, 2));
}

#[tokio::test]
async fn the_authority_is_written_where_asked_and_one_runs_authority_is_not_anothers() {
    let path = std::env::temp_dir().join(format!("sixty-studio-{}.pem", std::process::id()));
    let scene = Scene::with(|options| options.ca_file = Some(path.clone())).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), scene.studio.ca_pem());
    std::fs::remove_file(path).unwrap();
    let mut other = Scene::new().await;
    other.client = scene.client.clone();
    assert!(other.fails().await);
}

#[tokio::test]
async fn hanging_up_ends_connections_and_stopping_ends_the_studio() {
    let scene = Scene::new().await;
    let mut idle = TcpStream::connect(scene.studio.address()).await.unwrap();
    assert!(!scene.fails().await);
    scene.studio.hang_up();
    let read = timeout(SHORT, tokio::io::AsyncReadExt::read(&mut idle, &mut [0; 8])).await;
    assert_eq!(read.expect("still connected").unwrap_or(0), 0);
    assert!(!scene.fails().await);
    scene.studio.stop();
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(scene.studio.address()).await.is_err());
}

#[tokio::test]
async fn the_last_handle_takes_the_studio_with_it() {
    let scene = Scene::new().await;
    let (address, other) = (scene.studio.address(), scene.studio.clone());
    drop(scene);
    assert!(TcpStream::connect(address).await.is_ok());
    drop(other);
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn calls_at_once_are_counted_at_once() {
    let scene = Arc::new(Scene::new().await);
    scene.studio.always(Fault::SlowHead(4 * SHORT));
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let scene = Arc::clone(&scene);
            spawn(async move { scene.token().await })
        })
        .collect();
    let mut tokens = Vec::new();
    for call in calls {
        tokens.push(call.await.unwrap());
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!((tokens.len(), scene.studio.most_busy(), scene.studio.most_open()), (5, 5, 5));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_in_the_error() {
    let scene = Scene::new().await;
    let port = scene.studio.address().port();
    let mut options = StudioOptions::new(Arc::new(|| 0));
    options.port = port;
    let error = Studio::start(options).await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}
