//! The command line: words in, requests to a daemon, tables or JSON out.
//! It must never reach into the daemon's own modules: what it knows, it was told over a socket.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

mod approve;
mod arguments;
mod ask;
mod audit;
mod clipboard;
mod decoy;
mod doctor;
mod entry;
mod environment;
mod exec;
mod failure;
mod help;
mod key;
mod lease;
mod lock;
mod manual;
mod mint;
mod narrow;
mod output;
mod redeem;
mod selftest;
mod status;
mod table;
mod time;
mod top;
mod usage;
mod why;
mod words;

pub use arguments::{CheckArguments, DaemonArguments, DemoArguments, DoctorArguments, InitArguments, Sockets};
pub use doctor::doctor;
pub use failure::Exit;

use arguments::{Arguments, Ask, Command, KeyCommand};
use ask::Doors;
use failure::Failure;

/// What this run of the program is.
pub enum Invocation {
    /// `sixty demo`.
    Demo(DemoArguments),
    /// `sixty init`.
    Init(InitArguments),
    /// `sixty daemon`.
    Daemon(DaemonArguments),
    /// `sixty check`.
    Check(CheckArguments),
    /// `sixty doctor`.
    Doctor(DoctorArguments),
    /// Any other command: [`run`] does it.
    Client(ClientCommand),
}

/// A command that asks a daemon (or nobody), and where the daemon is.
pub struct ClientCommand {
    sockets: Sockets,
    ask: Box<Ask>,
}

/// Reads the command line. Ends the process itself after `--help`, `--version` (0) and mistakes (2).
pub fn parse() -> Invocation {
    if words::holds_secret(std::env::args_os().skip(1)) {
        Arguments::command().error(ErrorKind::ValueValidation, words::NO_SECRETS).exit();
    }
    let arguments = Arguments::parse();
    if let Some(fault) = arguments.needless_socket() {
        fault.exit();
    }
    arguments.into()
}

/// Asks for a passphrase that will seal a vault: twice at a terminal, once from a pipe.
pub fn new_passphrase() -> Result<crate::secret::Secret, ExitCode> {
    entry::new_passphrase().map_err(|failure| failure.report().into())
}

/// Does one command of the caller's side and tells how it went.
pub fn run(command: ClientCommand) -> ExitCode {
    let doors = Doors::of(command.sockets);
    let done = match *command.ask {
        Ask::Exec(arguments) => exec::exec(&doors, arguments),
        Ask::ExecInside { command } => exec::inside(&command),
        Ask::Selftest(arguments) => selftest::selftest(&doors, &arguments),
        ask => dispatch(&doors, ask).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| failure.report().into())
}

impl Arguments {
    /// A socket was named to a command that asks no daemon: better said than ignored.
    fn needless_socket(&self) -> Option<clap::Error> {
        let asks_nobody = matches!(self.command, Command::Demo(_) | Command::Init(_) | Command::Check(_));
        let named = self.sockets.socket.is_some() || self.sockets.control_socket.is_some();
        let text = "this command asks no daemon: --socket and --control-socket mean nothing to it";
        (asks_nobody && named).then(|| Self::command().error(ErrorKind::ArgumentConflict, text))
    }
}

impl From<Arguments> for Invocation {
    fn from(arguments: Arguments) -> Self {
        match arguments.command {
            Command::Demo(demo) => Self::Demo(demo),
            Command::Init(init) => Self::Init(init),
            Command::Daemon(daemon) => Self::Daemon(DaemonArguments { sockets: arguments.sockets, ..daemon }),
            Command::Check(check) => Self::Check(check),
            Command::Doctor(doctor) => Self::Doctor(DoctorArguments { sockets: arguments.sockets, ..doctor }),
            Command::Ask(ask) => Self::Client(ClientCommand { sockets: arguments.sockets, ask: Box::new(ask) }),
        }
    }
}

fn dispatch(doors: &Doors, ask: Ask) -> Result<(), Failure> {
    match ask {
        Ask::Key(command) => dispatch_key(doors, command),
        Ask::Decoy(command) => decoy::decoy(doors, command),
        Ask::Mint(arguments) => mint::mint(doors, arguments),
        Ask::Narrow(arguments) => narrow::narrow(arguments),
        Ask::Redeem(arguments) => redeem::redeem(doors, &arguments.show),
        // These end as their command does: `run` has taken them.
        Ask::Exec(_) | Ask::ExecInside { .. } | Ask::Selftest(_) => Ok(()),
        Ask::Leases(arguments) => lease::list(doors, &arguments),
        Ask::Revoke(arguments) => lease::revoke(doors, &arguments),
        Ask::Approve(arguments) => approve::approve(doors, &arguments),
        Ask::Usage(arguments) => usage::usage(doors, &arguments),
        Ask::Top(arguments) => top::top(doors, arguments),
        Ask::Lock(show) => lock::lock(doors, &show),
        Ask::Unlock(arguments) => lock::unlock(doors, &arguments),
        Ask::Status(show) => status::status(doors, &show),
        Ask::Whoami(show) => why::whoami(doors, &show),
        Ask::Why(arguments) => why::why(doors, &arguments),
        Ask::Audit(arguments) => audit::audit(doors, &arguments),
        Ask::Manual(arguments) => manual::show(arguments.topic.as_deref()),
        Ask::Completions { shell } => completions(shell),
        Ask::ClearClipboard { tool, after } => clipboard::clear_later(tool, after),
    }
}

