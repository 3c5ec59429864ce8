//! `sixty selftest`: attacks the running daemon as another user of this machine would, and tells what held.
//!
//! Each case is a process of its own, so that none can leave anything behind in another; root lends it the rights of
//! somebody else. It must never end the daemon, change its state, or make a call at a provider.

mod crash;
mod flood;
mod identity;
mod memory;
mod wire;

use super::{
    ask::{Doors, ask},
    environment,
    failure::{Exit, Failure},
    output::{BAD, DIM, GOOD, WARN, exactly, show as print},
    table::{Cell, Table},
};
use crate::{
    client::{Client, Method},
    sys::child::dies_with_us,
};
use clap::Args;
use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Uid, geteuid},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

/// `sixty selftest`.
#[derive(Debug, Args)]
pub(super) struct SelftestArguments {
    /// Connections that are opened and left idle, as far as this user may have so many files
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    connections: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The stage that is one case.
    #[arg(long, hide = true)]
    case: Option<String>,
    /// The daemon, where the stage cannot ask which process it is.
    #[arg(long, hide = true)]
    daemon: Option<i32>,
    /// The process that started the stage.
    #[arg(long, hide = true, default_value_t = 0)]
    starter: i32,
}

/// How a case went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// The attack came to nothing.
    Held(String),
    /// It did not.
    Failed(String),
    /// Nothing is known.
    Untried(String),
}

/// What is attacked.
struct Target {
    broker: PathBuf,
    control: PathBuf,
    gateway: PathBuf,
    /// The daemon, where it is known.
    pid: Option<i32>,
    uid: u32,
    connections: usize,
    /// The process that started this one as a stage.
    starter: i32,
}

/// With whose rights a case is tried, where we can choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    /// The daemon's own user, without any capability: the one who comes closest.
    ItsUser,
    /// Somebody who has nothing to do with it.
    Stranger,
}

struct Case {
    name: &'static str,
    fear: &'static str,
    by: As,
    attack: fn(&Target) -> Outcome,
}

const CASES: [Case; 15] = [
    case("memory", "its memory can be read", As::ItsUser, memory::memory),
    case("ptrace", "a debugger can be attached", As::ItsUser, memory::ptrace),
    case("environ", "its environment can be read", As::ItsUser, memory::environ),
    case("descriptors", "its open files can be taken", As::ItsUser, memory::descriptors),
    case("core", "a crash leaves a core", As::ItsUser, memory::core),
    case("abort", "SIGABRT leaves a core", As::ItsUser, crash::abort),
    case("control", "another user gives orders", As::Stranger, identity::control),
    case("swap", "the socket is swapped for a link", As::Stranger, identity::swap),
    case("dead-pid", "a dead connector's child is taken for it", As::Stranger, identity::dead_connector),
    case("replay", "a key is used after it was revoked", As::ItsUser, identity::replay),
    case("copy", "a key is used by another process", As::ItsUser, identity::copy),
    case("smuggling", "one request is read as two", As::Stranger, wire::smuggling),
    case("oversize", "a request takes all memory", As::Stranger, wire::oversize),
    case("malformed", "a broken request breaks more than itself", As::Stranger, wire::malformed),
    case("flood", "one user takes all connections", As::Stranger, flood::flood),
];

/// Longer than any case takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// `nobody`, by convention.
const NOBODY: u32 = 65_534;

const fn case(name: &'static str, fear: &'static str, by: As, attack: fn(&Target) -> Outcome) -> Case {
    Case { name, fear, by, attack }
}

/// Runs all cases, or the one that this process is. Exit 1 when one failed.
pub(super) fn selftest(doors: &Doors, arguments: &SelftestArguments) -> Result<ExitCode, Failure> {
    let target = Target::find(doors, arguments)?;
    if let Some(name) = &arguments.case {
        return one(&target, name);
    }
    let outcomes: Vec<_> = CASES.iter().map(|case| (case, target.tried(case))).collect();
    if arguments.json {
        exactly(told(&outcomes).to_string().as_bytes())?;
    } else {
        print(table(&outcomes))?;
    }
    let failed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    Ok(if failed { Exit::Other.into() } else { ExitCode::SUCCESS })
}

