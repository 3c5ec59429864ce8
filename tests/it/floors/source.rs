//! Rust source as bare words: comments, strings and test code taken away, each word with its line.
//! It must never lose a word of code: what it does not see, the floors do not hold.

/// A word or a sign, and the line it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// The code of a file, without what is compiled for tests alone.
pub(super) struct Code<'a> {
    /// Its words.
    pub(super) words: Vec<Word<'a>>,
    /// Modules in files of their own that are for tests alone.
    pub(super) test_modules: Vec<&'a str>,
    /// Lines, without those of test items.
    pub(super) lines: usize,
}

/// Every word of a file.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let rest = &text[at..];
        let (len, counts) = piece(rest);
        if counts {
            found.push(Word { text: &rest[..len], line });
        }
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

/// Takes away each item under `#[cfg(test)]`.
pub(super) fn without_tests(text: &str) -> Code<'_> {
    let all = words(text);
    let mut code = Code { words: Vec::new(), test_modules: Vec::new(), lines: text.lines().count() };
    let mut at = 0;
    while at < all.len() {
        let Some(item) = test_item(&all[at..]) else {
            code.words.push(all[at]);
            at += 1;
            continue;
        };
        let item = &all[at..at + item];
        code.lines -= item[item.len() - 1].line - item[0].line + 1;
        if let [.., Word { text: "mod", .. }, name, Word { text: ";", .. }] = item {
            code.test_modules.push(name.text);
        }
        at += item.len();
    }
    code
}

/// Length in bytes of the piece that `text` begins with, and whether it is a word of code.
fn piece(text: &str) -> (usize, bool) {
    let first = text.chars().next().expect("invariant: the caller has text left");
    let same = |test: fn(char) -> bool| text.find(|c| !test(c)).unwrap_or(text.len());
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), false);
    }
    if text.starts_with("/*") {
        return (comment(text), false);
    }
    if let Some(len) = string(text) {
        return (len, false);
    }
    match first {
        _ if first.is_whitespace() => (same(char::is_whitespace), false),
        _ if text.starts_with("r#") => (2 + text[2..].find(|c| !in_word(c)).unwrap_or(text.len() - 2), true),
        _ if in_word(first) => (same(in_word), true),
        '\'' => (letter(text), false),
        _ if text.starts_with("::") => (2, true),
        _ => (first.len_utf8(), true),
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A block comment; they nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// A string literal of any kind: plain, byte, C, raw.
fn string(text: &str) -> Option<usize> {
    let bare = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - bare.len();
    let raw = bare.strip_prefix('r');
    let hashes = raw.map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
    let open = prefix + usize::from(raw.is_some()) + hashes;
    if prefix > 1 || !text[open..].starts_with('"') {
        return None;
    }
    let body = &text[open + 1..];
    let len = match raw {
        Some(_) => body.find(&format!("\"{}", "#".repeat(hashes))).map(|end| end + 1 + hashes),
        None => closing(body, b'"'),
    };
    Some(open + 1 + len.unwrap_or(body.len()))
}

/// A character, or the apostrophe of a lifetime.
fn letter(text: &str) -> usize {
    let mut letters = text[1..].chars();
    let (first, second) = (letters.next(), letters.next());
    match first {
        Some('\\') => 1 + closing(&text[1..], b'\'').unwrap_or(0),
        Some(c) if second == Some('\'') => 2 + c.len_utf8(),
        _ => 1,
    }
}

/// Bytes up to and with the closing sign; a backslash takes the next byte with it.
fn closing(body: &str, sign: u8) -> Option<usize> {
    let mut bytes = body.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            _ if byte == sign => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// How many words the test item takes that stands here, with its attributes; none when it is no test item.
fn test_item(words: &[Word<'_>]) -> Option<usize> {
    let mut at = 0;
    let mut for_tests = false;
    while let [Word { text: "#", .. }, Word { text: "[", .. }, ..] = &words[at..] {
        let len = balanced(&words[at + 1..]);
        for_tests |= is_cfg_test(&words[at + 2..at + len]);
        at += 1 + len;
    }
    for_tests.then(|| at + item(&words[at..]))
}

/// `cfg(test)` or `cfg(all(test, …))`; `any` would be compiled into the program too.
fn is_cfg_test(attribute: &[Word<'_>]) -> bool {
    let mut texts = attribute.iter().map(|word| word.text);
    let start: Vec<_> = texts.by_ref().take(4).collect();
    match start.as_slice() {
        ["cfg", "(", "test", ")"] => true,
        ["cfg", "(", "all", "("] => texts.next() == Some("test"),
        _ => false,
    }
}

/// Words up to the end of an item: its `;` or its block; a field or an arm ends with its comma.
fn item(words: &[Word<'_>]) -> usize {
    const ITEMS: [&str; 12] =
        ["pub", "mod", "use", "fn", "const", "static", "struct", "enum", "impl", "trait", "type", "async"];
    let whole = words.first().is_some_and(|word| ITEMS.contains(&word.text));
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.text {
            "{" => return at + balanced(&words[at..]),
            "(" | "[" => at += balanced(&words[at..]),
            ";" => return at + 1,
            "," if !whole => return at + 1,
            "}" | ")" | "]" => return at,
            _ => at += 1,
        }
    }
    words.len()
}

/// Words from an opening bracket to its closing one, both counted.
fn balanced(words: &[Word<'_>]) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    words.len()
}
