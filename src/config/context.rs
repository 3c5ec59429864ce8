//! What the text of a config refers to beyond itself: who "self" is, names of users, known providers.
//! It is looked up before, so that reading a config is pure.

use crate::recipe::Recipe;
use nix::unistd::{Group, User, getegid, geteuid};
use std::collections::BTreeMap;

/// The world as a config sees it.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who `uid = "self"` is.
    pub uid: u32,
    /// Who `gid = "self"` is.
    pub gid: u32,
    /// What `pid_ns = "self"` is; none where the kernel does not tell.
    pub pid_ns: Option<u64>,
    /// A user's number by name.
    pub user: fn(&str) -> Option<u32>,
    /// A group's number by name.
    pub group: fn(&str) -> Option<u32>,
    /// The providers that rules and limits may name.
    pub recipes: BTreeMap<String, Recipe>,
}

impl Context {
    /// This process on this machine. Names are looked up by the C library, which may ask a directory server.
    pub fn here(recipes: BTreeMap<String, Recipe>) -> Self {
        Self {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            pid_ns: nix::sys::stat::stat("/proc/self/ns/pid").ok().map(|found| found.st_ino),
            user: |name| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
            group: |name| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
            recipes,
        }
    }
}