/// This process is a case: its outcome goes to the one that started it.
fn one(target: &Target, name: &str) -> Result<ExitCode, Failure> {
    if let Some(attack) = identity::stage(name) {
        exactly(&serde_json::to_vec(&attack(target)).unwrap_or_default())?;
    } else if let Some(case) = CASES.iter().find(|case| case.name == name) {
        exactly(&serde_json::to_vec(&(case.attack)(target)).unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Target {
    fn find(doors: &Doors, arguments: &SelftestArguments) -> Result<Self, Failure> {
        let broker = doors.broker.path().to_owned();
        let unreachable = |fault| crate::client::ClientError::Unreachable { path: broker.clone(), fault };
        let connection = UnixStream::connect(&broker).map_err(unreachable)?;
        let maker = getsockopt(&connection, PeerCredentials).map_err(|errno| unreachable(errno.into()))?;
        let gateway = environment::gateway_socket(None, &broker);
        let control = doors.control.path().to_owned();
        let SelftestArguments { connections, starter, daemon, .. } = *arguments;
        let pid = if arguments.case.is_some() { daemon } else { serving(&doors.control, maker.pid()) };
        let owner = pid.and_then(|pid| std::fs::metadata(format!("/proc/{pid}")).ok());
        let uid = owner.map_or(maker.uid(), |folder| folder.uid());
        Ok(Self { broker, control, gateway, pid, uid, connections, starter })
    }

    fn tried(&self, case: &Case) -> Outcome {
        let mut command = self.stage(case.name);
        if geteuid().is_root() {
            // Root's own processes may look into everything: against root nothing is promised.
            let uid = if case.by == As::ItsUser && self.uid != 0 { self.uid } else { NOBODY };
            command.uid(uid).gid(uid);
        }
        let Ok(mut child) = dies_with_us(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return Outcome::Untried("no process could be started with those rights".into());
        };
        if case.name == "flood" {
            return flood::watched(self, &mut child);
        }
        let mut said = String::new();
        let read = child.stdout.take().map(|mut out| out.read_to_string(&mut said));
        let _ = child.wait();
        match (read, serde_json::from_str(&said)) {
            (Some(Ok(_)), Ok(outcome)) => outcome,
            _ => Outcome::Untried("the case broke off".into()),
        }
    }

    /// This program again, as one case or a part of one.
    fn stage(&self, name: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["selftest", "--case", name, "--connections", &self.connections.to_string()]);
        command.args(["--starter", &std::process::id().to_string()]);
        command.args(self.pid.map(|pid| format!("--daemon={pid}")));
        command.arg("--socket").arg(&self.broker).arg("--control-socket").arg(&self.control);
        command.env("SIXTY_GATEWAY_SOCKET", &self.gateway);
        command
    }

    /// All that comes back for these bytes until the daemon closes or says nothing more for a second.
    fn says(&self, socket: &std::path::Path, bytes: &[u8]) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // It may refuse before it has heard all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            answer.extend_from_slice(&piece[..length]);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Whether it still serves this user.
    fn serves(&self) -> bool {
        let health = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        self.says(&self.broker, health).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }
}

/// The process that serves. Whoever made the socket need not be it: of one that the service manager made, the daemon itself
/// can tell, and tells those whom it obeys.
fn serving(control: &Client, maker: i32) -> Option<i32> {
    let status = ask(control, Method::GET, "/v1/status", None).ok();
    let status = status.and_then(|status| serde_json::from_slice::<serde_json::Value>(&status).ok());
    let told = status.and_then(|status| i32::try_from(status["pid"].as_i64()?).ok());
    let name = std::fs::read_to_string(format!("/proc/{maker}/comm")).unwrap_or_default();
    told.or((name.trim() != "systemd").then_some(maker))
}

fn attacker() -> String {
    format!("as uid {}", Uid::effective())
}

fn told(outcomes: &[(&Case, Outcome)]) -> serde_json::Value {
    let cases = outcomes.iter().map(|(case, outcome)| {
        let (state, says) = outcome.told();
        serde_json::json!({ "case": case.name, "fear": case.fear, "outcome": state, "says": says })
    });
    let held = !outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    serde_json::json!({ "held": held, "cases": cases.collect::<Vec<_>>() })
}

fn table(outcomes: &[(&Case, Outcome)]) -> Table {
    let mut table = Table::pairs();
    for (case, outcome) in outcomes {
        let (state, says) = outcome.told();
        let style = match outcome {
            Outcome::Held(_) => GOOD,
            Outcome::Failed(_) => BAD,
            Outcome::Untried(_) => WARN,
        };
        let words = if matches!(outcome, Outcome::Untried(_)) { "could not try" } else { state };
        table.row([Cell::new(words).styled(style), Cell::new(case.name), Cell::new(case.fear)]);
        table.row([Cell::new(""), Cell::new(""), Cell::new(says).styled(DIM)]);
    }
    table
}

impl Outcome {
    fn told(&self) -> (&'static str, &str) {
        match self {
            Self::Held(says) => ("held", says),
            Self::Failed(says) => ("failed", says),
            Self::Untried(says) => ("untried", says),
        }
    }
}
