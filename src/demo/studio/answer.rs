//! The shapes in which Model Studio, and whom it plays besides, says no, and how a JSON answer is put on the wire.
//!
//! It must never repeat what a client sent: a refused key does not come back in an error.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::reel::Reel;

/// The language of a path: decides how errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/api/v1`: `{"code","message","request_id"}`.
    Native,
    /// `/compatible-mode/v1`: OpenAI's `{"error":{…}}`.
    Compatible,
    /// `/apps/anthropic`: `{"type":"error","error":{…}}`.
    Anthropic,
    /// `/v1beta`: `{"error":{"code","message","status"}}`.
    Gemini,
}

/// A no: its status, its code in both dialects and its text (error-code page, see each constant).
#[derive(Clone, Copy, Debug)]
pub(super) struct No {
    pub(super) status: StatusCode,
    pub(super) native: &'static str,
    pub(super) compatible: &'static str,
    pub(super) kind: &'static str,
    pub(super) message: &'static str,
    /// The compatible mode's own words, where it has some.
    pub(super) compatible_message: Option<&'static str>,
}

const fn no(status: StatusCode, native: &'static str, compatible: &'static str, message: &'static str) -> No {
    No { status, native, compatible, kind: "invalid_request_error", message, compatible_message: None }
}

const fn fault(status: StatusCode, native: &'static str, message: &'static str) -> No {
    No { status, native, compatible: native, kind: native, message, compatible_message: None }
}

pub(super) const BAD_KEY: No = No {
    compatible_message: Some(
        "Incorrect API key provided. For details, see: \
         https://help.aliyun.com/zh/model-studio/error-code#apikey-error",
    ),
    ..no(StatusCode::UNAUTHORIZED, "InvalidApiKey", "invalid_api_key", "Invalid API-key provided.")
};
pub(super) const NO_KEY: No = No {
    compatible_message: Some(
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
         (i.e. Authorization: Bearer YOUR_KEY).",
    ),
    ..no(StatusCode::UNAUTHORIZED, "InvalidApiKey", "invalid_api_key", "No API-key provided.")
};
pub(super) const BAD_TTL: No = no(
    StatusCode::BAD_REQUEST,
    "InvalidParameter",
    "invalid_parameter_error",
    "Required parameter(s) missing or invalid, please check the parameters: expire_in_seconds is 1 to 1800.",
);
pub(super) const BAD_BODY: No = no(
    StatusCode::BAD_REQUEST,
    "InvalidParameter",
    "invalid_parameter_error",
    "Required parameter(s) missing or invalid, please check the request parameters.",
);
pub(super) const NO_MODEL: No = no(
    StatusCode::NOT_FOUND,
    "ModelNotFound",
    "model_not_found",
    "The model does not exist or you do not have access.",
);
pub(super) const NO_PATH: No = no(StatusCode::NOT_FOUND, "NotFound", "not_found", "Not found!");
pub(super) const BAD_METHOD: No = no(
    StatusCode::METHOD_NOT_ALLOWED,
    "InvalidParameter",
    "invalid_request_error",
    "Request method is not supported for this path.",
);
pub(super) const TOO_LARGE: No =
    no(StatusCode::PAYLOAD_TOO_LARGE, "InvalidParameter", "invalid_parameter_error", "The request body is too large.");
pub(super) const THROTTLED: No = No {
    status: StatusCode::TOO_MANY_REQUESTS,
    native: "Throttling.RateQuota",
    compatible: "limit_requests",
    kind: "limit_requests",
    message: "Requests rate limit exceeded, please try again later.",
    compatible_message: None,
};
pub(super) const OVERDUE: No =
    fault(StatusCode::TOO_MANY_REQUESTS, "PrepaidBillOverdue", "The prepaid bill is overdue.");
pub(super) const ARREARAGE: No =
    fault(StatusCode::BAD_REQUEST, "Arrearage", "Access denied, please make sure your account is in good standing.");
pub(super) const DENIED: No = no(StatusCode::FORBIDDEN, "AccessDenied", "access_denied", "Access denied.");
pub(super) const IN_OK: No = fault(StatusCode::OK, "InternalError.Algo", "An internal error has occurred.");
pub(super) const INTERNAL: No = fault(
    StatusCode::INTERNAL_SERVER_ERROR,
    "InternalError",
    "An internal error has occurred, please try again later.",
);
pub(super) const SYSTEM: No =
    fault(StatusCode::INTERNAL_SERVER_ERROR, "SystemError", "A system error has occurred, please try again later.");

impl No {
    /// The answer in the language of the path that was called.
    pub(super) fn say(self, dialect: Dialect) -> Response<Reel> {
        let request_id = request_id();
        let body = match dialect {
            Dialect::Native => json!({"code": self.native, "message": self.message, "request_id": request_id}),
            Dialect::Anthropic => {
                let error = json!({"type": anthropic_type(self.status), "message": self.message});
                json!({"type": "error", "error": error, "request_id": request_id})
            }
            Dialect::Gemini => {
                let status = self.status.as_u16();
                json!({"error": {"code": status, "message": self.message, "status": google_status(status)}})
            }
            Dialect::Compatible => {
                let message = self.compatible_message.unwrap_or(self.message);
                let error = json!({"message": message, "type": self.kind, "param": null, "code": self.compatible});
                json!({"error": error, "request_id": request_id})
            }
        };
        let mut answer = json_answer(&body);
        *answer.status_mut() = self.status;
        answer
    }
}

/// docs.anthropic.com/en/api/errors
fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// google.rpc.Code by its HTTP status.
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

/// 200 with this JSON.
pub(super) fn json_answer(body: &Value) -> Response<Reel> {
    typed("application/json", Reel::whole(body.to_string().into_bytes()))
}

/// 200 with this body under this media type.
pub(super) fn typed(media: &'static str, body: Reel) -> Response<Reel> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}

/// A fresh id in the shape of a UUID.
pub(super) fn request_id() -> String {
    let hex = random_hex::<16>();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `N` random letters and digits, mixed so that no table of digits in a program looks like a part of them.
pub(super) fn random_letters<const N: usize>() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789xy";
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("invariant: a Linux that runs tokio has getrandom(2)");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect()
}

/// `N` random bytes in hexadecimal.
pub(super) fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("invariant: a Linux that runs tokio has getrandom(2)");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
