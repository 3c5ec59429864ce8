//! The tables of the config one by one, each with the bounds of its numbers. It never looks at the machine.

use super::{
    nearest::nearest,
    options::{
        Audit, Confinement, Daemon, Format, Level, Limits, Log, Loopback, OnSuspend, Provider, Providers, Suspend,
        Sync, Unlock, Upstream, Usage, Vault,
    },
    table::Table,
    value::Value,
};
use std::{path::PathBuf, time::Duration};

/// What the kernel takes as a socket's path, without the zero at its end (unix(7)).
const SOCKET_PATH: usize = 107;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn daemon(mut table: Table<'_>) -> Daemon {
    let usual = Daemon::default();
    Daemon {
        workers: table.count("workers", usual.workers, 1..=64),
        drain: table.span("drain", usual.drain, secs(0)..=secs(300)),
        takeover: table.span("takeover", usual.takeover, secs(1)..=secs(300)),
        confinement: table.word(
            "confinement",
            &[Confinement::Best, Confinement::Require, Confinement::Off].map(|level| (level.name(), level)),
        ),
        suspend: table
            .word("suspend", &[("best", Suspend::Best), ("require", Suspend::Require), ("off", Suspend::Off)]),
        user: table
            .take("user")
            .and_then(|value| value.text("\"sixty\""))
            .filter(|name| !name.is_empty())
            .map(Into::into),
        runtime_dir: table.path("runtime_dir"),
        state_dir: table.path("state_dir"),
        broker_socket: socket(&mut table, "broker_socket"),
        control_socket: socket(&mut table, "control_socket"),
        gateway_socket: socket(&mut table, "gateway_socket"),
    }
}

fn socket(table: &mut Table<'_>, key: &'static str) -> Option<PathBuf> {
    let value = table.take(key)?;
    let path = value.path()?;
    match path.as_os_str().len() {
        0..=SOCKET_PATH => Some(path),
        long => value.fault(
            format!("`{key}` has {long} bytes"),
            format!("a socket's path has at most {SOCKET_PATH}: choose a shorter folder"),
        ),
    }
}

pub(super) fn limits(mut table: Table<'_>) -> Limits {
    let usual = Limits::default();
    let time = secs(1)..=secs(3600);
    let open = Limit { whole: "connections", share: "connections_per_uid", most: 65_536 };
    let live = Limit { whole: "leases", share: "leases_per_uid", most: 1_100_000 };
    let (connections, connections_per_uid) = open.take(&mut table, usual.connections, usual.connections_per_uid);
    let (leases, leases_per_uid) = live.take(&mut table, usual.leases, usual.leases_per_uid);
    let asked = Limit { whole: "approvals", share: "approvals_per_uid", most: 4096 };
    let (approvals, approvals_per_uid) = asked.take(&mut table, usual.approvals, usual.approvals_per_uid);
    let refusals = table.take("refusals_per_uid").and_then(|value| value.parse("\"600/min\"", str::parse));
    Limits {
        refusals_per_uid: refusals.unwrap_or(usual.refusals_per_uid),
        connections,
        connections_per_uid,
        leases,
        leases_per_uid,
        leases_per_page: table.count("leases_per_page", usual.leases_per_page, 1..=10_000),
        busy_answers: table.count("busy_answers", usual.busy_answers, 1..=1024),
        tcp_lookups: table.count("tcp_lookups", usual.tcp_lookups, 1..=64),
        programs: table.count("programs", usual.programs, 1..=64),
        approvals,
        approvals_per_uid,
        approvals_kept: table.count("approvals_kept", usual.approvals_kept, 1..=65_536),
        exe_hashes: table.count("exe_hashes", usual.exe_hashes, 1..=64),
        exe_bytes: table.size("exe_bytes", usual.exe_bytes, 1 << 20..=1 << 30),
        request_bytes: table.size("request_bytes", usual.request_bytes, 1 << 10..=16 << 20),
        look_bytes: table.size("look_bytes", usual.look_bytes, 1 << 10..=64 << 20),
        unpack_ratio: table.count("unpack_ratio", usual.unpack_ratio, 10..=10_000),
        unpack_window: table.size("unpack_window", usual.unpack_window, 32 << 10..=128 << 20),
        narrowed_keys: table.count("narrowed_keys", usual.narrowed_keys, 1..=65_536),
        narrowed_steps: table.count("narrowed_steps", usual.narrowed_steps, 1..=64),
        narrowed_bytes: table.size("narrowed_bytes", usual.narrowed_bytes, 512..=8 << 10),
        header_bytes: table.size("header_bytes", usual.header_bytes, 8 << 10..=256 << 10),
        header_time: table.span("header_time", usual.header_time, time.clone()),
        body_time: table.span("body_time", usual.body_time, time.clone()),
        idle_time: table.span("idle_time", usual.idle_time, time.clone()),
        request_time: table.span("request_time", usual.request_time, time.clone()),
        upload_idle: table.span("upload_idle", usual.upload_idle, time.clone()),
        answer_idle: table.span("answer_idle", usual.answer_idle, time.clone()),
        taking_idle: table.span("taking_idle", usual.taking_idle, time),
        linger_time: table.span("linger_time", usual.linger_time, secs(0)..=secs(60)),
        linger_bytes: table.size("linger_bytes", usual.linger_bytes, 0..=1 << 30),
    }
}

