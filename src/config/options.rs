//! What each module is told, as plain data with its defaults. It never refers to the modules themselves.

use crate::model::Rate;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

/// `[daemon]`: the process and its places. A path that is none is the contract's (see `Paths`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Loops that serve, 1 to 64; more than one only helps machines with many cores.
    pub workers: u32,
    /// How long requests in hand may take after SIGTERM.
    pub drain: Duration,
    /// How long a new process may take to serve, once it was handed everything.
    pub takeover: Duration,
    /// What the daemon takes from itself before it reads a key.
    pub confinement: Confinement,
    /// Whether logind is asked to wait before the machine sleeps.
    pub suspend: Suspend,
    /// Who it becomes where root starts it; none: it stays who it is.
    pub user: Option<String>,
    /// Where the sockets lie.
    pub runtime_dir: Option<PathBuf>,
    /// Where vault and audit lie.
    pub state_dir: Option<PathBuf>,
    /// The broker socket alone.
    pub broker_socket: Option<PathBuf>,
    /// The control socket alone.
    pub control_socket: Option<PathBuf>,
    /// The gateway socket alone.
    pub gateway_socket: Option<PathBuf>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            workers: 1,
            drain: Duration::from_secs(5),
            takeover: Duration::from_secs(10),
            confinement: Confinement::Best,
            suspend: Suspend::Best,
            user: None,
            runtime_dir: None,
            state_dir: None,
            broker_socket: None,
            control_socket: None,
            gateway_socket: None,
        }
    }
}

/// How far the daemon is confined by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Confinement {
    /// As far as this kernel can.
    #[default]
    Best,
    /// Altogether, or it does not start.
    Require,
    /// Not at all: for debugging.
    Off,
}

impl Confinement {
    /// As in the config.
    pub fn name(self) -> &'static str {
        match self {
            Confinement::Best => "best",
            Confinement::Require => "require",
            Confinement::Off => "off",
        }
    }
}

/// Whether the machine's sleep is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Suspend {
    /// Where logind answers.
    #[default]
    Best,
    /// Where it does not, the daemon does not start.
    Require,
    /// Never.
    Off,
}

/// `[limits]`: how much one caller, and all of them, may have at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: u32,
    /// Open connections of one user.
    pub connections_per_uid: u32,
    /// Live leases.
    pub leases: u32,
    /// Live leases of one user.
    pub leases_per_uid: u32,
    /// Leases that one answer lists.
    pub leases_per_page: u32,
    /// Refusals of one user that are put on record; over it, only `busy` is said and nothing written.
    pub refusals_per_uid: Rate,
    /// Connections of users who have too many already that are told `busy`; further ones are closed.
    pub busy_answers: u32,
    /// Look-ups at once of who calls by TCP.
    pub tcp_lookups: u32,
    /// Programs of the config's that run at once.
    pub programs: u32,
    /// Questions that wait for a person's answer.
    pub approvals: u32,
    /// Of these, those of one user's processes.
    pub approvals_per_uid: u32,
    /// Answers of once_per_process that are remembered.
    pub approvals_kept: u32,
    /// Programs that are hashed at once.
    pub exe_hashes: u32,
    /// Bytes of a program's file that is hashed for a rule; a larger one has no hash.
    pub exe_bytes: usize,
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Bytes of a call's body that is looked into before it is passed on.
    pub look_bytes: usize,
    /// Plain bytes for each packed one of an answer that a provider compressed, beyond the first MiB.
    pub unpack_ratio: u32,
    /// Bytes of the window that such an answer may ask for.
    pub unpack_window: usize,
    /// Narrower keys of one lease that are counted or taken back.
    pub narrowed_keys: u32,
    /// How often a virtual key may be narrowed.
    pub narrowed_steps: u32,
    /// Bytes of a narrower key.
    pub narrowed_bytes: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// From accept or the last answer's end to the head's last byte, once it has begun.
    pub header_time: Duration,
    /// From the head's last byte to the body's.
    pub body_time: Duration,
    /// How long a kept-alive connection may say nothing.
    pub idle_time: Duration,
    /// From the body's last byte to the answer's.
    pub request_time: Duration,
    /// How long nothing may come of a call's body that passes as it comes.
    pub upload_idle: Duration,
    /// How long a provider may say nothing, before its answer and in it.
    pub answer_idle: Duration,
    /// How long a call's client may take nothing of its answer.
    pub taking_idle: Duration,
    /// How long what comes after the last answer is read, so that this arrives.
    pub linger_time: Duration,
    /// Bytes of it that are read.
    pub linger_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_uid: 128,
            leases: 100_000,
            leases_per_uid: 10_000,
            leases_per_page: 1000,
            refusals_per_uid: Rate { count: 600, per: Duration::from_secs(60) },
            busy_answers: 16,
            tcp_lookups: 4,
            programs: 4,
            approvals: 64,
            approvals_per_uid: 8,
            approvals_kept: 1024,
            exe_hashes: 2,
            exe_bytes: 256 << 20,
            request_bytes: 64 << 10,
            look_bytes: 4 << 20,
            unpack_ratio: 100,
            unpack_window: 8 << 20,
            narrowed_keys: 64,
            narrowed_steps: 8,
            narrowed_bytes: 2 << 10,
            header_bytes: 16 << 10,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(5),
            idle_time: Duration::from_secs(60),
            request_time: Duration::from_secs(30),
            upload_idle: Duration::from_secs(60),
            // As long as the vendors' own clients wait.
            answer_idle: Duration::from_secs(600),
            taking_idle: Duration::from_secs(60),
            linger_time: Duration::from_secs(5),
            linger_bytes: 64 << 20,
        }
    }
}

