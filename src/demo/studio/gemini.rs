//! `POST /v1beta/models/MODEL:generateContent` (or `/v1/…`) and `:streamGenerateContent`: what the pretend models say in Gemini's
//! shape. Source: ai.google.dev/api/generate-content.
//!
//! It must never say anything that looks like a credential, and it repeats no prompt.

use hyper::Response;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{self, No, json_answer, random_letters, typed};
use super::model::{EVENTS, WORDS};
use super::reel::Reel;

const FOLDERS: [&str; 2] = ["/v1beta/models/", "/v1/models/"];

/// Whether a path is one of these calls.
pub(super) fn is_call(path: &str) -> bool {
    call(path).is_some()
}

/// Model and verb.
fn call(path: &str) -> Option<(&str, &str)> {
    FOLDERS.iter().find_map(|folder| path.strip_prefix(folder))?.split_once(':')
}

/// Answers one call. A stream is a list unless events are asked for.
pub(super) fn generate(head: &Parts, body: &[u8], desk: &Desk) -> Result<Response<Reel>, No> {
    let (model, verb) = call(head.uri.path()).ok_or(answer::NO_PATH)?;
    if !model.starts_with("gemini-") {
        return Err(answer::NO_MODEL);
    }
    let asked: Value = serde_json::from_slice(body).map_err(|_| answer::BAD_BODY)?;
    let parts = asked["contents"].as_array().ok_or(answer::BAD_BODY)?.iter().flat_map(|one| one["parts"].as_array());
    let words = |part: &Value| part["text"].as_str().map_or(1, |text| text.split_whitespace().count());
    let talk = Talk { id: random_letters::<22>(), model, input: parts.flatten().map(words).sum() };
    let events = (1..=WORDS.len()).map(|count| talk.part(WORDS[count - 1], count));
    match verb {
        "generateContent" => Ok(json_answer(&talk.part(&WORDS.concat(), WORDS.len()))),
        "streamGenerateContent"
            if head.uri.query().is_some_and(|query| query.split('&').any(|one| one == "alt=sse")) =>
        {
            Ok(typed(EVENTS, Reel::events(events.map(|event| format!("data: {event}\r\n\r\n")).collect(), desk.pause)))
        }
        "streamGenerateContent" => Ok(json_answer(&events.collect())),
        _ => Err(answer::NO_PATH),
    }
}

struct Talk<'a> {
    id: String,
    model: &'a str,
    input: usize,
}

impl Talk<'_> {
    /// Each event tells the usage so far.
    fn part(&self, text: &str, output: usize) -> Value {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [{"text": text}]}});
        if output == WORDS.len() {
            candidate["finishReason"] = json!("STOP");
        }
        json!({
            "candidates": [candidate], "modelVersion": self.model, "responseId": self.id,
            "usageMetadata": {
                "promptTokenCount": self.input, "candidatesTokenCount": output, "totalTokenCount": self.input + output,
            },
        })
    }
}