/// A limit for all and one for each user.
struct Limit {
    whole: &'static str,
    share: &'static str,
    most: u32,
}

impl Limit {
    /// A share above the whole never bites, so it is not what somebody meant.
    fn take(&self, table: &mut Table<'_>, whole: u32, share: u32) -> (u32, u32) {
        let all = table.count(self.whole, whole, 1..=self.most);
        let value = table.take(self.share);
        let each = value.and_then(|value| value.count(share, 1..=self.most)).unwrap_or(share);
        if let Some(value) = value.filter(|_| each > all) {
            let message = format!("`{}` is more than `{}`", self.share, self.whole);
            value.warning(message, format!("one user can take all {all}: choose less, or leave it out"));
        }
        (all, each.min(all))
    }
}

pub(super) fn usage(mut table: Table<'_>) -> Usage {
    let (usual, day) = (Usage::default(), secs(86_400));
    let keep = table.take("keep");
    let days = keep.and_then(|value| match value.span(usual.keep, day..=day * 3660)? {
        span if span.as_secs().is_multiple_of(day.as_secs()) => Some(span),
        _ => value.fault("`keep` is no number of whole days", "usage is counted by days: write keep = \"90d\""),
    });
    Usage { rows: table.count("rows", usual.rows, 16..=100_000), keep: days.unwrap_or(usual.keep) }
}

pub(super) fn upstream(mut table: Table<'_>) -> Upstream {
    let usual = Upstream::default();
    let connect = table.take("connect_time");
    let connect_time = connect.and_then(|value| value.span(usual.connect_time, secs(1)..=secs(60)));
    let total_time = table.span("total_time", usual.total_time, secs(1)..=secs(120));
    if let (Some(value), true) = (connect, connect_time.is_some_and(|time| time > total_time)) {
        let advice = "total_time counts connecting too: raise it, or lower connect_time";
        value.fault::<()>("`connect_time` is more than `total_time`", advice);
    }
    let allow = table.take("allow_loopback").and_then(|value| value.flag()).unwrap_or_default();
    Upstream {
        ca_file: table.path("ca_file"),
        loopback: if allow { Loopback::Allowed } else { Loopback::Refused },
        connect_time: connect_time.unwrap_or(usual.connect_time.min(total_time)),
        total_time,
        body_bytes: table.size("body_bytes", usual.body_bytes, 4 << 10..=1 << 20),
        warm_idle: table.span("warm_idle", usual.warm_idle, secs(0)..=secs(600)),
        clock_tolerance: table.span("clock_tolerance", usual.clock_tolerance, secs(0)..=secs(60)),
        mints_per_key: table.count("mints_per_key", usual.mints_per_key, 1..=256),
        kept_connections: table.count("kept_connections", usual.kept_connections, 0..=4096),
        allow_private: table.take("allow_private").and_then(|value| value.flag()).unwrap_or(usual.allow_private),
        ports: table.take("ports").and_then(ports).unwrap_or_default(),
    }
}

