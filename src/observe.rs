//! What the owner can see of the daemon: `status` for people and programs, metrics for a collector.
//! Counts and states; never a secret, a token or a caller's text.

use crate::{
    broker::{Broker, Point, Status},
    clock::{Boottime, Clock},
    ledger::Row,
    sys::{
        launcher::Launcher,
        lookout,
        page::{self, Protection},
        peer::{self, Method},
        tcp,
    },
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::{Registry, Unit},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::sync::watch;

/// What the daemon took from itself at its start.
#[derive(Debug, Clone, Serialize)]
pub struct Confinement {
    /// What the config says: `best`, `require` or `off`.
    pub wanted: &'static str,
    /// Whether all system calls but a list are forbidden.
    pub seccomp: bool,
    /// The version of Landlock that bounds files; none: it does not.
    pub landlock: Option<u32>,
    /// The TCP ports that may be connected to; none: any.
    pub ports: Option<Vec<u16>>,
    /// Who root became; none: the daemon runs as who started it.
    pub user: Option<String>,
    /// What is not in force although it was wanted, and why.
    pub missing: Vec<String>,
}

/// What is known of the daemon from its start on.
pub struct About {
    confinement: Confinement,
    clock: Clock,
    started: Boottime,
    readable: bool,
    vault: PathBuf,
    gateway: Option<SocketAddr>,
    launcher: Option<Launcher>,
    sleep: Option<watch::Receiver<String>>,
}

impl Confinement {
    /// What is not in force now.
    fn now(&self) -> Self {
        let mut now = self.clone();
        if lookout::is_lost() {
            now.missing.push("the lookout has ended: no rule on a program matches; restart the daemon".into());
        }
        now
    }

    fn is_whole(&self) -> bool {
        self.seccomp && self.landlock.is_some() && self.missing.is_empty()
    }

    /// How far it goes, in a word.
    pub fn extent(&self) -> &'static str {
        match (self.is_whole(), self.seccomp || self.landlock.is_some()) {
            (true, _) => "whole",
            (false, true) => "in part",
            (false, false) => "none",
        }
    }
}

impl About {
    /// Taken at the start.
    pub fn new(
        clock: Clock,
        readable: bool,
        vault: &Path,
        gateway: Option<SocketAddr>,
        confinement: Confinement,
    ) -> Self {
        let vault = vault.to_owned();
        Self { confinement, started: clock.boot(), clock, readable, vault, gateway, launcher: None, sleep: None }
    }

    /// With what runs programs, if the config names any.
    #[must_use]
    pub fn launching(self, launcher: Option<Launcher>) -> Self {
        Self { launcher, ..self }
    }

    /// With what tells how the machine's sleep is watched.
    #[must_use]
    pub fn sleeping(self, told: watch::Receiver<String>) -> Self {
        Self { sleep: Some(told), ..self }
    }

    /// What does not work any more, beside the confinement.
    fn lost(&self) -> Option<&'static str> {
        let lost = self.launcher.as_ref().is_some_and(Launcher::is_lost);
        lost.then_some("the launcher has ended: no program is run; restart the daemon")
    }

    fn uptime(&self) -> u64 {
        self.clock.boot().since(self.started).as_secs()
    }
}

/// `GET /v1/status`.
pub fn status(broker: &Broker, about: &About) -> Value {
    let Status { vault, policy, leases, approvals, audit, quarantined, echoed, answers } = broker.status();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": about.uptime(),
        "ready": broker.unready().is_none(),
        "readiness": broker.readiness().into_iter().map(|Point { name, says, .. }| (name, says)).collect::<BTreeMap<_, _>>(),
        "upstream": broker.reached(),
        "vault": { "state": vault.state, "keys": vault.keys, "generation": vault.generation, "path": about.vault },
        "policy": policy,
        "identity": { "method": peer::method().name(), "tcp": about.gateway.map(|_| by_tcp().name()) },
        "gateway": { "listen": about.gateway },
        "confinement": about.confinement.now(),
        "memory": { "protection": protection(), "readable": about.readable },
        "leases": leases,
        "approvals": approvals,
        "audit": audit,
        "quarantined": quarantined,
        "echoed": echoed,
        "alarms": broker.alarms(),
        "suspend": about.sleep.as_ref().map(|told| told.borrow().clone()),
        "launcher": about.launcher.as_ref().map(|_| about.lost().unwrap_or("ready")),
        "answers": answers,
    })
}

