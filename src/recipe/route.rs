//! Patterns of a provider's paths: which shape a call has, and where its path names a model. It never sees a query.

use crate::model::{Malformed, Pattern, Shape};
use serde::Deserialize;
use std::str::FromStr;

use super::{host::Host, inject::InjectShape};

/// What is special about the paths that fit; the first that fits counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteShape {
    pub(super) path: PathPattern,
    pub(super) shape: Shape,
    /// Where the key stands here, when not in the usual place.
    pub(super) inject: Option<InjectShape>,
    /// Another host of the provider that serves these paths.
    pub(super) host: Option<Host>,
}

/// Segments with `*` in them, one of which may hold `{model}`; `**` for a last one stands for any number.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PathPattern {
    segments: Vec<Segment>,
    open: bool,
}

#[derive(Debug, Clone)]
enum Segment {
    Fits(Pattern),
    Model { before: String, after: String },
}

/// A path that fits, with the model that it names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit<'p> {
    pub(super) model: Option<&'p str>,
}

impl PathPattern {
    /// Whether the whole path fits.
    pub(super) fn fit<'p>(&self, path: &'p str) -> Option<Fit<'p>> {
        let mut words = path.strip_prefix('/')?.split('/');
        let mut model = None;
        for segment in &self.segments {
            let word = words.next()?;
            match segment {
                Segment::Fits(pattern) => pattern.matches(word).then_some(())?,
                Segment::Model { before, after } => {
                    let named = word.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    model = Some(named).filter(|named| !named.is_empty());
                    model?;
                }
            }
        }
        // A trailing slash alone names nothing else.
        let rest = words.next();
        (self.open || matches!(rest, None | Some("")) && words.next().is_none()).then_some(Fit { model })
    }
}

impl TryFrom<String> for PathPattern {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let fault = || Malformed("a path begins with /, has one {model} at most, and ** at its end only".into());
        let inner = text.strip_prefix('/').ok_or_else(fault)?;
        let open = inner == "**" || inner.ends_with("/**");
        let inner = inner.strip_suffix("**").unwrap_or(inner);
        let inner = if open { inner.strip_suffix('/').unwrap_or(inner) } else { inner };
        if inner.contains("**") || text.ends_with("**") != open || inner.matches("{model}").count() > 1 {
            return Err(fault());
        }
        let words = if inner.is_empty() { Vec::new() } else { inner.split('/').collect() };
        let segments = words.into_iter().map(Segment::from_str).collect::<Result<_, _>>()?;
        Ok(Self { segments, open })
    }
}

impl FromStr for Segment {
    type Err = Malformed;

    fn from_str(word: &str) -> Result<Self, Malformed> {
        let Some((before, after)) = word.split_once("{model}") else {
            if word.contains(['{', '}']) {
                return Err(Malformed("in a path only {model} stands in braces".into()));
            }
            return word.parse().map(Self::Fits);
        };
        if word.contains('*') {
            return Err(Malformed("a segment has either {model} or stars".into()));
        }
        Ok(Self::Model { before: before.to_owned(), after: after.to_owned() })
    }
}

/// A method, or `*`, and a pattern of paths: `DELETE **`. Paths are compared without regard to case, since some
/// providers do so, and nobody may get past a rule by a capital.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CallPattern {
    method: Option<String>,
    path: Pattern,
}

impl CallPattern {
    /// Whether a call fits; `path` in small letters.
    pub(super) fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(method)) && self.path.matches(path)
    }
}

impl TryFrom<String> for CallPattern {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let fault =
            || Malformed("risky and refused calls are written DELETE /v1/files/**, paths in small letters".into());
        let (method, path) = text.split_once(' ').ok_or_else(fault)?;
        let capitals = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        let begins = path.starts_with('/') || path == "**";
        if !(capitals || method == "*") || !begins || path.chars().any(char::is_uppercase) {
            return Err(fault());
        }
        Ok(Self { method: capitals.then(|| method.to_owned()), path: path.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
        PathPattern::try_from(pattern.to_owned()).unwrap().fit(path).map(|fit| fit.model)
    }

    #[test]
    fn a_path_names_its_model() {
        let gemini = "/v1*/models/{model}:generateContent";
        assert_eq!(model(gemini, "/v1beta/models/gemini-3-pro:generateContent"), Some(Some("gemini-3-pro")));
        assert_eq!(model(gemini, "/v1/models/a:b:generateContent"), Some(Some("a:b")));
        for other in [
            "/v1beta/models/:generateContent",
            "/v1beta/models/a",
            "/v1beta/models/a/b:generateContent",
            "/models/a:generateContent",
            "/v1beta/models/a:generateContent/x",
        ] {
            assert_eq!(model(gemini, other), None, "{other}");
        }
    }

    #[test]
    fn stars_stay_within_a_segment_and_two_reach_to_the_end() {
        assert_eq!(model("/v1/*", "/v1/models"), Some(None));
        assert_eq!(model("/v1/*", "/v1/models/"), Some(None), "a slash at the end names nothing else");
        assert_eq!(model("/v1/*", "/v1/models/x"), None);
        assert_eq!(model("/v1/**", "/v1/models/x"), Some(None));
        assert_eq!(model("/v1/**", "/v2/x"), None);
        assert_eq!(model("/**", "/"), Some(None));
        for bad in ["v1", "/**/v1", "/v1**", "/{model}/{model}", "/{x}", "/{model}*", "/v1//x"] {
            assert!(PathPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_capital_gets_past_nothing() {
        let risky = |pattern: &str| CallPattern::try_from(pattern.to_owned()).unwrap();
        assert!(risky("DELETE **").fits("DELETE", "/any/thing") && !risky("DELETE **").fits("GET", "/x"));
        assert!(risky("DELETE **").fits("delete", "/x"), "a method in small letters is no other one to be sure");
        assert!(risky("* /v1/files**").fits("POST", "/v1/files") && risky("* /v1/files**").fits("GET", "/v1/files/x"));
        for bad in ["DELETE", "delete **", "* v1", "GET /V1", " /v1", "GET  /v1"] {
            assert!(CallPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
