//! What the pretend models say, in OpenAI's shape and in Model Studio's own, whole and as a stream.
//!
//! It must never say anything that looks like a credential, and it repeats no prompt.

use hyper::Response;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{self, No, json_answer, random_hex, request_id, typed};
use super::reel::Reel;

/// The models that exist.
pub const MODELS: [&str; 5] = ["qwen-plus", "qwen-max", "qwen-turbo", "qwen-flash", TALKATIVE];
/// Streams its sentence over and over in OpenAI's shape, so that a budget can end before it does.
const TALKATIVE: &str = "qwen-long";
/// How often: some 18,000 tokens.
const OVER_AND_OVER: usize = 2000;
/// What every model answers, as the pieces of a stream.
pub(super) const WORDS: [&str; 6] = ["This ", "is ", "the ", "pretend ", "Model ", "Studio."];
pub(super) const EVENTS: &str = "text/event-stream;charset=UTF-8";

/// `GET /compatible-mode/v1/models`.
pub(super) fn list() -> Response<Reel> {
    let entry = |id: &&str| json!({"id": id, "object": "model", "created": 1_744_080_369, "owned_by": "system"});
    json_answer(&json!({"object": "list", "data": MODELS.iter().map(entry).collect::<Vec<_>>()}))
}

/// `POST /compatible-mode/v1/chat/completions`.
pub(super) fn chat(body: &[u8], desk: &Desk) -> Result<Response<Reel>, No> {
    let asked = asked(body)?;
    let messages = asked["messages"].as_array().ok_or(answer::BAD_BODY)?;
    let chat = Chat { id: format!("chatcmpl-{}", random_hex::<12>()), asked: &asked, created: (desk.now)() };
    let usage = Usage::of(messages);
    if asked["stream"].as_bool() != Some(true) {
        return Ok(json_answer(&chat.completion(usage)));
    }
    let wants_usage = asked["stream_options"]["include_usage"].as_bool() == Some(true);
    Ok(typed(EVENTS, Reel::events(chat.chunks(wants_usage.then_some(usage)), desk.pause)))
}

/// `POST /api/v1/services/aigc/text-generation/generation`.
pub(super) fn generation(head: &Parts, body: &[u8], desk: &Desk) -> Result<Response<Reel>, No> {
    let asked = asked(body)?;
    let messages = match &asked["input"] {
        input if input["messages"].is_array() => input["messages"].as_array().cloned().unwrap_or_default(),
        input if input["prompt"].is_string() => vec![json!({"role": "user", "content": input["prompt"]})],
        _ => return Err(answer::BAD_BODY),
    };
    let native = Native { id: request_id(), asked: &asked, usage: Usage::of(&messages) };
    let streams = head.headers.get("x-dashscope-sse").is_some_and(|value| value == "enable");
    if !streams {
        return Ok(json_answer(&native.part(&WORDS.concat(), WORDS.len(), "stop")));
    }
    Ok(typed(EVENTS, Reel::events(native.events(), desk.pause)))
}

/// The body as JSON that names a model we have.
pub(super) fn asked(body: &[u8]) -> Result<Value, No> {
    let asked: Value = serde_json::from_slice(body).map_err(|_| answer::BAD_BODY)?;
    let model = asked["model"].as_str().ok_or(answer::BAD_BODY)?;
    if MODELS.contains(&model) { Ok(asked) } else { Err(answer::NO_MODEL) }
}

/// Tokens in the other sense: words, near enough.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub(super) input: usize,
}

impl Usage {
    pub(super) fn of(messages: &[Value]) -> Self {
        let words = |message: &Value| message["content"].as_str().map_or(1, |text| text.split_whitespace().count());
        Self { input: messages.iter().map(words).sum() }
    }
}

struct Chat<'a> {
    id: String,
    asked: &'a Value,
    created: u64,
}

impl Chat<'_> {
    fn usage(usage: Usage) -> Value {
        json!({
            "prompt_tokens": usage.input, "completion_tokens": WORDS.len(),
            "total_tokens": usage.input + WORDS.len(), "prompt_tokens_details": {"cached_tokens": 0},
        })
    }

    fn completion(&self, usage: Usage) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.asked["model"],
            "choices": [{
                "index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": WORDS.concat()},
            }],
            "usage": Self::usage(usage), "system_fingerprint": null,
        })
    }

    fn chunk(&self, choices: &Value, usage: Option<Usage>) -> String {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.asked["model"],
            "choices": choices, "usage": usage.map(Self::usage), "system_fingerprint": null,
        });
        format!("data: {chunk}\n\n")
    }

    /// The usage comes last, alone, and only when it was asked for.
    fn chunks(&self, usage: Option<Usage>) -> Vec<String> {
        let choice = |delta: Value, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null});
            Value::Array(vec![choice])
        };
        let first = self.chunk(&choice(json!({"role": "assistant", "content": ""}), None), None);
        let said = |word: &str| self.chunk(&choice(json!({"content": word}), None), None);
        let words: Vec<_> = match self.asked["model"] == TALKATIVE {
            true => vec![said(&WORDS.concat()); OVER_AND_OVER],
            false => WORDS.iter().map(|word| said(word)).collect(),
        };
        let last = self.chunk(&choice(json!({"content": ""}), Some("stop")), None);
        let usage = usage.map(|usage| self.chunk(&json!([]), Some(usage)));
        std::iter::once(first).chain(words).chain([last]).chain(usage).chain(["data: [DONE]\n\n".to_owned()]).collect()
    }
}

struct Native<'a> {
    id: String,
    asked: &'a Value,
    usage: Usage,
}

impl Native<'_> {
    /// `finish` is the string `"null"` until the end: that is the vendor's way.
    fn part(&self, text: &str, words: usize, finish: &str) -> Value {
        let output = if self.asked["parameters"]["result_format"] == "message" {
            json!({"choices": [{"finish_reason": finish, "message": {"role": "assistant", "content": text}}]})
        } else {
            json!({"finish_reason": finish, "text": text})
        };
        let usage = json!({
            "input_tokens": self.usage.input, "output_tokens": words, "total_tokens": self.usage.input + words,
        });
        json!({"output": output, "usage": usage, "request_id": self.id})
    }

    /// Each event holds all the text so far, or with `incremental_output` its own word alone.
    fn events(&self) -> Vec<String> {
        let incremental = self.asked["parameters"]["incremental_output"].as_bool() == Some(true);
        let event = |count: usize| {
            let text = if incremental { WORDS[count - 1].to_owned() } else { WORDS[..count].concat() };
            let finish = if count == WORDS.len() { "stop" } else { "null" };
            format!("id:{count}\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n", self.part(&text, count, finish))
        };
        (1..=WORDS.len()).map(event).collect()
    }
}
