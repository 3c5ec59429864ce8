//! The command line as data: every command, its arguments and their help.
//! It must never have an argument that takes a secret, nor quote one that was given by mistake.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use super::exec::ExecArguments;
use super::help;
use super::words::{NoSecret, Pair, Unquoted};
use crate::model::{KeyName, Revocable, Selector};

/// All that may stand after `sixty`.
#[derive(Debug, Parser)]
#[command(name = "sixty", version, about = help::ABOUT, help_template = help::TEMPLATE, after_help = help::EXITS)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) sockets: Sockets,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the daemon is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct Sockets {
    /// The broker socket [env: SIXTY_SOCKET]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Sockets")]
    pub socket: Option<PathBuf>,
    /// The control socket [env: SIXTY_CONTROL_SOCKET]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Sockets")]
    pub control_socket: Option<PathBuf>,
}

/// The commands that are programs of their own, and those that ask a daemon.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the whole life of a key in one run, with nothing set up
    #[command(before_help = help::DEMO)]
    Demo(DemoArguments),
    /// Write a config, a vault and an identity for this user
    #[command(before_help = help::INIT)]
    Init(InitArguments),
    /// Run the broker in the foreground
    #[command(before_help = help::DAEMON)]
    Daemon(DaemonArguments),
    /// Check config and policy files; every fault at once, exit 78
    #[command(before_help = help::CHECK)]
    Check(CheckArguments),
    /// Look for what is wrong with this machine and the daemon, and say how to mend it
    #[command(before_help = help::DOCTOR)]
    Doctor(DoctorArguments),
    #[command(flatten)]
    Ask(Ask),
}

/// `sixty demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArguments {
    /// Leave it running, and print how to talk to it
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `sixty init`. It refuses to overwrite.
#[derive(Clone, Debug, Args)]
pub struct InitArguments {
    /// For the whole machine: /etc/sixty and /var/lib/sixty
    #[arg(long)]
    pub system: bool,
    /// Lock the vault with a passphrase instead of a key file
    #[arg(long)]
    pub passphrase: bool,
}

/// `sixty daemon`.
#[derive(Clone, Debug, Args)]
pub struct DaemonArguments {
    /// The config [env: SIXTY_CONFIG] [default: the user's, else /etc/sixty/sixty.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take over from the daemon that serves: its sockets, connections and leases; no request fails
    #[arg(long)]
    pub takeover: bool,
    /// For the demo's memory scan: stay readable for the parent process.
    #[arg(long, hide = true)]
    pub readable_by_parent: bool,
    /// Where to listen instead of where the config says; filled from `--socket` and `--control-socket`.
    #[arg(skip)]
    pub sockets: Sockets,
}

/// `sixty check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// Files to check [default: the config that the daemon would read]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `sixty doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArguments {
    /// The config [env: SIXTY_CONFIG] [default: the user's, else /etc/sixty/sixty.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is asked; filled from `--control-socket`.
    #[arg(skip)]
    pub sockets: Sockets,
}

/// The commands that ask a daemon, or nobody.
#[derive(Debug, Subcommand)]
pub(super) enum Ask {
    /// Store, list, rotate, test and remove long-lived keys
    #[command(subcommand, before_help = help::KEY)]
    Key(KeyCommand),
    /// Lay decoys: what looks like a key, and tells on whoever uses it
    #[command(subcommand, before_help = help::DECOY)]
    Decoy(super::decoy::DecoyCommand),
    /// Mint a short-lived token and print it alone
    #[command(before_help = help::MINT)]
    Mint(super::mint::MintArguments),
    /// Give a ticket, read from stdin, for the virtual key that was minted for this process
    #[command(before_help = help::REDEEM)]
    Redeem(super::redeem::RedeemArguments),
    /// Derive a narrower key from a virtual key, read from stdin; asks no daemon
    #[command(before_help = help::NARROW)]
    Narrow(super::narrow::NarrowArguments),
    /// Run a command with virtual keys in its environment; they end with it
    #[command(before_help = help::EXEC)]
    Exec(ExecArguments),
    /// The stage of `exec --sandbox` that stands in the sandbox before the command.
    #[command(hide = true)]
    ExecInside {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// List your live leases, or everybody's
    #[command(before_help = help::LEASES)]
    Leases(LeasesArguments),
    /// Revoke leases; says what is dead now and what lives on upstream
    #[command(before_help = help::REVOKE)]
    Revoke(RevokeArguments),
    /// Watch live leases and what is used of them, drawn anew again and again
    #[command(before_help = help::TOP)]
    Top(super::top::TopArguments),
    /// Show what was called, read, written and paid
    #[command(before_help = help::USAGE)]
    Usage(super::usage::UsageArguments),
    /// Show what waits for a person's yes, and answer it
    #[command(before_help = help::APPROVE)]
    Approve(super::approve::ApproveArguments),
    /// Wipe every key from the daemon's memory and refuse until unlocked
    #[command(before_help = help::LOCK)]
    Lock(Show),
    /// Open the vault; the passphrase comes from stdin or a prompt
    #[command(before_help = help::UNLOCK)]
    Unlock(UnlockArguments),
    /// Show how the daemon is
    #[command(before_help = help::STATUS)]
    Status(Show),
    /// Attack the running daemon as another user would, and show what held
    #[command(before_help = help::SELFTEST)]
    Selftest(super::selftest::SelftestArguments),
    /// Show what the broker makes of this process
    #[command(before_help = help::WHOAMI)]
    Whoami(Show),
    /// Show which rule decides on a key, and why the ones before it don't
    #[command(before_help = help::WHY)]
    Why(WhyArguments),
    /// Show the audit, or verify its chain
    #[command(before_help = help::AUDIT, args_conflicts_with_subcommands = true)]
    Audit(AuditArguments),
    /// Read the manual
    #[command(before_help = help::MANUAL)]
    Manual(ManualArguments),
    /// Print a completion script for a shell
    #[command(before_help = help::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Waits until a token that was copied is over, then clears the clipboard if it still holds it.
    #[command(hide = true)]
    ClearClipboard {
        /// The tool that copied it.
        #[arg(long)]
        tool: super::clipboard::Tool,
        /// Seconds to wait.
        #[arg(long)]
        after: u32,
    },
}

/// How to print.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    /// Print the daemon's JSON as it is
    #[arg(long)]
    pub(super) json: bool,
}

