//! What changes from run to run and from machine to machine, masked by its shape.
//! It must never mask what a person goes by: words, states, codes.

/// What of a command's words is volatile, beside ids, hashes, tokens and times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Volatile {
    /// Not a letter: help and manual.
    Nothing,
    /// Names alone: what is said of a mistake.
    Names,
    /// Spans of time too.
    Spans,
    /// Every number too.
    Numbers,
}

impl Volatile {
    /// By the command and its exit code.
    pub fn of(words: &str, code: i32) -> Self {
        let is = |commands: &[&str]| commands.iter().any(|command| words.starts_with(command));
        match code {
            _ if words.is_empty() || words.ends_with("--help") || is(&["manual"]) => Self::Nothing,
            0 if is(&["status", "leases", "key test", "whoami", "why"]) => Self::Numbers,
            0 => Self::Spans,
            _ => Self::Names,
        }
    }
}

/// Numbers behind these are volatile wherever they stand.
const BEFORE_NUMBERS: [&str; 10] = [
    "micros=",
    "micros\":",
    "uid=",
    "uid\":",
    "gid\":",
    "pid\":",
    "expires_in\":",
    "expires_at=",
    "again in ",
    "records\":",
];

/// A text with everything volatile masked. Columns are as wide as what was in them, so wide gaps are made narrow.
pub fn text(text: &str, volatile: Volatile) -> String {
    // Facts that only some machines have.
    let everywhere = |line: &&str| !["cgroup:", "unit:"].iter().any(|fact| line.trim_start().starts_with(fact));
    text.lines().filter(everywhere).map(|line| narrow(&numbers(&words(line, volatile))) + "\n").collect()
}

fn words(line: &str, volatile: Volatile) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let bare = word.trim_matches([':', '.']);
        out.push_str(&masked(bare, volatile).map_or(word.to_owned(), |mask| word.replacen(bare, &mask, 1)));
        let gap = rest[end..].find(is_word).map_or(rest.len(), |gap| end + gap);
        out.push_str(&rest[end..gap]);
        rest = &rest[gap..];
    }
    out
}

fn masked(word: &str, volatile: Volatile) -> Option<String> {
    let kinds = ["ls_", "st-", "sixty_"];
    if let Some(kind) = kinds.iter().find(|kind| word.strip_prefix(**kind).is_some_and(|rest| rest.len() >= 16)) {
        return Some(format!("{kind}…"));
    }
    if let Some((fact, value)) = word.split_once(':') {
        // 4242 is a user that only a question has.
        let number = ["uid", "gid", "pid_ns"].contains(&fact) && is_number(value) && value != "4242";
        return match number {
            true => Some(format!("{fact}:N")),
            false if is_hex(value, 64) => Some(format!("{fact}:HASH")),
            false => is_time(word).then(|| "TIME".to_owned()),
        };
    }
    let mask = match word {
        "memfd_secret" | "shield" => "PROTECTION",
        "SO_PEERPIDFD" | "procfs" => "METHOD",
        _ if is_hex(word, 16) => "ID",
        _ if is_hex(word, 64) => "HASH",
        "4242" => return None,
        _ if is_number(word) && (volatile == Volatile::Numbers || word.len() >= 5) => "N",
        _ if is_span(word) && matches!(volatile, Volatile::Spans | Volatile::Numbers) => "SPAN",
        _ => return None,
    };
    Some(mask.to_owned())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_hex(word: &str, length: usize) -> bool {
    word.len() == length && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_time(word: &str) -> bool {
    word.len() >= 20 && word.ends_with('Z') && is_number(&word[..4]) && word.contains('T')
}

fn is_span(word: &str) -> bool {
    word.strip_suffix(['s', 'm']).is_some_and(is_number)
}

fn numbers(line: &str) -> String {
    BEFORE_NUMBERS.iter().fold(line.to_owned(), |line, before| {
        let mut parts = line.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let mask = if rest.len() < part.len() { "N" } else { "" };
            format!("{all}{before}{mask}{rest}")
        })
    })
}

fn narrow(line: &str) -> String {
    let (indent, mut text) = line.split_at(line.len() - line.trim_start().len());
    text = text.trim_end();
    let mut text = text.to_owned();
    while text.contains("   ") {
        text = text.replace("   ", "  ");
    }
    indent.to_owned() + &text
}
