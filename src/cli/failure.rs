//! Why a command failed: what to say, what to do about it, and the exit code that scripts go by.
//! It must never quote an argument or an input that may have been a secret.

use std::io::ErrorKind;
use std::process::ExitCode;

use super::output::{BAD, GOOD, plain, say};
use crate::client::{ClientError, Problem};
use crate::model::KeyName;

/// The exit codes of `contract.md`; the high ones are sysexits(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Success = 0,
    /// It did not, and no other code says why.
    Other = 1,
    /// The command line was wrong.
    Usage = 2,
    /// No daemon answers (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// Try again: busy, throttled or locked (`EX_TEMPFAIL`).
    TryAgain = 75,
    /// No rule allows it, or the socket is not this user's (`EX_NOPERM`).
    Denied = 77,
    /// The config is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer, and it was no.
    #[error("{}", told(.problem))]
    Refused {
        /// The no.
        problem: Box<Problem>,
        /// What to do about it, where the command knows better than the code.
        advice: Option<String>,
    },
    /// The secret could not be taken in.
    #[error("{what}")]
    Input {
        /// What was wrong, never the input.
        what: String,
        /// How to do it right.
        advice: &'static str,
    },
    /// The answer is of another version.
    #[error("the daemon's answer was not understood: {0}")]
    Answer(String),
    /// The clipboard could not be reached.
    #[error("{what}")]
    Clipboard {
        /// What was wrong.
        what: String,
    },
    /// A file of the audit is not as it was written.
    #[error("{0}")]
    Audit(String),
    /// A job can't be run as it was asked.
    #[error("{what}")]
    Job {
        /// What was wrong.
        what: String,
        /// What to do about it.
        advice: &'static str,
        /// The exit code.
        exit: Exit,
    },
    /// The person said no.
    #[error("nothing was done")]
    Declined,
    /// Whoever read our stdout went away: no reason to talk about it.
    #[error("nobody reads this any more")]
    Hangup,
    /// Stdout failed: a full disk.
    #[error("can't write to stdout: {0}")]
    Output(std::io::Error),
}

impl Failure {
    pub(super) fn refused(problem: Box<Problem>) -> Self {
        Self::Refused { problem, advice: None }
    }

    /// Puts the command's own advice on a refusal of this code.
    pub(super) fn advising(self, code: &str, text: impl Into<String>) -> Self {
        match self {
            Self::Refused { problem, advice: None } if problem.code == code => {
                Self::Refused { problem, advice: Some(text.into()) }
            }
            other => other,
        }
    }

    /// Puts on a provider's no what its class means for the one who asked about this key.
    pub(super) fn about_key(self, name: &KeyName) -> Self {
        let Self::Refused { problem, advice: None } = &self else { return self };
        let Some(text) = advice_on_key(problem, name) else { return self };
        let code = problem.code.clone();
        self.advising(&code, text)
    }

    pub(super) fn output(fault: std::io::Error) -> Self {
        if fault.kind() == ErrorKind::BrokenPipe { Self::Hangup } else { Self::Output(fault) }
    }

