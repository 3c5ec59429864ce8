//! What the audit's tests build on: a directory of their own, a principal and a permit.

use super::*;
use crate::clock::{Boottime, Clock};
use crate::model::{LeaseId, Principal, RequestId, Scope, Ttl};
use crate::policy::{Bearer, Detach, Permit, Rule, Rules, TtlRange, judge};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// A directory that ends with its test.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sixty-audit-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn principal(exe: &str) -> Principal {
    Principal {
        uid: 1000,
        gid: 1000,
        pid: 77,
        unit: None,
        cgroup: None,
        exe: Some(exe.into()),
        exe_sha256: None,
        pid_ns: None,
        socket: "broker",
    }
}

pub(super) fn permit(key: &str) -> Permit {
    let rule = Rule {
        name: "mine".into(),
        peer: vec![],
        keys: vec!["**".parse().unwrap()],
        kinds: vec![crate::model::Kind::Virtual],
        ttl: TtlRange { default: Ttl::DEFAULT, max: Ttl::DEFAULT },
        uses: Some(100),
        rate: None,
        scope: Scope::default(),
        share: None,
        detach: Detach::Refused,
        risky: Default::default(),
        bearer: Bearer::NotEnough,
        recipients: Vec::new(),
        theft: Default::default(),
        approve: Default::default(),
        budget: Default::default(),
    };
    let request = serde_json::from_value(serde_json::json!({ "key": key })).unwrap();
    judge(&Rules(vec![rule]), &principal("/bin/sh"), &request, Boottime::from_nanos(0)).unwrap()
}

pub(super) fn options(dir: &Dir) -> AuditOptions {
    AuditOptions { path: dir.path("audit.ndjson"), head_path: dir.path("audit.head"), sync: Sync::None }
}

/// Opens the audit of this directory by the kernel's clock.
pub(super) fn open(dir: &Dir) -> Audit {
    Audit::open(options(dir), Clock::system()).unwrap()
}

pub(super) fn decide(audit: &Audit, request: u64) -> Result<(), AuditError> {
    let (permit, principal) = (permit("dashscope/main"), principal("/usr/bin/curl"));
    let judged = Judged::Permit(&permit, None);
    at_once(audit.decide(&Decision { request: RequestId(request), principal: &principal, judged }))
}

/// What comes of work that waits for no disk.
pub(super) fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

pub(super) fn outcome(request: u64) -> Outcome<'static> {
    Outcome {
        request: RequestId(request),
        lease: Some(LeaseId(request)),
        verdict: Verdict::Sent,
        uid: None,
        key: None,
        reason: None,
        expires_at: Some(1_744_080_369),
        micros: 12,
    }
}

/// Verifies the one file of this directory against its head.
pub(super) fn verified(dir: &Dir) -> Result<Verified, Broken> {
    let AuditOptions { path, head_path, .. } = options(dir);
    verify(&[path], Some(&head_path)).map_err(|fault| match fault {
        VerifyError::Broken(broken) => broken,
        other => panic!("{other}"),
    })
}

/// The audit's file.
pub(super) fn text(dir: &Dir) -> String {
    std::fs::read_to_string(options(dir).path).unwrap()
}

/// Ends a writer as SIGKILL does: what it staged is gone, and nothing else is written.
pub(super) fn kill(audit: Audit) {
    let shared = Arc::into_inner(audit.shared).expect("the only handle");
    let mut shared = shared.into_inner().unwrap();
    shared.log.staged.clear();
    shared.log.written = shared.log.at.seq;
    shared.log.durable = shared.log.at.seq;
}
