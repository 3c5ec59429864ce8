//! What is left behind: nothing in memory, nothing on disk, everything in the audit.
//! It must never call a scan clean that was not made, or that would have found nothing anyway.

use std::process::ExitStatus;
use std::time::Duration;

use super::super::scan::{self, Forms, Motion, Needle, Registers, Report, ScanError, ScanOptions, Verdict};
use super::launch::Launched;
use super::stage::{LOG, Stage};
use super::step::{Shown, StepError, see};
use crate::audit::{self, Verified};

/// Eight letters of a key can stand in a megabyte of other letters by chance once in a million runs; ten never do.
const OPTIONS: ScanOptions =
    ScanOptions { sub: 10, forms: Forms::All, registers: Registers::Read, motion: Motion::Held };
/// The last answer may reach us while the broker still has it in its hands: what counts is what stays.
const REST: Duration = Duration::from_millis(200);
const MARKER: &str = "the marker";
const REFUSED: &str = "the kernel does not let us trace our own child: \
    `cat /proc/sys/kernel/yama/ptrace_scope` must say 0 or 1 (or run this as root), and no debugger may follow it";

pub(super) fn scan(stage: &mut Stage) -> Result<Shown, StepError> {
    let pid = stage.launched.as_ref().map(Launched::pid).unwrap_or_default();
    stage.needles.push(Needle::new(MARKER, stage.marker.as_bytes()));
    stage.backstage.pause(REST)?;
    let report = scan::scan(pid, &stage.needles, OPTIONS);
    stage.needles.pop();
    let report = report.map_err(|fault| match fault {
        ScanError::Refused { .. } => StepError::Otherwise(REFUSED.to_owned()),
        other => other.into(),
    })?;
    nothing_but_the_marker(&report)?;
    let Report { bytes, threads, .. } = report;
    let (secrets, tenths) = (stage.needles.len(), (bytes * 10) >> 20);
    Ok(Shown::Held(format!(
        "none of {secrets} secrets in {}.{} MiB and the registers of {threads} {}; \
         a marker that is no secret is found\n\
         (this broker stays readable for its parent's scan; a real one is readable to nobody but root)",
        tenths / 10,
        tenths % 10,
        if threads == 1 { "thread" } else { "threads" },
    )))
}

pub(super) fn disk(stage: &mut Stage) -> Result<Shown, StepError> {
    let mut bytes = 0;
    for name in ["vault.sealed", "audit.ndjson", "audit.head", "sixty.toml", LOG] {
        let report = scan::scan_file(&stage.file(name), &stage.needles, OPTIONS)?;
        see(report.hits.is_empty(), || format!("in {name}: {report}"))?;
        bytes += report.bytes;
    }
    Ok(Shown::Held(format!("vault, audit, config and log, {bytes} bytes: none of {}", stage.needles.len())))
}

pub(super) fn audit(stage: &mut Stage) -> Result<Shown, StepError> {
    let Verified { records, .. } = verified(stage)?;
    Ok(Shown::Held(format!("{records} records, each with the hash of the one before")))
}

pub(super) fn end(stage: &mut Stage) -> Result<Shown, StepError> {
    let ended = stage.launched.take().and_then(|mut broker| broker.stop());
    let how = || ended.map_or("nobody knows how".to_owned(), |status| status.to_string());
    see(ended.is_some_and(|status| ExitStatus::success(&status)), || format!("it ended with {}", how()))?;
    see(!stage.caller.broker.path().exists(), || "its socket is still there".to_owned())?;
    let Verified { records, torn, .. } = verified(stage)?;
    see(torn == 0, || "the audit's last line is torn".to_owned())?;
    Ok(Shown::Held(format!("exit 0, sockets removed, {records} records in the audit; the folder goes next")))
}

fn nothing_but_the_marker(report: &Report) -> Result<(), StepError> {
    let secrets: Vec<String> = report.hits.iter().filter(|hit| hit.needle != MARKER).map(ToString::to_string).collect();
    see(secrets.is_empty(), || secrets.join("\n"))?;
    let unread: Vec<String> =
        report.unreadable.iter().filter(|area| !area.by_design).map(ToString::to_string).collect();
    see(unread.is_empty(), || format!("{}\n{REFUSED}", unread.join("\n")))?;
    see(report.threads > 0, || format!("no registers were read\n{REFUSED}"))?;
    // Only the marker is left, or not even that.
    see(report.verdict() == Verdict::Found, || "not even the marker was found: this scan sees nothing".to_owned())
}

fn verified(stage: &Stage) -> Result<Verified, StepError> {
    Ok(audit::verify(&[stage.file("audit.ndjson")], Some(&stage.file("audit.head")))?)
}
