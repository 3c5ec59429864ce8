//! `peer = { … }`: whom a rule is about. All must hold, so one that cannot be read makes the rule none at all.

use super::{Context, value::Value};
use crate::{
    model::{Fact, Malformed, Pattern},
    policy::Condition,
};

type Read = fn(Value<'_>, &Context) -> Option<Condition>;

/// In the order in which they are looked at: the cheap ones first.
const FACTS: [(Fact, Read); 8] = [
    (Fact::Uid, |value, context| id(value, "uid", context.uid, context.user).map(Condition::Uid)),
    (Fact::Gid, |value, context| id(value, "gid", context.gid, context.group).map(Condition::Gid)),
    (Fact::Unit, |value, _| value.parse("\"ci.service\"", unit).map(Condition::Unit)),
    (Fact::Cgroup, |value, _| value.parse("\"/user.slice/**\"", from_root).map(Condition::Cgroup)),
    (Fact::Exe, |value, _| value.parse("\"/usr/bin/curl\"", from_root).map(Condition::Exe)),
    (Fact::PidNs, pid_ns),
    (Fact::Socket, |value, _| socket(value).map(Condition::Socket)),
    (Fact::ExeSha256, |value, _| value.parse("\"…64 hex digits…\"", sha256).map(Condition::ExeSha256)),
];

/// Reads all conditions; at least one, so that nobody means everybody by leaving something out.
pub(super) fn conditions(value: Value<'_>, context: &Context) -> Option<Vec<Condition>> {
    let mut table = value.table("`peer`", "write peer = { uid = \"self\" }")?;
    if table.is_empty() {
        let advice = "write { uid = \"self\" }, or { socket = \"broker\" } for everybody on this machine";
        return value.fault("`peer` names nobody", advice);
    }
    let read = |(fact, read): (Fact, Read)| table.take(fact.name()).map(|value| read(value, context));
    let all: Vec<_> = FACTS.into_iter().filter_map(read).collect();
    all.into_iter().collect()
}

/// Whom a rule's owner may mint for, as one text: `unit:job-*.service`, `uid:1001`. The socket is nobody.
pub(super) fn recipient(text: &str, context: &Context) -> Result<Condition, Malformed> {
    let fault = || Malformed("it is unit:job-*.service, uid:1001, or another fact and its value".to_owned());
    let (name, value) = text.split_once(':').ok_or_else(fault)?;
    let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name).ok_or_else(fault)?;
    let number = |own, named: fn(&str) -> Option<u32>| match value {
        "self" => Ok(own),
        _ => value.parse().ok().or_else(|| named(value)).filter(|id| *id < u32::MAX).ok_or_else(fault),
    };
    Ok(match fact {
        Fact::Uid => Condition::Uid(number(context.uid, context.user)?),
        Fact::Gid => Condition::Gid(number(context.gid, context.group)?),
        Fact::Unit => Condition::Unit(unit(value)?),
        Fact::Cgroup => Condition::Cgroup(from_root(value)?),
        Fact::Exe => Condition::Exe(from_root(value)?),
        Fact::ExeSha256 => Condition::ExeSha256(sha256(value)?),
        Fact::PidNs => Condition::PidNs(value.parse().map_err(|_| fault())?),
        Fact::Socket => return Err(fault()),
    })
}

/// `"self"`, a number, or a name of this machine's.
fn id(value: Value<'_>, what: &str, own: u32, named: fn(&str) -> Option<u32>) -> Option<u32> {
    if !value.is_text() {
        // The last one means "none" to the kernel (chown(2), setreuid(2)).
        return value.count(own, 0..=u32::MAX - 1);
    }
    match value.text("\"self\"")? {
        "self" => Some(own),
        text if text.parse::<u32>().is_ok() => {
            value.cannot_be(text, &format!("a number stands without quotes: {what} = {text}"))
        }
        text => named(text).or_else(|| {
            let advice = format!("this machine knows no such name; write \"self\", a known name, or the {what} itself");
            value.cannot_be(text, &advice)
        }),
    }
}

fn unit(text: &str) -> Result<Pattern, Malformed> {
    match text.contains('.') || text.ends_with('*') {
        true if text.contains('/') && !(text.starts_with("user@") && text.matches('/').count() == 1) => {
            let told = "a unit's name has no /, but for a user's own, user@UID/NAME; a path is matched by cgroup";
            Err(Malformed(told.to_owned()))
        }
        true => text.parse(),
        false => Err(Malformed(format!("a unit's name has its kind at the end: \"{text}.service\""))),
    }
}

fn from_root(text: &str) -> Result<Pattern, Malformed> {
    match text.starts_with('/') || text.starts_with("**") {
        true => text.parse(),
        false => Err(Malformed("a path begins with /; ** stands for any folders".to_owned())),
    }
}

fn sha256(text: &str) -> Result<String, Malformed> {
    match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Malformed("it is 64 hex digits, as sha256sum prints them".to_owned())),
    }
}

fn pid_ns(value: Value<'_>, context: &Context) -> Option<Condition> {
    let inode = match value.is_text() {
        false => value.number("\"self\"")?,
        true => match value.text("\"self\"")? {
            "self" => {
                return context.pid_ns.map(Condition::PidNs).or_else(|| {
                    value.fault(
                        "this kernel names no pid namespace",
                        "leave pid_ns out: /proc/self/ns/pid is not readable",
                    )
                });
            }
            text => {
                return value.cannot_be(text, "it is \"self\", or the number that `readlink /proc/PID/ns/pid` shows");
            }
        },
    };
    Some(Condition::PidNs(inode))
}

fn socket(value: Value<'_>) -> Option<String> {
    let words = ["broker", "control", "gateway"].map(|word| (word, word));
    value.word(&words).map(str::to_owned)
}
