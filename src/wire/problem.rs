//! A refusal → `application/problem+json` (RFC 9457), or Model Studio's own error shape.

use crate::model::{Code, Refusal, Retry, Shape};
use serde::Serialize;
use serde_json::json;

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
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The body of a refusal.
pub fn problem(refusal: &Refusal) -> Vec<u8> {
    bytes(&Problem {
        r#type: format!("urn:sixty:{}", refusal.code.name()),
        title: refusal.code.title(),
        status: refusal.status,
        code: refusal.code,
        retry: refusal.retry,
        request_id: refusal.request_id.to_string(),
        retry_after: refusal.after,
        class: refusal.class,
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
    let status = match refusal.code {
        Code::Malformed => refusal.status,
        Code::TooLarge => 400,
        Code::Denied => 403,
        Code::Expired | Code::Revoked | Code::Exhausted => 401,
        Code::Busy => 429,
        Code::Locked | Code::Unavailable | Code::Upstream => 503,
    };
    let (code, message) = (studio_error_code(refusal.code), refusal.code.title());
    (status, bytes(&StudioError { code, message, request_id: refusal.request_id.to_string() }))
}

fn studio_error_code(code: Code) -> &'static str {
    match code {
        Code::Malformed | Code::TooLarge => "InvalidParameter",
        Code::Denied => "AccessDenied",
        Code::Expired | Code::Revoked | Code::Exhausted => "InvalidApiKey",
        Code::Busy => "Throttling.RateQuota",
        Code::Locked | Code::Unavailable | Code::Upstream => "SystemError",
    }
}

#[derive(Serialize)]
struct OpenaiError<'a> {
    message: &'a str,
    r#type: &'static str,
    param: (),
    code: Code,
}

/// A refusal as the clients of a route's shape read it, with its content type: in their own words where we know them.
pub fn refusal(shape: Shape, refusal: &Refusal) -> (&'static str, Vec<u8>) {
    let message = refusal.detail.as_deref().unwrap_or(refusal.code.title());
    let id = refusal.request_id.to_string();
    let body = match shape {
        Shape::OpenaiChat | Shape::OpenaiResponses => {
            let r#type = openai_type(refusal.code);
            let error = OpenaiError { message, r#type, param: (), code: refusal.code };
            bytes(&json!({ "error": error, "request_id": id }))
        }
        Shape::Anthropic => {
            let error = json!({ "type": anthropic_type(refusal.status), "message": message });
            bytes(&json!({ "type": "error", "error": error, "request_id": id }))
        }
        Shape::Gemini => {
            let error = json!({ "code": refusal.status, "message": message, "status": google_status(refusal.status) });
            bytes(&json!({ "error": error }))
        }
        Shape::DashscopeNative => {
            bytes(&json!({ "code": studio_error_code(refusal.code), "message": message, "request_id": id }))
        }
        Shape::None => return ("application/problem+json", problem(refusal)),
    };
    ("application/json", body)
}

/// <https://platform.openai.com/docs/guides/error-codes>
fn openai_type(code: Code) -> &'static str {
    match code {
        Code::Malformed | Code::TooLarge => "invalid_request_error",
        Code::Denied | Code::Expired | Code::Revoked | Code::Exhausted => "authentication_error",
        Code::Busy => "rate_limit_error",
        Code::Locked | Code::Unavailable | Code::Upstream => "server_error",
    }
}

/// <https://docs.anthropic.com/en/api/errors>
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        _ => "api_error",
    }
}

/// <https://cloud.google.com/apis/design/errors>
fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "UNAVAILABLE",
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
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
