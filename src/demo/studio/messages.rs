//! `POST /apps/anthropic/v1/messages`: what the pretend models say in Anthropic's shape, whole and as a stream.
//! Source: docs.anthropic.com/en/api/messages and …/messages-streaming.
//!
//! It must never say anything that looks like a credential, and it repeats no prompt.

use hyper::Response;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{self, No, json_answer, random_hex, typed};
use super::model::{EVENTS, Usage, WORDS, asked};
use super::reel::Reel;

/// Answers one call.
pub(super) fn messages(body: &[u8], desk: &Desk) -> Result<Response<Reel>, No> {
    let asked = asked(body)?;
    let messages = asked["messages"].as_array().ok_or(answer::BAD_BODY)?;
    if asked["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return Err(answer::BAD_BODY);
    }
    let input = Usage::of(messages).input;
    if asked["stream"].as_bool() == Some(true) {
        return Ok(typed(EVENTS, Reel::events(events(&asked, input), desk.pause)));
    }
    let mut message = begun(&asked, input);
    message["content"] = json!([{"type": "text", "text": WORDS.concat()}]);
    message["stop_reason"] = json!("end_turn");
    message["usage"]["output_tokens"] = json!(WORDS.len());
    Ok(json_answer(&message))
}

/// A message that nothing was said in yet.
fn begun(asked: &Value, input: usize) -> Value {
    json!({
        "id": format!("msg_{}", random_hex::<12>()), "type": "message", "role": "assistant", "model": asked["model"],
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {
            "input_tokens": input, "output_tokens": 1,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    })
}

fn events(asked: &Value, input: usize) -> Vec<String> {
    let word =
        |word: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}});
    let first = [
        json!({"type": "message_start", "message": begun(asked, input)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    let last = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": WORDS.len()},
        }),
        json!({"type": "message_stop"}),
    ];
    let all = first.into_iter().chain(WORDS.iter().map(word)).chain(last);
    all.map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())).collect()
}