/// `[gateway]`: the gateway beside its Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateway {
    /// A loopback address to listen on by TCP; none: it does not.
    pub listen: Option<SocketAddr>,
    /// Origins of web pages that may call by TCP.
    pub origins: Vec<String>,
}

/// `[usage]`: what is kept of what was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Rows of the book; what would be one more is counted under `other`.
    pub rows: u32,
    /// How long a day's rows are kept: whole days.
    pub keep: Duration,
}

impl Default for Usage {
    fn default() -> Self {
        Self { rows: 4096, keep: Duration::from_secs(90 * 86_400) }
    }
}

/// `[upstream]`: calls to providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// PEM certificates, added to the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Whether a key's endpoint may be a loopback address.
    pub loopback: Loopback,
    /// TCP and TLS together.
    pub connect_time: Duration,
    /// One call from its beginning to the answer's last byte.
    pub total_time: Duration,
    /// Bytes of an answer's body.
    pub body_bytes: usize,
    /// How long a connection is kept ready unused.
    pub warm_idle: Duration,
    /// How far the provider's clock may be behind ours before a token counts as over when it comes.
    pub clock_tolerance: Duration,
    /// Mints in flight for one key.
    pub mints_per_key: u32,
    /// Connections to one place, with one key, that are kept between calls.
    pub kept_connections: u32,
    /// Whether a provider's name may lead into a private network.
    pub allow_private: bool,
    /// The ports that may be connected to; none: any.
    pub ports: Vec<u16>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            ca_file: None,
            loopback: Loopback::Refused,
            connect_time: Duration::from_secs(5),
            total_time: Duration::from_secs(15),
            body_bytes: 64 << 10,
            warm_idle: Duration::from_secs(30),
            clock_tolerance: Duration::from_secs(2),
            mints_per_key: 16,
            kept_connections: 64,
            allow_private: false,
            ports: Vec::new(),
        }
    }
}

pub use crate::recipe::Loopback;

/// `[alarm]`: who is told when something must wake somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The program that is run, with the alarm as JSON on its stdin; none: the log alone.
    pub program: Option<PathBuf>,
    /// How long it may take.
    pub time: Duration,
    /// How often it is run at most.
    pub rate: Rate,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { program: None, time: Duration::from_secs(30), rate: Rate { count: 6, per: Duration::from_secs(60) } }
    }
}

/// `[vault]`: how it is opened and when it closes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vault {
    /// What opens it.
    pub unlock: Unlock,
    /// Lock after so long without a mint; none: never.
    pub lock_after: Option<Duration>,
    /// What becomes of keys when the machine sleeps.
    pub on_suspend: OnSuspend,
}

/// What becomes of the vault when the machine sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSuspend {
    /// It stays open.
    #[default]
    Keep,
    /// It is locked.
    Lock,
}

/// What opens the vault. Never the passphrase itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unlock {
    /// Somebody types it: `sixty unlock`.
    #[default]
    Passphrase,
    /// A 0600 key file, at start.
    File(PathBuf),
    /// A systemd credential in `$CREDENTIALS_DIRECTORY`, at start.
    Credential(String),
}

/// `[audit]`: where records go. A record that cannot be written refuses the request; that is no option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// The file; none: in the state directory.
    pub path: Option<PathBuf>,
    /// When records reach the disk.
    pub sync: Sync,
}

/// When an audit record reaches the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sync {
    /// When the kernel writes it: survives our crash, not the machine's.
    #[default]
    None,
    /// Before the answer, by fdatasync(2): a millisecond or more for each request.
    Each,
}

/// `[log]`: what the daemon says on stderr.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The least that is said.
    pub level: Level,
    /// How it is said.
    pub format: Format,
}

/// The least severity that is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// What failed.
    Error,
    /// And what may fail soon.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And what was decided.
    Debug,
    /// And every step.
    Trace,
}

impl Level {
    /// As in the config and in tracing's filters.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// `[provider.NAME]`: replaces the recipe's limits, where the account has other ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// Workspaces an account.
    pub workspaces_per_account: Option<u32>,
    /// Keys a workspace.
    pub keys_per_workspace: Option<u32>,
}

/// All `[provider.NAME]` tables, by the recipe's name.
pub type Providers = BTreeMap<String, Provider>;
