//! Stars in place of what may be a secret that somebody put into a config, or a key file given as one.
//! It must never change the length of a text: places in it are kept.

const WORDS: [&str; 7] = ["secret", "token", "password", "passphrase", "api_key", "apikey", "unlock"];
const PREFIXES: [&str; 7] = ["sk-", "sk_", "st-", "sixty_", "AKIA", "AIza", "ghp_"];

/// Whether a field of this name is meant to hold a secret, which no config does.
pub(super) fn names_a_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    WORDS.iter().any(|word| field.contains(word))
}

/// The text with stars for whatever looks like a key, and for the value of any field that names a secret.
pub(super) fn masked(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for part in line.split_inclusive(|c: char| !in_a_key(c)) {
        let word = part.trim_end_matches(|c: char| !in_a_key(c));
        match looks_like_a_key(word) {
            true => out.extend(word.char_indices().map(|(at, letter)| if at < 3 { letter } else { '*' })),
            false => out.push_str(word),
        }
        out.push_str(&part[word.len()..]);
    }
    match secret_value(&out) {
        Some(from) => {
            let stars: String = out[from..].chars().flat_map(starred).collect();
            out.truncate(from);
            out + &stars
        }
        None => out,
    }
}

/// As many stars as bytes, so that places stay; blanks, quotes and brackets are no secret.
fn starred(letter: char) -> impl Iterator<Item = char> {
    let shown = letter.is_ascii_whitespace() || "\"'{}[]".contains(letter);
    std::iter::repeat_n(if shown { letter } else { '*' }, letter.len_utf8())
}

fn in_a_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'
}

fn looks_like_a_key(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let known = word.len() >= 12 && PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    known || (word.len() >= 20 && digits >= 3)
}

fn secret_value(line: &str) -> Option<usize> {
    line.match_indices('=').find_map(|(at, _)| {
        let field = line[..at].trim_end_matches(|c: char| !in_a_key(c)).rsplit(|c: char| !in_a_key(c)).next()?;
        let from = at + 1;
        // A budget's tokens are counted.
        let counts = field == "tokens" && line[from..].trim_start().starts_with(|c: char| c.is_ascii_digit());
        (names_a_secret(field) && !counts && !names_its_place(&line[from..])).then_some(from)
    })
}

/// `unlock = "file:…"` says where the secret is, and not what.
fn names_its_place(value: &str) -> bool {
    let text = value.trim_start().trim_start_matches(['"', '\'']);
    text.starts_with("file:") || text.starts_with("credential:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_config_is_not_shown() {
        assert_eq!(masked("key = \"sk-0123456789abcdef\""), "key = \"sk-****************\"");
        assert_eq!(masked("passphrase = \"hünter 2\""), "passphrase = \"******* *\"");
        assert_eq!(masked("vault = { passphrase = 'x1' }"), "vault = { passphrase = '**' }");
        assert_eq!(masked("\"my secret\" = 'x1'"), "\"my secret\" = '**'");
        assert!(!masked("aB3dE6gH9jK2mN5pQ8sT1vW4").contains("jK2"));
    }

    #[test]
    fn an_ordinary_line_is_left_as_it_is() {
        for line in ["workspaces_per_account = 10", "exe = \"/usr/lib/x86_64-linux-gnu/x\"", "keys = [\"a/é*\"]", ""] {
            assert_eq!(masked(line), line);
        }
    }
}