fn by_tcp() -> Method {
    if tcp::works() { Method::SocketHolder } else { Method::Unseen }
}

fn protection() -> &'static str {
    match page::protection() {
        Protection::SecretMemory => "memfd_secret",
        Protection::Shield => "shield (this kernel has no memfd_secret)",
    }
}

/// `GET /metrics`: OpenMetrics text.
pub fn metrics(broker: &Broker, about: &About) -> String {
    let status = broker.status();
    let mut registry = Registry::with_prefix("sixty");
    gauge(&mut registry, "leases", "Live leases", status.leases.live as u64);
    gauge(&mut registry, "keys", "Keys in the open vault", status.vault.keys.unwrap_or_default() as u64);
    gauge(&mut registry, "vault_open", "1 while the vault is open", u64::from(status.vault.keys.is_some()));
    gauge(&mut registry, "quarantined_keys", "Keys that their provider refused", status.quarantined.len() as u64);
    gauge(&mut registry, "echoed_keys", "Keys that their provider sent back", status.echoed.len() as u64);
    gauge(&mut registry, "rules", "Rules in force", status.policy.rules as u64);
    gauge(
        &mut registry,
        "policy_faulty",
        "1 while the last reload was not taken",
        u64::from(status.policy.fault.is_some()),
    );
    gauge(
        &mut registry,
        "audit_writable",
        "1 while the audit can be written",
        u64::from(status.audit.failing.is_none()),
    );
    let whole = about.confinement.now().is_whole();
    gauge(&mut registry, "confined", "1 while every confinement is in force", u64::from(whole));
    let waiting = status.approvals.waiting as u64;
    gauge(&mut registry, "approvals_waiting", "Questions that wait for a person", waiting);
    counter(
        &mut registry,
        "leases_frozen",
        "Leases that ended because a stranger tried their key",
        status.leases.frozen,
    );
    counter(&mut registry, "alarms", "Alarms raised", broker.alarms().raised);
    counter(&mut registry, "audit_records", "Audit records", status.audit.records);
    counter(&mut registry, "tokens_sent", "Tokens that reached their caller", status.answers.sent);
    counter(&mut registry, "tokens_lost", "Tokens whose caller was gone", status.answers.lost);
    let refused = Family::<[(&str, &str); 1], Counter>::default();
    for (code, count) in status.answers.refused {
        refused.get_or_create(&[("code", code)]).inc_by(count);
    }
    registry.register("refused", "Refusals", refused);
    used(&mut registry, broker);
    let uptime = ConstGauge::new(about.uptime() as i64);
    registry.register_with_unit("uptime", "Since the start", Unit::Seconds, uptime);
    let mut text = String::new();
    let _ = encode(&mut text, &registry);
    text
}

/// By key and model, of which the book has a bounded number.
fn used(registry: &mut Registry, broker: &Broker) {
    let (calls, tokens, cost) =
        (Labelled::default(), Family::<[(&str, String); 3], Counter>::default(), Labelled::default());
    for (Row { key, model, .. }, counts) in broker.series() {
        let labels = [("key", key.clone()), ("model", model.clone())];
        calls.get_or_create(&labels).inc_by(counts.calls);
        cost.get_or_create(&labels).inc_by(counts.cost_micros);
        for (way, count) in [("input", counts.input), ("output", counts.output)] {
            tokens.get_or_create(&[("key", key.clone()), ("model", model.clone()), ("way", way.into())]).inc_by(count);
        }
    }
    registry.register("calls", "Calls that reached a provider", calls);
    registry.register("model_tokens", "What models read and wrote", tokens);
    registry.register("cost_micros", "What calls cost, in millionths of the unit of [[price]]", cost);
}

type Labelled = Family<[(&'static str, String); 2], Counter>;

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(value as i64));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}
