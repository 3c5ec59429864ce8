//! The one place where an alarm is raised: what must wake somebody is logged, counted, kept for `status`, and told to the
//! program that the config names. It must never hold a secret, nor keep a caller waiting.

use super::Broker;
use crate::{
    clock::Clock,
    ledger::Ledger,
    model::{KeyName, Principal, Rate, Selector},
    sys::{
        launcher::{Ended, Errand, How, Launcher},
        scrub,
    },
};
use serde::Serialize;
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tracing::{error, warn};

/// Alarms that `status` shows.
const KEPT: usize = 16;

/// Who is told of alarms.
pub struct AlarmOptions {
    /// What runs programs.
    pub launcher: Launcher,
    /// The one that is told.
    pub program: PathBuf,
    /// How long it may take.
    pub time: Duration,
    /// How often it is run at most.
    pub rate: Rate,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// A decoy was asked for, or shown.
    Decoy,
    /// A provider sent a key back.
    Echo,
    /// A stranger tried a virtual key.
    Theft,
    /// A ticket got around.
    Ticket,
    /// The audit is not as it was left.
    Audit,
}

/// One alarm.
#[derive(Debug, Clone, Serialize)]
pub struct Alarm {
    /// Unix seconds.
    at: u64,
    cause: Cause,
    /// One sentence, ours.
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyName>,
    /// Who, where it was somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer: Vec<Selector>,
}

/// Alarms since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AlarmStatus {
    /// How many.
    pub raised: u64,
    /// Of these, how many the program was not told of: it was told of others, or failed.
    pub untold: u64,
    /// The last ones, the newest first.
    pub last: VecDeque<Alarm>,
}

/// The alarms of one daemon. Clones are the same.
#[derive(Clone)]
pub(super) struct Alarms(Arc<Kept>);

struct Kept {
    options: Option<AlarmOptions>,
    clock: Clock,
    ledger: Ledger,
    status: Mutex<AlarmStatus>,
    /// What was said of the audit last.
    audit: Mutex<Option<&'static str>>,
}

/// What is about to be raised.
pub(super) struct Raised<'a> {
    pub(super) cause: Cause,
    pub(super) says: String,
    pub(super) key: Option<&'a KeyName>,
    pub(super) by: Option<&'a Principal>,
}

/// An alarm as the program reads it from its stdin.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    alarm: &'a Alarm,
    untold: u64,
}

impl Alarms {
    pub(super) fn new(options: Option<AlarmOptions>, clock: Clock, ledger: Ledger) -> Self {
        Self(Arc::new(Kept { options, clock, ledger, status: Mutex::default(), audit: Mutex::default() }))
    }

    pub(super) fn raise(&self, Raised { cause, says, key, by }: Raised<'_>) {
        let peer = by.map(Principal::selectors).unwrap_or_default();
        let alarm = Alarm { at: self.0.clock.wall(), cause, says, key: key.cloned(), pid: by.map(|by| by.pid), peer };
        error!(?cause, key = key.map(KeyName::as_str), pid = alarm.pid, "alarm: {}", alarm.says);
        let mut status = self.status();
        status.raised += 1;
        status.last.push_front(alarm.clone());
        status.last.truncate(KEPT);
        let Some(options) = &self.0.options else { return };
        status.untold += 1;
        if self.0.ledger.take("alarms", options.rate).is_ok() {
            let told = std::mem::take(&mut status.untold);
            drop(status);
            scrub::spawn(self.clone().tell(alarm, told));
        }
    }

    /// Tells the program of the last of so many.
    async fn tell(self, alarm: Alarm, told: u64) {
        let Some(AlarmOptions { launcher, program, time, .. }) = &self.0.options else { return };
        let input = serde_json::to_vec(&Told { alarm: &alarm, untold: told - 1 }).unwrap_or_default();
        let errand = Errand { arguments: &[], input: &input, within: *time, output: 0 };
        let fault = match launcher.run(program, errand).await {
            Ok(Ended { how: How::Exited(0), .. }) => return,
            Ok(Ended { how: How::Exited(_) | How::Killed(_), .. }) => "it failed".to_owned(),
            Ok(Ended { how: How::TimeUp, .. }) => "it took too long".to_owned(),
            Err(fault) => fault.to_string(),
        };
        warn!(program = %program.display(), %fault, "nobody was told of the alarm");
        self.status().untold += told;
    }

    fn status(&self) -> MutexGuard<'_, AlarmStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// The alarms since the start.
    pub fn alarms(&self) -> AlarmStatus {
        self.0.alarms.status().clone()
    }

    /// Looks after the audit: what other hands did to it is told once.
    pub(super) fn look_after_audit(&self) {
        let status = self.0.audit.status();
        let found = status.meddled.or(status.tail_missing.map(|missing| missing.why));
        let mut said = self.0.alarms.0.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(says) = found.filter(|_| found != *said) {
            self.0.alarms.raise(Raised {
                cause: Cause::Audit,
                says: format!("the audit: {says}"),
                key: None,
                by: None,
            });
        }
        *said = found;
    }
}
