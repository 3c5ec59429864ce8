//! A provider's answer → a token, or what its error means for us. Never keeps or quotes the answer's text.

use super::Mint;
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::Value;

/// A token as the provider gave it.
pub struct Minted {
    /// The secret.
    pub token: Secret,
    /// Unix seconds, by the provider's clock; not yet compared with ours.
    pub expires_at: u64,
}

/// What a provider's error means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The key is not (or no more) good: it is quarantined.
    BadSecret,
    /// The owner must pay or raise a limit: not to be retried, not even as a 429.
    Billing,
    /// The key is good but may not.
    Denied,
    /// Too often: back off.
    Throttled,
    /// The provider's fault, perhaps gone soon.
    Transient,
    /// Our request was wrong.
    BadRequest,
    /// The answer keeps no contract that we know.
    Broken,
}

/// A provider's no. The code is kept only when it is one that the recipe knows, so that nothing unknown is logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider answered {status}{}", .code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
pub struct Rejected {
    /// What it means.
    pub class: Class,
    /// HTTP status.
    pub status: u16,
    /// The provider's code.
    pub code: Option<String>,
}

impl Class {
    /// As it stands in JSON and in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Class::BadSecret => "bad_secret",
            Class::Billing => "billing",
            Class::Denied => "denied",
            Class::Throttled => "throttled",
            Class::Transient => "transient",
            Class::BadRequest => "bad_request",
            Class::Broken => "broken",
        }
    }
}

impl Mint {
    /// Reads the answer to a mint. A `code` in the body is an error even with status 200.
    pub fn read(&self, status: u16, body: &[u8]) -> Result<Minted, Rejected> {
        let broken = || Rejected { class: Class::Broken, status, code: None };
        let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let code = answer.pointer(&self.response.code).and_then(Value::as_str).filter(|code| !code.is_empty());
        if status != 200 || code.is_some() {
            return Err(self.classify(status, code));
        }
        let token = answer.pointer(&self.response.token).and_then(Value::as_str).ok_or_else(broken)?;
        let expires_at = answer.pointer(&self.response.expires_at).and_then(Value::as_u64).filter(|at| *at > 0);
        let fits = token.starts_with(&self.response.token_prefix) && fits_a_header(token.as_bytes());
        match expires_at {
            Some(expires_at) if fits => Ok(Minted { token: Secret::copied(token.as_bytes()), expires_at }),
            _ => Err(broken()),
        }
    }

    fn classify(&self, status: u16, code: Option<&str>) -> Rejected {
        let listed = code.and_then(|code| {
            let class = self.errors.iter().find(|(_, codes)| codes.iter().any(|known| known == code))?.0;
            Some((*class, code.to_owned()))
        });
        match listed {
            Some((class, code)) => Rejected { class, status, code: Some(code) },
            None => Rejected { class: by_status(status), status, code: None },
        }
    }
}

/// A 429 whose code we do not know may be about money: it is not retried. A redirect is no answer.
pub(super) fn by_status(status: u16) -> Class {
    match status {
        401 => Class::BadSecret,
        402 => Class::Billing,
        403 => Class::Denied,
        429 => Class::Billing,
        400..=499 => Class::BadRequest,
        500..=599 => Class::Transient,
        _ => Class::Broken,
    }
}

/// Visible ASCII without quote and backslash: safe in a header, in JSON and in an environment. 16 bytes at least, since
/// a placeholder of fewer could turn up by chance; 4096 at most.
pub(super) fn fits_a_header(bytes: &[u8]) -> bool {
    (16..=4096).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(b))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::dashscope, *};

    fn class(status: u16, body: &str) -> Class {
        dashscope().minting().unwrap().read(status, body.as_bytes()).err().unwrap().class
    }

    #[test]
    fn a_good_answer_gives_its_token() {
        let minted = dashscope()
            .minting()
            .unwrap()
            .read(200, br#"{"token":"st-0123456789abcdef","expires_at":1744080369}"#)
            .ok()
            .unwrap();
        assert_eq!(minted.expires_at, 1_744_080_369);
        assert!(minted.token.expose(|token| token == b"st-0123456789abcdef"));
    }

    #[test]
    fn a_code_is_an_error_even_with_200() {
        assert_eq!(
            class(200, r#"{"code":"InvalidApiKey","token":"st-0123456789abcdef","expires_at":1}"#),
            Class::BadSecret
        );
        assert_eq!(
            class(200, r#"{"code":"SomethingNew","token":"st-0123456789abcdef","expires_at":1}"#),
            Class::Broken
        );
    }

    #[test]
    fn a_429_about_money_is_not_throttling() {
        assert_eq!(class(429, r#"{"code":"PrepaidBillOverdue"}"#), Class::Billing);
        assert_eq!(class(429, r#"{"code":"Throttling.RateQuota"}"#), Class::Throttled);
        assert_eq!(class(429, r#"{"code":"Unheard"}"#), Class::Billing);
        assert_eq!(class(400, r#"{"code":"Arrearage"}"#), Class::Billing);
    }

    #[test]
    fn no_expiry_is_an_error_and_never_for_ever() {
        for body in [
            r#"{"token":"st-0123456789abcdef"}"#,
            r#"{"token":"st-0123456789abcdef","expires_at":0}"#,
            r#"{"token":"st-0123456789abcdef","expires_at":-5}"#,
            r#"{"token":"st-0123456789abcdef","expires_at":"1744080369"}"#,
            r#"{"token":"sk-0123456789abcdef","expires_at":1744080369}"#,
            r#"{"token":"st-0123456789ab\r\ncdef","expires_at":1744080369}"#,
            r#"{"token":"st-","expires_at":1744080369}"#,
            "",
            "[]",
            "<html>",
        ] {
            assert_eq!(class(200, body), Class::Broken, "{body}");
        }
    }

    #[test]
    fn a_redirect_is_no_answer() {
        assert_eq!(class(302, ""), Class::Broken);
        assert_eq!(class(503, "busy"), Class::Transient);
        assert_eq!(class(401, ""), Class::BadSecret);
        assert_eq!(class(402, ""), Class::Billing);
    }

    #[test]
    fn an_unknown_code_is_not_repeated() {
        let told = dashscope().minting().unwrap().read(400, br#"{"code":"sk-echoed-secret"}"#).err().unwrap();
        assert!(!told.to_string().contains("echoed"));
    }
}
