//! A provider that compresses its answers, although it is asked not to: the client gets them plain, and the key hides in
//! none of them.

use super::{CHAT, OTHER, Scene, ask, upstream::Then};
use crate::harness::MINE;
use flate2::{Compression, write};
use std::io::{Read, Write};

pub const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

pub fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = write::GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
        _ => brotli(plain),
    }
}

/// One piece, stored (RFC 7932, 9.2).
fn brotli(plain: &[u8]) -> Vec<u8> {
    let head = (u32::try_from(plain.len() - 1).unwrap() << 3 | 1 << 19) << 1;
    [&head.to_le_bytes()[..3], plain, &[3]].concat()
}

/// An answer in chunks of so many bytes.
pub fn answer(coding: &str, kind: &str, packed: &[u8], size: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}\r\ncontent-digest: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    [head.into_bytes(), packed.chunks(size).flat_map(chunk).collect(), b"0\r\n\r\n".to_vec()].concat()
}

/// All that comes until the answer is whole or the connection ends.
fn told(scene: &Scene, request: &str) -> String {
    let (mut stream, mut all, mut piece) = (scene.connect(), Vec::new(), [0; 4096]);
    stream.write_all(&scene.filled(request.as_bytes())).unwrap();
    while !all.ends_with(b"\r\n0\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn text(scene: &Scene) -> String {
    told(scene, &format!("GET {OTHER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\n\r\n"))
}

#[test]
fn the_client_gets_it_plain_and_its_usage_is_counted() {
    let scene = Scene::new();
    let event = r#"{"choices":[{"delta":{"content":"hello"}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    let plain = format!("data: {event}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    for (at, coding) in CODINGS.iter().enumerate() {
        for size in [1, 7, 4096] {
            scene
                .provider
                .says(answer(coding, "text/event-stream", &packed(coding, plain.as_bytes()), size), Then::Close);
            let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
            let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\n");
            let told = told(&scene, &format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
            for gone in ["content-encoding", "content-length", "content-digest"] {
                assert!(!told.contains(gone), "{coding}: {told}");
            }
            assert!(super::answers::body(&told).is_some_and(|body| body == plain), "{coding} by {size}: {told}");
        }
        let used = scene.world.control_http("GET", "/v1/usage", None).json();
        assert_eq!(used["usage"][0]["input"], 9 * (at + 1), "{coding}: {used}");
        assert_eq!(used["usage"][0]["output"], 12 * (at + 1), "{coding}: {used}");
    }
}

#[test]
fn the_key_does_not_hide_in_what_is_packed() {
    for coding in CODINGS {
        let scene = Scene::new();
        let packed = packed(coding, format!("before {} and after", scene.real).as_bytes());
        for size in [1, 5, 4096] {
            scene.provider.says(answer(coding, "text/plain", &packed, size), Then::Close);
            let told = text(&scene);
            scene.told_nothing(&told, coding);
            assert!(!told.contains("after") && !told.ends_with("0\r\n\r\n"), "{coding} by {size}: {told}");
        }
        assert_eq!(scene.world.status()["echoed"][0], "dashscope/main", "{coding}");
        scene.still_serves(coding);
    }
}

#[test]
fn what_ends_too_early_or_goes_on_too_long_is_no_whole_answer() {
    let scene = Scene::new();
    for coding in CODINGS {
        let whole = packed(coding, "so far, so good. ".repeat(9).as_bytes());
        for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &[&whole[..], b"more"].concat()] {
            scene.provider.says(answer(coding, "text/plain", bytes, 4096), Then::Close);
            let told = text(&scene);
            assert_eq!(super::answers::body(&told), None, "{coding}: {told}");
        }
        scene.still_serves(coding);
    }
}

#[test]
fn a_bomb_is_cut_at_the_ratio_and_a_window_at_its_size() {
    let scene = Scene::with(&format!("[limits]\nunpack_ratio = 10\nunpack_window = \"64KiB\"\n{MINE}"));
    let zeros = vec![b'0'; 4 << 20];
    for coding in ["gzip", "deflate"] {
        scene.provider.says(answer(coding, "text/plain", &packed(coding, &zeros), 4096), Then::Close);
        let told = text(&scene);
        assert!(told.len() < 2 << 20, "{coding}: {} bytes came through", told.len());
        assert!(!told.ends_with("\r\n0\r\n\r\n"), "{coding}");
    }
    // A window of 128 KiB: 17 bits (RFC 7932, 9.1), exponent 7 (RFC 8878, 3.1.1.1.2); then an empty last block.
    for (coding, bytes) in [("br", &[0x81, 0x01][..]), ("zstd", &[0x28, 0xB5, 0x2F, 0xFD, 0, 7 << 3, 1, 0, 0])] {
        scene.provider.says(answer(coding, "text/plain", bytes, 4096), Then::Close);
        assert_eq!(super::answers::body(&text(&scene)), None, "{coding}");
    }
    scene.still_serves("bombs");
}

#[test]
fn a_coding_that_nobody_knows_or_two_at_once_are_refused() {
    let scene = Scene::new();
    for coding in
        ["gzip, br", "compress", "aes128gcm", "gzip\r\ncontent-encoding: gzip", "identity\r\ncontent-encoding: br", ""]
    {
        scene.provider.says(answer(coding, "text/plain", &packed("gzip", b"text"), 4096), Then::Close);
        assert_eq!(scene.call("GET", OTHER, "").map(|answer| answer.status), Some(502), "{coding}");
    }
    scene.provider.says(answer("Identity", "text/plain", b"text", 4096), Then::Close);
    assert_eq!(super::answers::body(&text(&scene)).as_deref(), Some("text"));
    scene.provider.says("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n", Then::Close);
    let mut stream = scene.connect();
    assert_eq!(
        ask(&mut stream, &scene.key, "HEAD", OTHER, "").map(|answer| answer.status),
        Some(200),
        "a HEAD has no body"
    );
}
