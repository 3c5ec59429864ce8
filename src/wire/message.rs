//! Requests as they come in, parsed into words. A fault names the place and the fields, and never quotes the text:
//! it may hold a secret in the wrong field.

use crate::{
    model::{KeyName, Kind, Malformed, Object},
    secret::Secret,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// `PUT /v1/keys/NAME`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPut {
    /// The recipe's name.
    pub provider: String,
    /// The long-lived key.
    pub secret: Secret,
    /// See `Place`.
    #[serde(default)]
    pub account: Option<String>,
    /// See `Place`.
    #[serde(default)]
    pub workspace: Option<String>,
    /// See `Place`.
    #[serde(default)]
    pub region: Option<String>,
    /// See `Place`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who pays.
    #[serde(default)]
    pub owner: Option<String>,
    /// Further values, as the recipe names them.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

/// `PUT /v1/decoys/NAME`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoyPut {
    /// The recipe's name.
    pub provider: String,
    /// What it looks like: the provider's own (left out) or a virtual key.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// See `Place`.
    #[serde(default)]
    pub account: Option<String>,
    /// See `Place`.
    #[serde(default)]
    pub workspace: Option<String>,
    /// See `Place`.
    #[serde(default)]
    pub region: Option<String>,
    /// Who would pay.
    #[serde(default)]
    pub owner: Option<String>,
}

/// `POST /v1/keys/NAME/rotate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotate {
    /// The new long-lived key.
    pub secret: Secret,
}

/// `POST /v1/unlock`. Without a passphrase the configured key file or credential is used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// What a person typed.
    #[serde(default)]
    pub passphrase: Option<Secret>,
    /// Whether an older vault file than the last one seen is taken all the same.
    #[serde(default)]
    pub accept_rollback: bool,
}

/// `POST /v1/approvals/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Yes or no.
    pub approve: bool,
}

/// `POST /v1/tickets/redeem`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    /// The ticket.
    pub ticket: Secret,
}

/// `POST /v1/why`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// The key that would be asked for.
    pub key: KeyName,
    /// Selectors of an imagined peer; left out: whoever asks.
    #[serde(default)]
    pub peer: Option<Vec<String>>,
}

/// Parses a body. `fields` are named in the fault, for whoever mistyped one.
pub fn parse<T: DeserializeOwned>(body: &[u8], fields: &str) -> Result<T, Malformed> {
    serde_json::from_slice(body).map(|Object(parsed)| parsed).map_err(|fault| {
        let what = if fault.is_data() { "a field is unknown, missing or of the wrong kind" } else { "it is not JSON" };
        Malformed::new(format!("line {}, column {}: {what}; the fields are {fields}", fault.line(), fault.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Request;

    #[test]
    fn a_fault_never_quotes_what_was_sent() {
        for body in [
            r#"{"key":"dashscope/main","ttl":"sk-SECRET"}"#,
            r#"{"key":"dashscope/main","sk-SECRET":1}"#,
            r#"{"key":"sk-SECRET"}"#,
            r#"{"key":"dashscope/main","ttl":0}"#,
            r#"sk-SECRET"#,
        ] {
            let fault = parse::<Request>(body.as_bytes(), "key, kind, ttl").unwrap_err().to_string();
            assert!(!fault.contains("SECRET") && fault.contains("line 1") && fault.contains("ttl"), "{fault}");
        }
    }

    #[test]
    fn what_serde_would_take_as_well_is_refused() {
        let forms = [r#"["a"]"#, r#"{"key":"a","scope":[["POST"]]}"#, r#"{"key":"a","kind":{"upstream":null}}"#];
        for body in forms {
            assert!(parse::<Request>(body.as_bytes(), "").is_err(), "{body}");
        }
        assert!(parse::<Unlock>(b"[]", "").is_err());
    }

    #[test]
    fn the_documented_request_is_understood() {
        let body = br#"{"key":"dashscope/main","kind":"upstream","ttl":60,"min_remaining":20,"uses":null,"owner":"caller","scope":{"models":["qwen-*"]}}"#;
        let request: Request = parse(body, "").unwrap();
        assert_eq!(request.ttl.unwrap().seconds(), 60);
        assert_eq!(request.uses, None);
    }
}