fn dispatch_key(doors: &Doors, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Add(arguments) => key::add(doors, &arguments),
        KeyCommand::List(show) => key::list(doors, &show),
        KeyCommand::Show(one) => key::show(doors, &one),
        KeyCommand::Rotate(one) => key::rotate(doors, &one),
        KeyCommand::Remove(arguments) => key::remove(doors, &arguments),
        KeyCommand::Test(one) => key::test(doors, &one),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sixty", &mut script);
    output::exactly(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(words: &str) -> String {
        let fault = Arguments::try_parse_from(words.split(' ')).map(|_| ()).unwrap_err();
        assert_eq!(fault.exit_code(), 2, "{words}");
        fault.to_string()
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_secret_after_a_keys_name_is_refused_and_not_quoted() {
        for words in [
            "sixty key add a hunter2 --provider p",
            "sixty key rotate a hunter2",
            "sixty unlock hunter2",
            "sixty redeem hunter2",
        ] {
            let said = mistake(words);
            assert!(said.contains("never taken from the command line"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_secret_in_place_of_a_name_is_not_quoted() {
        for words in ["sixty mint HUNTER2", "sixty key add --provider p HUNTER2", "sixty revoke HUNTER2"] {
            assert!(!mistake(words).contains("HUNTER2"), "{words}");
        }
        assert!(!mistake("sixty key add a --provider p --secret=HUNTER2").contains("HUNTER2"));
    }

    #[test]
    fn revoke_takes_exactly_one_way_of_saying_which() {
        mistake("sixty revoke");
        mistake("sixty revoke --all --key a");
        mistake("sixty revoke ls_0000000000000001 --all");
    }

    #[test]
    fn a_span_without_a_unit_is_refused() {
        assert!(mistake("sixty mint a --ttl 60").contains("a length of time is a whole number and a unit"));
    }

    /// The commands of our own in a line of shell, without its comment and its plumbing.
    fn commands_in(line: &str) -> impl Iterator<Item = Vec<String>> {
        let line = line.trim_start().split("   ").next().unwrap_or_default();
        let parts = line.split(['|', '&', ';', '(', ')', '<', '>']).map(str::trim);
        let parts = parts.filter_map(|part| part.strip_prefix("sudo ").or(Some(part)));
        let ours = parts.filter(|part| part.starts_with("sixty "));
        ours.map(|part| part.split(' ').map(|word| word.replace('\'', "")).collect())
    }

    #[test]
    fn every_help_begins_with_examples_and_they_parse() {
        fn walk(command: &mut clap::Command) {
            let help = command.render_help().to_string();
            let examples = help.strip_prefix("Examples:\n").and_then(|rest| rest.split_once("\n\n"));
            let (examples, _) = examples.unwrap_or_else(|| panic!("{}: {help}", command.get_name()));
            let commands: Vec<_> = examples.lines().flat_map(commands_in).collect();
            assert!(!commands.is_empty(), "{examples}");
            for words in commands {
                assert!(Arguments::try_parse_from(&words).is_ok(), "{words:?}");
            }
            command.get_subcommands_mut().filter(|inner| !inner.is_hide_set()).for_each(walk);
        }
        let mut command = Arguments::command();
        command.build();
        walk(&mut command);
    }

    #[test]
    fn the_commands_of_the_tour_parse() {
        // Between fences: every second part.
        let fenced = include_str!("../manual/tour.md").split("```").skip(1).step_by(2);
        let commands: Vec<_> = fenced.flat_map(str::lines).flat_map(commands_in).collect();
        assert!(commands.len() > 10);
        for words in commands {
            assert!(Arguments::try_parse_from(&words).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn hidden_traps_stay_hidden() {
        let mut command = Arguments::command();
        command.build();
        let help = command.find_subcommand_mut("unlock").map(|unlock| unlock.render_help().to_string());
        assert!(help.is_some_and(|help| !help.to_lowercase().contains("stray")));
    }

    #[test]
    fn a_socket_that_would_be_ignored_is_refused() {
        let needless = |words: [&str; 4]| Arguments::try_parse_from(words).unwrap().needless_socket().is_some();
        assert!(needless(["sixty", "check", "--socket", "/s"]));
        assert!(!needless(["sixty", "daemon", "--socket", "/s"]));
    }

    #[test]
    fn sockets_may_be_named_before_and_after_the_command() {
        for words in [["sixty", "--socket", "/s", "lock"], ["sixty", "lock", "--socket", "/s"]] {
            let arguments = Arguments::try_parse_from(words).unwrap();
            assert_eq!(arguments.sockets.socket.as_deref(), Some(std::path::Path::new("/s")));
        }
    }
}