/// `sixty key …`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Store a key; the secret comes from stdin or a prompt
    #[command(before_help = help::KEY_ADD)]
    Add(KeyAdd),
    /// List the keys: metadata and fingerprints only
    #[command(before_help = help::KEY_LIST)]
    List(Show),
    /// Show what is known of one key; never the key itself
    #[command(before_help = help::KEY_SHOW)]
    Show(OneKey),
    /// Put a new secret in a key's place, under its running clients
    #[command(before_help = help::KEY_ROTATE)]
    Rotate(OneKey),
    /// Remove a key and revoke its leases
    #[command(before_help = help::KEY_REMOVE)]
    Remove(KeyRemove),
    /// Mint once with a key and throw the token away; lifts a quarantine
    #[command(before_help = help::KEY_TEST)]
    Test(OneKey),
}

/// `sixty key add`.
#[derive(Debug, Args)]
pub(super) struct KeyAdd {
    /// What to call it: words of a-z 0-9 . _ - joined by /
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    pub(super) name: KeyName,
    #[arg(hide = true, value_parser = NoSecret)]
    stray: Option<NoSecret>,
    /// Whose key it is: the name of a recipe
    #[arg(long, value_name = "RECIPE")]
    pub(super) provider: String,
    /// The provider's workspace
    #[arg(long)]
    pub(super) workspace: Option<String>,
    /// The provider's region
    #[arg(long)]
    pub(super) region: Option<String>,
    /// Who pays for it
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// The provider's account
    #[arg(long)]
    pub(super) account: Option<String>,
    /// Replaces the provider's host
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<String>,
    /// A further value that the recipe asks for; not a secret
    #[arg(long, value_name = "NAME=VALUE", value_parser = Unquoted::<Pair>::default())]
    pub(super) set: Vec<Pair>,
    #[command(flatten)]
    pub(super) show: Show,
}

/// A command about one key.
#[derive(Debug, Args)]
pub(super) struct OneKey {
    /// Which key
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    pub(super) name: KeyName,
    #[arg(hide = true, value_parser = NoSecret)]
    stray: Option<NoSecret>,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty key remove`.
#[derive(Debug, Args)]
pub(super) struct KeyRemove {
    /// Which key
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    pub(super) name: KeyName,
    /// Don't ask first
    #[arg(long, short)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty leases`.
#[derive(Debug, Args)]
pub(super) struct LeasesArguments {
    /// Everybody's, dead ones too; over the control socket
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty revoke`.
#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    pub(super) show: Show,
}

/// Which leases: exactly one way of saying it.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// One lease, or one key that `sixty narrow` derived
    #[arg(value_name = "ID", value_parser = Unquoted::<Revocable>::default())]
    pub(super) id: Option<Revocable>,
    /// All leases of one key
    #[arg(long, value_name = "KEY", value_parser = Unquoted::<KeyName>::default())]
    pub(super) key: Option<KeyName>,
    /// All leases of a peer: uid:1000, unit:ci.service, exe:/usr/bin/curl
    #[arg(long, value_name = "SELECTOR", value_parser = Unquoted::<Selector>::default())]
    pub(super) peer: Option<Selector>,
    /// Every lease there is
    #[arg(long)]
    pub(super) all: bool,
}

/// `sixty unlock`.
#[derive(Debug, Args)]
pub(super) struct UnlockArguments {
    #[arg(hide = true, value_parser = NoSecret)]
    stray: Option<NoSecret>,
    /// Take a vault file that is older than the last one seen
    #[arg(long)]
    pub(super) accept_rollback: bool,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty why`.
#[derive(Debug, Args)]
pub(super) struct WhyArguments {
    /// Which key
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    pub(super) key: KeyName,
    /// For a peer with these selectors [default: this process]
    #[arg(long, value_name = "SELECTOR", num_args = 1.., value_parser = Unquoted::<Selector>::default())]
    pub(super) peer: Vec<Selector>,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty audit`.
#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    #[command(subcommand)]
    pub(super) command: Option<AuditCommand>,
    /// Wait for further records
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Print the records as they are: NDJSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `sixty audit …`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Verify the chain of audit files; names the first bad line
    #[command(before_help = help::AUDIT_VERIFY)]
    Verify(VerifyArguments),
}

/// `sixty audit verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Files, the oldest first [default: the daemon's]
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The head, which shows a cut tail [default: the one beside the last file]
    #[arg(long, value_name = "FILE")]
    pub(super) head: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// `sixty manual`.
#[derive(Debug, Args)]
pub(super) struct ManualArguments {
    /// What about [default: the tour, and a list of topics]
    #[arg(value_parser = PossibleValuesParser::new(crate::manual::TOPICS.iter().map(|(name, _)| *name)))]
    pub(super) topic: Option<String>,
}
