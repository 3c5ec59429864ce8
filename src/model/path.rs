//! The path of a call as rules and routes see it: percent-decoded, and with one spelling only. It must never be read
//! otherwise upstream: whatever a provider could take for another path is refused.

use super::Malformed;

/// A path without its query: as it goes out, and as it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPath {
    raw: String,
    plain: String,
}

impl CallPath {
    /// The longest path, in bytes.
    pub const MAX: usize = 4096;

    /// Reads a path as it stands in a request's target, without query.
    ///
    /// # Errors
    /// Not a path, or one that two readers could take for two: dot or empty segments, a backslash, control letters,
    /// broken or doubled percent signs.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        if raw.len() > Self::MAX || !raw.starts_with('/') || !raw.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Malformed::new("a path begins with / and has at most 4096 visible ASCII letters"));
        }
        if raw.contains(['?', '#', '\\', ';']) {
            return Err(Malformed::new("a path has no ? # ; and no backslash"));
        }
        let plain = decoded(raw).ok_or_else(|| Malformed::new("a percent sign is followed by two hex digits"))?;
        if plain.contains(['\\', ';'])
            || plain.chars().any(char::is_control)
            || decoded(&plain).as_ref() != Some(&plain)
        {
            return Err(Malformed::new("a path hides no letters behind percent signs"));
        }
        let inner = plain.strip_suffix('/').unwrap_or(&plain);
        if plain != "/" && inner.split('/').skip(1).any(|word| ["", ".", ".."].contains(&word)) {
            return Err(Malformed::new("a path has no empty segments and no dots for segments"));
        }
        Ok(Self { raw: raw.to_owned(), plain })
    }

    /// As it came, and as it goes out.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// With every percent sign resolved: what rules and routes are compared with.
    pub fn plain(&self) -> &str {
        &self.plain
    }
}

/// Resolves each `%XX`; none when one is broken or the outcome is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_judged_by_what_it_means() {
        let plain = |raw| CallPath::parse(raw).unwrap().plain().to_owned();
        assert_eq!(plain("/v1/chat/completions"), "/v1/chat/completions");
        assert_eq!(plain("/v1/%66iles/a%20b"), "/v1/files/a b");
        assert_eq!(plain("/api/models/x/revision/refs%2Fpr%2F1"), "/api/models/x/revision/refs/pr/1");
        assert_eq!(plain("/v1/models/"), "/v1/models/");
        assert_eq!(plain("/"), "/");
        assert_eq!(CallPath::parse("/a%2fb").unwrap().raw(), "/a%2fb");
    }

    #[test]
    fn what_two_readers_could_take_for_two_is_refused() {
        for raw in [
            "",
            "v1",
            "/v1/../x",
            "/v1/./x",
            "/v1/%2e%2e/x",
            "/v1/.%2E",
            "//v1",
            "/v1//x",
            "/v1/%2f/x",
            "/a\\b",
            "/a%5cb",
            "/a%00",
            "/a%0d%0a",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a%252e",
            "/a b",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a%3bb",
            "/ä",
            "/%ff",
            "/..",
            "/a/..",
            "/a/%2e%2e",
        ] {
            assert!(CallPath::parse(raw).is_err(), "{raw}");
        }
        assert!(CallPath::parse(&"/a".repeat(2049)).is_err());
    }
}