    /// Tells it on stderr and gives the exit code.
    pub(super) fn report(&self) -> Exit {
        if !matches!(self, Self::Hangup) {
            say(format_args!("{BAD}error:{BAD:#} {}", plain(&self.to_string())));
            if let Some(advice) = self.advice() {
                say(format_args!("  {GOOD}tip:{GOOD:#} {}", plain(&advice)));
            }
        }
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => Exit::Unreachable,
            Self::Client(ClientError::TimedOut { .. }) => Exit::TryAgain,
            Self::Client(ClientError::Forbidden { .. }) => Exit::Denied,
            Self::Refused { problem, .. } => exit_of(problem),
            Self::Hangup => Exit::Success,
            Self::Input { .. } => Exit::Usage,
            Self::Job { exit, .. } => *exit,
            Self::Client(ClientError::TooLarge { .. } | ClientError::Runtime(_))
            | Self::Answer(_)
            | Self::Clipboard { .. }
            | Self::Audit(_)
            | Self::Declined
            | Self::Output(_) => Exit::Other,
        }
    }

    fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Client(ClientError::Unreachable { .. }) => {
                "is the daemon running? start it with `sixty daemon`, or name its socket (SIXTY_SOCKET, --socket)"
            }
            Self::Client(ClientError::Forbidden { .. }) => {
                "the control socket is its owner's alone: run this as the user that the daemon runs as"
            }
            Self::Client(ClientError::TimedOut { .. }) => "`sixty status` tells whether it is busy",
            Self::Client(ClientError::Broken { .. }) => "its log tells why; `sixty status` whether it still runs",
            Self::Refused { advice: Some(advice), .. } => return Some(advice.clone()),
            Self::Refused { problem, .. } => return advice_on(problem),
            Self::Input { advice, .. } | Self::Job { advice, .. } => advice,
            Self::Answer(_) => {
                "are this program and the daemon of one version? compare `sixty --version` and `sixty status`"
            }
            Self::Clipboard { .. } => "leave --copy out to have the token on stdout",
            Self::Client(ClientError::TooLarge { .. } | ClientError::Runtime(_))
            | Self::Audit(_)
            | Self::Declined
            | Self::Hangup
            | Self::Output(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// The exit code of a refusal. A code that we don't know goes by its retry hint.
fn exit_of(problem: &Problem) -> Exit {
    match (problem.code.as_str(), problem.retry.as_str()) {
        ("denied", _) => Exit::Denied,
        ("unavailable", "never") => Exit::Other,
        ("busy" | "locked" | "unavailable", _) | (_, "later" | "after_unlock") => Exit::TryAgain,
        _ => Exit::Other,
    }
}

fn told(problem: &Problem) -> String {
    // A detail tells all of this very request; without one the audit has to be asked, and that by the request's id.
    if let Some(detail) = &problem.detail {
        return detail.clone();
    }
    let mut text = match problem.code.as_str() {
        "" => problem.title.clone(),
        code => format!("{code}: {}", problem.title),
    };
    if !problem.request_id.is_empty() {
        text.push_str(&format!(" (request id {})", problem.request_id));
    }
    text
}

fn advice_on(problem: &Problem) -> Option<String> {
    match problem.code.as_str() {
        // The detail says it already.
        "locked" | "busy" if problem.detail.is_some() => None,
        "locked" => Some("`sixty unlock` opens the vault".to_owned()),
        "busy" => Some(format!("try again in {} s", problem.retry_after.unwrap_or(1))),
        // The detail says what mends it.
        "unavailable" if problem.retry == "never" => None,
        "unavailable" => Some("`sixty status` tells what is missing; it mends itself when that is back".to_owned()),
        "upstream" => {
            Some("`sixty status` tells how the provider answers; `sixty key test NAME` tries one key".to_owned())
        }
        _ => None,
    }
}

/// What to do about a key whose provider said no.
fn advice_on_key(problem: &Problem, name: &KeyName) -> Option<String> {
    Some(match problem.class.as_deref()? {
        "bad_secret" => {
            format!("`sixty key show {name}` tells what the provider said; `sixty key rotate {name}` swaps it")
        }
        "billing" => {
            format!("no other key mends it: pay or raise the limit at the provider, then `sixty key test {name}`")
        }
        "denied" => "give it the right at the provider, or store a key that has it: `sixty key rotate`".to_owned(),
        "throttled" => {
            let wait = problem.retry_after.unwrap_or(1);
            format!("it says nothing of the key: `sixty key test {name}` again in {wait} s")
        }
        "transient" => "it says nothing of the key: try again once the provider answers".to_owned(),
        _ => "it says nothing of the key; is its address right? `sixty key show` tells it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str, retry: &str) -> Box<Problem> {
        let title = "no".to_owned();
        Box::new(Problem { code: code.to_owned(), retry: retry.to_owned(), title, ..Problem::default() })
    }

    #[test]
    fn each_code_of_the_contract_has_its_exit_code() {
        let exit = |code, retry| Failure::refused(problem(code, retry)).exit() as u8;
        assert_eq!(exit("denied", "never"), 77);
        for again in ["busy", "locked"] {
            assert_eq!(exit(again, "never"), 75, "{again}");
        }
        assert_eq!((exit("unavailable", "later"), exit("unavailable", "never")), (75, 1));
        assert_eq!((exit("upstream", "later"), exit("upstream", "never")), (75, 1));
        for other in ["expired", "revoked", "exhausted", "malformed", "too_large", ""] {
            assert_eq!(exit(other, "never"), 1, "{other}");
        }
    }

    #[test]
    fn no_daemon_is_69_and_says_how_to_start_one() {
        let fault = std::io::Error::from(ErrorKind::NotFound);
        let failure = Failure::from(ClientError::Unreachable { path: "/run/x".into(), fault });
        assert_eq!(failure.exit() as u8, 69);
        assert!(failure.advice().is_some_and(|text| text.contains("`sixty daemon`")));
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(Failure::output(ErrorKind::BrokenPipe.into()).report() as u8, 0);
        assert_eq!(Failure::output(ErrorKind::StorageFull.into()).exit() as u8, 1);
    }

    #[test]
    fn a_denial_can_be_acted_on() {
        let mut no = problem("denied", "never");
        no.request_id = "00ff".to_owned();
        let failure = Failure::refused(no).advising("denied", "`sixty why a` says which selector failed");
        assert_eq!(failure.to_string(), "denied: no (request id 00ff)");
        assert_eq!(failure.advice().as_deref(), Some("`sixty why a` says which selector failed"));
    }

    #[test]
    fn a_failed_test_of_a_key_is_told_by_what_it_says_of_the_key() {
        let name: KeyName = "a/b".parse().unwrap();
        let told = |class: &str| {
            let no = Problem { class: Some(class.to_owned()), ..*problem("upstream", "never") };
            Failure::refused(Box::new(no)).about_key(&name).advice().unwrap_or_default()
        };
        assert!(told("bad_secret").contains("key rotate a/b"));
        for class in ["billing", "throttled", "transient", "bad_request"] {
            assert!(!told(class).contains("rotate"), "{class}: {}", told(class));
        }
        assert!(told("billing").contains("pay") && told("denied").contains("right"));
    }

    #[test]
    fn advice_on_rules_is_not_given_for_a_locked_vault() {
        let failure = Failure::refused(problem("locked", "after_unlock")).advising("denied", "`sixty why a`");
        assert_eq!(failure.advice().as_deref(), Some("`sixty unlock` opens the vault"));
    }
}
