//! A refusal → `application/problem+json` (RFC 9457), or Model Studio's own error shape.

use crate::model::{Code, Refusal, Retry};
use serde::Serialize;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: Code,
    retry: Retry,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The body of a refusal.
pub fn problem(refusal: &Refusal) -> Vec<u8> {
    json(&Problem {
        r#type: format!("urn:sixty:{}", refusal.code.name()),
        title: refusal.code.title(),
        status: refusal.status,
        code: refusal.code,
        retry: refusal.retry,
        request_id: refusal.request_id.to_string(),
        retry_after: refusal.after,
        detail: refusal.detail.as_deref(),
    })
}

#[derive(Serialize)]
struct StudioError {
    code: &'static str,
    message: &'static str,
    request_id: String,
}

/// The same as Model Studio would say it, with the status that it would send.
pub fn studio_error(refusal: &Refusal) -> (u16, Vec<u8>) {
    let (status, code) = match refusal.code {
        Code::Malformed => (refusal.status, "InvalidParameter"),
        Code::TooLarge => (400, "InvalidParameter"),
        Code::Denied => (403, "AccessDenied"),
        Code::Expired | Code::Revoked | Code::Exhausted => (401, "InvalidApiKey"),
        Code::Busy => (429, "Throttling.RateQuota"),
        Code::Locked | Code::Unavailable | Code::Upstream => (503, "SystemError"),
    };
    let message = refusal.code.title();
    (status, json(&StudioError { code, message, request_id: refusal.request_id.to_string() }))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequestId;

    #[test]
    fn a_refusal_tells_its_code_and_its_hint_and_nothing_else() {
        let refusal = Refusal::new(Code::Locked, RequestId(0xabc));
        let body = String::from_utf8(problem(&refusal)).unwrap();
        assert_eq!(
            body,
            r#"{"type":"urn:sixty:locked","title":"the vault is locked","status":423,"code":"locked","#.to_owned()
                + r#""retry":"after_unlock","request_id":"0000000000000abc"}"#
        );
        assert_eq!(studio_error(&refusal).0, 503);
    }
}