fn ports(value: Value<'_>) -> Option<Vec<u16>> {
    if value.is_empty_list() {
        return None;
    }
    let port = |value: Value<'_>| value.count(443, 1..=65_535).and_then(|port| u16::try_from(port).ok());
    Some(value.list("443", "leave it out: then any port may be connected to")?.into_iter().filter_map(port).collect())
}

pub(super) fn vault(mut table: Table<'_>) -> Vault {
    let lock_after = table.take("lock_after").filter(|value| !value.is_empty_text());
    Vault {
        unlock: table.take("unlock").and_then(unlock).unwrap_or_default(),
        on_suspend: table.word("on_suspend", &[("keep", OnSuspend::Keep), ("lock", OnSuspend::Lock)]),
        lock_after: lock_after.and_then(|value| value.span(secs(900), secs(60)..=secs(7 * 86_400))),
    }
}

fn unlock(value: Value<'_>) -> Option<Unlock> {
    const FORMS: &str = "it is \"passphrase\", \"file:/PATH\" or \"credential:NAME\"; a passphrase itself is typed";
    let text = value.text("\"passphrase\"")?;
    match text.split_once(':') {
        None if text == "passphrase" => Some(Unlock::Passphrase),
        Some(("file", path)) if path.len() > 1 && path.starts_with('/') => Some(Unlock::File(path.into())),
        Some(("file", _)) => {
            value.fault("`unlock` names no absolute path", "write it from / on: unlock = \"file:/PATH/vault.key\"")
        }
        Some(("credential", name)) if is_credential(name) => Some(Unlock::Credential(name.to_owned())),
        Some(("credential", _)) => value.fault(
            "`unlock` names no systemd credential",
            "its name is letters, digits and . _ -, as in LoadCredentialEncrypted=NAME",
        ),
        // Whatever stands there may be a passphrase: it is not repeated.
        _ => value.fault("`unlock` is none of the ways to open a vault", FORMS),
    }
}

/// A file's name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)), which must not lead out of it.
fn is_credential(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

pub(super) fn audit(mut table: Table<'_>) -> Audit {
    Audit { path: table.path("path"), sync: table.word("sync", &[("none", Sync::None), ("each", Sync::Each)]) }
}

pub(super) fn log(mut table: Table<'_>) -> Log {
    let levels =
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|level| (level.name(), level));
    Log {
        level: table.word("level", &levels),
        format: table.word("format", &[("text", Format::Text), ("json", Format::Json)]),
    }
}

/// `known` are the recipes' names.
pub(super) fn providers<'k>(mut table: Table<'_>, known: impl Iterator<Item = &'k str> + Clone) -> Providers {
    let mut all = Providers::new();
    for (name, at, value) in table.rest() {
        if !known.clone().any(|known| known == name) {
            let advice = match nearest(name, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are: {}", known.clone().collect::<Vec<_>>().join(", ")),
            };
            value.fault_at::<()>(at, format!("there is no provider `{name}`"), advice);
        }
        if let Some(table) = value.table(&format!("[provider.{name}]"), &format!("write [provider.{name}]")) {
            all.insert(name.to_owned(), provider(table));
        }
    }
    all
}

fn provider(mut table: Table<'_>) -> Provider {
    let mut limit = |key| table.take(key).and_then(|value| value.count(100, 1..=100_000));
    Provider {
        workspaces_per_account: limit("workspaces_per_account"),
        keys_per_workspace: limit("keys_per_workspace"),
    }
}
