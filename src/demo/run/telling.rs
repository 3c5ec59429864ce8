//! How the story is told: two lines a step for people, or one JSON object for programs.
//! It must never say that all held when a step did not.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::Ending;
use super::stage::{KEY, Stage};
use super::step::{Record, StepError};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// People: each step as soon as it is over.
    Lines,
    /// Programs: one object at the end, or before the broker stays.
    Json,
}

/// What was told so far.
pub(super) struct Telling {
    form: Form,
    marks: [&'static str; 3],
    printed: bool,
    steps: Vec<Record>,
}

#[derive(Serialize)]
struct Whole<'a> {
    steps: &'a [Record],
    ok: bool,
}

impl Telling {
    pub(super) fn new(form: Form) -> Self {
        let marks = if io::stdout().is_terminal() { ["✓", "✗", "–"] } else { ["ok", "FAILED", "--"] };
        Self { form, marks, printed: false, steps: Vec::new() }
    }

    /// That there is no stage to play on.
    pub(super) fn nothing(&self, fault: &StepError) -> ExitCode {
        let _ = writeln!(io::stderr(), "sixty: the demo cannot begin: {fault}");
        ExitCode::FAILURE
    }

    pub(super) fn begin(&self) -> io::Result<()> {
        self.say(format_args!(
            "The life of a key: a pretend provider, a real broker, a made-up key. Nothing leaves this machine."
        ))
    }

    pub(super) fn step(&mut self, record: Record) -> io::Result<()> {
        let Record { name, proves, ok, micros, detail } = &record;
        let (mark, style) = match ok {
            Some(true) => (self.marks[0], GOOD),
            Some(false) => (self.marks[1], BAD),
            None => (self.marks[2], DIM),
        };
        let detail = detail.replace('\n', "\n    ");
        let millis = micros.div_ceil(1000);
        let told =
            self.say(format_args!("{style}{mark}{style:#} {name}: {proves} {DIM}({millis} ms){DIM:#}\n    {detail}"));
        self.steps.push(record);
        told
    }

    /// How to talk to a broker that stays. A program gets its object now, since there is no later.
    pub(super) fn stay(&mut self, stage: &Stage) -> io::Result<()> {
        self.object(self.steps.len())?;
        let mut out = anstream::stderr().lock();
        writeln!(out, "\nIt stays until Ctrl-C. In another terminal:")?;
        hints(stage).iter().try_for_each(|hint| writeln!(out, "  {hint}"))
    }

    /// The sum. Steps that are missing of those that were `due` did not hold.
    pub(super) fn end(&mut self, due: usize) -> io::Result<Ending> {
        let count = |ok| self.steps.iter().filter(|record| record.ok == ok).count();
        let (held, untried) = (count(Some(true)), count(None));
        self.object(due)?;
        if held + untried != due {
            let failed = due - held - untried;
            self.say(format_args!("{BAD}{failed} of {due} steps did not hold, or were not reached.{BAD:#}"))?;
            return Ok(Ending::Failed);
        }
        let untried = if untried == 0 { String::new() } else { format!(", {untried} not tried") };
        self.say(format_args!("{GOOD}All of it held:{GOOD:#} {held} steps{untried}."))?;
        Ok(Ending::Held)
    }

    /// The one object, once.
    fn object(&mut self, due: usize) -> io::Result<()> {
        if self.form == Form::Lines || std::mem::replace(&mut self.printed, true) {
            return Ok(());
        }
        let ok = self.steps.len() == due && self.steps.iter().all(|record| record.ok != Some(false));
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &Whole { steps: &self.steps, ok })?;
        writeln!(out)
    }

    fn say(&self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        if self.form == Form::Json {
            return Ok(());
        }
        writeln!(anstream::stdout().lock(), "{line}")
    }
}

/// Commands that work while it stays.
fn hints(stage: &Stage) -> [String; 6] {
    let path = |name: &str| shell_word(&stage.file(name).to_string_lossy());
    let program = std::env::current_exe().unwrap_or_else(|_| "sixty".into());
    let program = shell_word(&program.to_string_lossy());
    let url = stage.studio().url();
    [
        format!("export SIXTY_SOCKET={} SIXTY_CONTROL_SOCKET={}", path("broker.sock"), path("control.sock")),
        format!("export SIXTY_CONFIG={}", path("sixty.toml")),
        format!("{program} mint {KEY}"),
        format!("{program} status; {program} audit verify"),
        format!("curl --unix-socket {} http://sixty/v1/leases -d '{{\"key\":\"{KEY}\"}}'", path("broker.sock")),
        format!(
            "curl --cacert {} -H \"Authorization: Bearer $({program} mint {KEY})\" {url}/compatible-mode/v1/models",
            path("ca.pem")
        ),
    ]
}

/// As it is where a shell takes it so, else in single quotes (sh(1p), 2.2.2).
fn shell_word(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_blank_or_a_quote_is_still_one_word() {
        assert_eq!(shell_word("/run/user/1000/a_b"), "/run/user/1000/a_b");
        assert_eq!(shell_word("/my tmp/it's"), r"'/my tmp/it'\''s'");
    }

    #[test]
    fn a_step_that_failed_or_was_never_reached_makes_the_whole_fail() {
        let record = |ok| Record { name: "x", proves: "y", ok, micros: 1, detail: String::new() };
        let ending = |all: &[Option<bool>]| {
            let mut telling = Telling::new(Form::Json);
            telling.printed = true;
            telling.steps = all.iter().map(|&ok| record(ok)).collect();
            telling.end(3).unwrap()
        };
        assert!(matches!(ending(&[Some(true), None, Some(true)]), Ending::Held));
        assert!(matches!(ending(&[Some(true), Some(false), None]), Ending::Failed));
        assert!(matches!(ending(&[Some(true), Some(true)]), Ending::Failed), "one is missing");
    }
}
