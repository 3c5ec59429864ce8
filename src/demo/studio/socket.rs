//! `/api-ws/v1/inference`: a task over a websocket, in the shape that Model Studio's speech models have: `run-task`,
//! `continue-task`, `finish-task`, each answered with its event. Source: help.aliyun.com, "CosyVoice WebSocket API".
//!
//! It must never repeat what it was told, but for a task's id.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{self, No};
use super::model::WORDS;
use super::reel::Reel;

pub(super) const PATH: &str = "/api-ws/v1/inference";
/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Largest message that is read.
const LARGEST: usize = 64 * 1024;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer that switches to websocket.
pub(super) fn switch(head: &Parts) -> Result<Response<Reel>, No> {
    let key = head.headers.get("sec-websocket-key").ok_or(answer::BAD_BODY)?;
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let mut answer = Response::new(Reel::whole(Vec::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", HeaderValue::from_str(&accept).map_err(|_| answer::BAD_BODY)?);
    Ok(answer)
}

/// Talks until either side closes; `read` is what came with the head.
pub(super) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, mut read: Vec<u8>) -> std::io::Result<()> {
    loop {
        match frame(&mut read) {
            Frame::Whole(TEXT, message) => say(stream, TEXT, told(&message).to_string().as_bytes()).await?,
            Frame::Whole(PING, message) => say(stream, PONG, &message).await?,
            Frame::Whole(PONG, _) => {}
            // What is neither text nor control is closed with 1003, RFC 6455 §7.4.1.
            Frame::Whole(opcode, _) => {
                let why = if opcode == CLOSE { 1000_u16 } else { 1003 };
                return say(stream, CLOSE, &why.to_be_bytes()).await;
            }
            Frame::Part => {
                if read.len() > LARGEST || stream.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The event that answers an action.
fn told(message: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(message).unwrap_or_default();
    let id = asked["header"]["task_id"].as_str().filter(|id| id.len() <= 64).unwrap_or_default();
    let event = |event: &str| json!({"task_id": id, "event": event, "attributes": {}});
    match asked["header"]["action"].as_str() {
        Some("run-task") => json!({"header": event("task-started"), "payload": {}}),
        Some("continue-task") => {
            let characters = asked["payload"]["input"]["text"].as_str().map_or(0, |text| text.chars().count());
            let payload = json!({"output": {"text": WORDS.concat()}, "usage": {"characters": characters}});
            json!({"header": event("result-generated"), "payload": payload})
        }
        Some("finish-task") => json!({"header": event("task-finished"), "payload": {"output": {}, "usage": null}}),
        _ => {
            let mut header = event("task-failed");
            header["error_code"] = json!("InvalidParameter");
            header["error_message"] = json!("action is run-task, continue-task or finish-task");
            json!({"header": header, "payload": {}})
        }
    }
}

enum Frame {
    /// Opcode and what it says.
    Whole(u8, Vec<u8>),
    /// More must come.
    Part,
}

/// Takes one frame off the front, RFC 6455 §5.2. A fragment counts as one of an opcode that nobody knows.
fn frame(read: &mut Vec<u8>) -> Frame {
    let [first, second, rest @ ..] = read.as_slice() else { return Frame::Part };
    let opcode = if first & 0x80 == 0 { 0 } else { first & 0x0f };
    let (length, rest) = match (second & 0x7f, rest) {
        (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        // Longer than anything that is read.
        (127, _) => return Frame::Whole(0, Vec::new()),
        (126, _) => return Frame::Part,
        (length, rest) => (usize::from(length), rest),
    };
    if second & 0x80 == 0 {
        return Frame::Whole(0, Vec::new());
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Frame::Part };
    let Some(masked) = rest.get(..length) else { return Frame::Part };
    let message = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let whole = read.len() - rest.len() + length;
    read.drain(..whole);
    Frame::Whole(opcode, message)
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, opcode: u8, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0x80 | opcode];
    match u8::try_from(length) {
        Ok(short) if short < 126 => bytes.push(short),
        _ => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(&message[..usize::from(length)]);
    stream.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        // RFC 6455 §5.7: a masked "Hello", and the beginning of another.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for cut in 0..hello.len() {
            assert!(matches!(frame(&mut hello[..cut].to_vec()), Frame::Part), "{cut}");
        }
        let mut read = [&hello[..], &[0x81]].concat();
        assert!(matches!(frame(&mut read), Frame::Whole(TEXT, text) if text == b"Hello"));
        assert_eq!(read, [0x81]);
        let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert!(matches!(frame(&mut unmasked.to_vec()), Frame::Whole(0, _)));
    }
}
