//! Texts that people see, compared with files in `tests/cli/`; what changes from run to run is masked by its shape.
//! `UPDATE_SNAPSHOTS=1` writes the files anew.

use crate::{
    harness::World,
    mask::{self, Volatile},
};
use serde_json::Value;
use std::path::PathBuf;

/// Commands run one after the other in one world, and what they said.
pub struct Tale<'a> {
    world: &'a World,
    /// Whether commands are told where the world's daemon listens, or find one by themselves.
    told_sockets: bool,
    text: String,
}

impl<'a> Tale<'a> {
    pub fn of(world: &'a World) -> Self {
        Self { world, told_sockets: true, text: String::new() }
    }

    /// The same for a home directory, where commands find the sockets by themselves.
    pub fn at_home(world: &'a World) -> Self {
        Self { told_sockets: false, ..Self::of(world) }
    }

    /// Runs a command without stdin, and gives what it said.
    pub fn run(&mut self, words: &str) -> String {
        self.told(words, None)
    }

    /// Runs a command with something on stdin; that is not told.
    pub fn run_with(&mut self, words: &str, input: &str) -> String {
        self.told(words, Some(input))
    }

    fn told(&mut self, words: &str, input: Option<&str>) -> String {
        let here = words.replace("STUDIO", &self.world.studio.url()).replace("DIRECTORY", &self.directory());
        let arguments: Vec<_> = here.split(' ').filter(|word| !word.is_empty()).collect();
        let mut command = self.world.command(&arguments);
        if !self.told_sockets {
            command.env_remove("SIXTY_SOCKET").env_remove("SIXTY_CONTROL_SOCKET");
        }
        let output = crate::harness::fed(command, input.unwrap_or_default());
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let piped = if input.is_some() { "printf … | " } else { "" };
        let said = format!("{}{}", section("stdout", &out), section("stderr", &err));
        let told = self.masked(words, output.status.code().unwrap_or(-1), &said);
        self.text.push_str(&format!("$ {piped}sixty {words}\n{told}exit {code}\n\n"));
        format!("{said}exit {code}\n")
    }

    /// Compares with the file of this name.
    pub fn check(self, name: &str) {
        compare(name, &self.text);
    }

    /// The same, with further words put in the place of others.
    pub fn check_words(mut self, name: &str, words: &[(&str, &str)]) {
        words.iter().for_each(|(from, to)| self.text = self.text.replace(from, to));
        compare(name, &self.text);
    }

    fn directory(&self) -> String {
        self.world.directory.path().display().to_string()
    }

    fn masked(&self, words: &str, code: i32, text: &str) -> String {
        let known = [
            (self.world.studio.url(), "STUDIO"),
            (self.directory(), "DIRECTORY"),
            (crate::harness::program().display().to_string(), "SIXTY"),
            (env!("CARGO_PKG_VERSION").to_owned(), "VERSION"),
        ];
        let text = known.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        match Volatile::of(words, code) {
            Volatile::Nothing => text,
            volatile => mask::text(&text, volatile),
        }
    }
}

/// Compares with the file of this name, or writes it.
pub fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    if want != text {
        let (line, (was, is)) = want
            .lines()
            .chain(std::iter::repeat(""))
            .zip(text.lines().chain(["(end)"]))
            .enumerate()
            .find(|(_, (was, is))| was != is)
            .unwrap();
        panic!(
            "tests/cli/{name}.txt, line {}:\n  was: {was}\n  is:  {is}\nUPDATE_SNAPSHOTS=1 takes the new text; the whole:\n{text}",
            line + 1
        );
    }
}

/// A JSON value with types in the place of its values.
pub fn shape(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth + 1);
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => items.first().map_or("[]".to_owned(), |item| format!("[{}]", shape(item, depth))),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let lines = members.iter().map(|(name, value)| format!("{pad}{name}: {}\n", shape(value, depth + 1)));
            format!("{{\n{}{}}}", lines.collect::<String>(), "  ".repeat(depth))
        }
    }
}

fn section(name: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("--- {name}\n{}\n", text.trim_end()) }
}
