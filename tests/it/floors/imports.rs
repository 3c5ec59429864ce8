//! Which modules of the crate a file names: its `use` trees and every path that begins with `crate` or `super`.
//! It must never take a path for an import of another crate's when it begins at our root.

use super::source::Word;

/// A path from the root of the crate, as far as it was written, and the line it stands on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) line: usize,
}

/// All imports of a module's words; `module` is its own path from the root.
pub(super) fn imports<'a>(module: &[&'a str], words: &[Word<'a>]) -> Vec<Import<'a>> {
    let mut reader = Reader { words, at: 0, module: module.to_vec(), open: Vec::new(), depth: 0, found: Vec::new() };
    while let Some(word) = reader.next() {
        reader.read(word);
    }
    reader.found
}

struct Reader<'w, 'a> {
    words: &'w [Word<'a>],
    at: usize,
    module: Vec<&'a str>,
    /// The depth at which each module in braces began.
    open: Vec<usize>,
    depth: usize,
    found: Vec<Import<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.words.get(self.at + ahead).map_or("", |word| word.text)
    }

    fn read(&mut self, word: Word<'a>) {
        match word.text {
            "use" => self.tree(&[], word.line),
            "crate" | "super" if self.peek(0) == "::" => self.plain(word),
            "mod" if self.peek(1) == "{" => {
                self.module.push(self.peek(0));
                self.open.push(self.depth);
                self.at += 1;
            }
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.open.pop_if(|depth| *depth == self.depth).is_some() {
                    self.module.pop();
                }
            }
            _ => {}
        }
    }

    /// One branch of a `use` tree, and the branches that grow from it.
    fn tree(&mut self, stem: &[&'a str], line: usize) {
        let mut path = stem.to_vec();
        while let Some(word) = self.next() {
            match word.text {
                // `use ::name`: another crate's.
                "::" => {
                    path.push("");
                    continue;
                }
                "{" => return self.branches(&path),
                text => path.push(text),
            }
            if self.peek(0) != "::" {
                break;
            }
            self.at += 1;
        }
        if self.peek(0) == "as" {
            self.at += 2;
        }
        self.keep(path, line);
    }

    fn branches(&mut self, stem: &[&'a str]) {
        while !matches!(self.peek(0), "}" | "") {
            let line = self.words[self.at].line;
            self.tree(stem, line);
            if self.peek(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// A path in the middle of code, or of a macro.
    fn plain(&mut self, first: Word<'a>) {
        let mut path = vec![first.text];
        while self.peek(0) == "::" && self.peek(1).starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            path.push(self.peek(1));
            self.at += 2;
        }
        self.keep(path, first.line);
    }

    fn keep(&mut self, path: Vec<&'a str>, line: usize) {
        let ours = matches!(path.first(), Some(&("crate" | "super" | "self")));
        if !ours {
            return;
        }
        let mut from_root = if path[0] == "crate" { Vec::new() } else { self.module.clone() };
        for part in path {
            match part {
                "crate" | "self" | "*" => {}
                "super" => drop(from_root.pop()),
                name => from_root.push(name),
            }
        }
        self.found.push(Import { path: from_root, line });
    }
}
