//! What a daemon said: yes with a body, or no with a problem. It must never show a body: there may be a token in it.

use serde::Deserialize;
use zeroize::Zeroizing;

/// What came back: the status and the body, which is wiped on drop since it may hold a token.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// JSON, as it was sent.
    pub body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The body of a yes, or the problem that the answer is.
    ///
    /// # Errors
    /// The [`Problem`] of an answer that is not 2xx.
    pub fn accepted(self) -> Result<Zeroizing<Vec<u8>>, Box<Problem>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(Box::new(Problem::read(self.status, &self.body)))
    }
}

/// A refusal as it stands on the wire: `application/problem+json`, RFC 9457. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// `denied`, `locked`, `busy`, …: `contract.md`'s closed set, kept open for newer daemons.
    pub code: String,
    /// One sentence, the same for every refusal of the code.
    pub title: String,
    /// `never`, `later` or `after_unlock`.
    pub retry: String,
    /// Which request it answers: look for it in the audit.
    pub request_id: String,
    /// What the provider's no means for the key: `bad_secret`, `billing`, `denied`, `throttled`, `transient`, …
    pub class: Option<String>,
    /// What was wrong with the caller's own words.
    pub detail: Option<String>,
    /// Seconds to wait.
    pub retry_after: Option<u32>,
}

impl Problem {
    fn read(status: u16, body: &[u8]) -> Self {
        let told: Self = serde_json::from_slice(body).unwrap_or_default();
        let title = if told.title.is_empty() { format!("HTTP {status} without a reason") } else { told.title };
        Self { status, title, ..told }
    }
}
