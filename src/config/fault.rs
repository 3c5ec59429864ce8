//! What is wrong with a config, for people and for programs. It never repeats what may be a secret.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::{fmt, ops::Range};

/// Everything that was found, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

/// One thing that is wrong, or that does not do what it seems to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whether the config is refused for it.
    pub severity: Severity,
    /// The file as it was named.
    pub file: String,
    /// Where in it; none when it is about the whole file.
    #[serde(flatten)]
    pub place: Option<Spot>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// Whether a config with this fault is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is.
    Error,
    /// It is not, but somebody should look.
    Warning,
}

/// A place in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, with what may be a secret starred out.
    #[serde(skip)]
    pub(super) excerpt: String,
    /// What is underlined of it, in bytes.
    #[serde(skip)]
    pub(super) mark: Range<usize>,
}

/// How faults are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Letters alone.
    Plain,
    /// With ANSI colours.
    Coloured,
}

impl Faults {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as rustc would show them: place, line, underline, advice.
    pub fn render(&self, paint: Paint) -> String {
        let renderer = match paint {
            Paint::Plain => Renderer::plain(),
            Paint::Coloured => Renderer::styled(),
        };
        self.0.iter().map(|fault| format!("{}\n", fault.render(&renderer))).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Paint::Plain).trim_end())
    }
}

impl std::error::Error for Faults {}

impl Fault {
    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let group = match &self.place {
            None => title.element(Origin::path(self.file.as_str())),
            Some(spot) => title.element(
                Snippet::source(spot.excerpt.as_str())
                    .line_start(spot.line)
                    .path(self.file.as_str())
                    .annotation(AnnotationKind::Primary.span(spot.mark.clone())),
            ),
        };
        renderer.render(&[group.element(Level::HELP.message(self.advice.as_str()))])
    }
}
