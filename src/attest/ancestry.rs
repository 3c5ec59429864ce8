//! Who stands above a peer, for the record of an alarm. Nothing is judged by it: names and command lines are their
//! process's own, and any of it may be absent.

use super::{Peer, exe::Program};
use crate::{
    model::{Ancestry, ancestry::line},
    sys::{descent, procfs::ProcDir},
};

impl Peer {
    /// The numbers of the peer's process and of those above it, for a first look: a number proves nothing.
    pub fn lineage(&self) -> Vec<u32> {
        descent::ancestry(self.credentials.pid).map(|process| process.pid().unsigned_abs()).collect()
    }

    /// The peer's process and those above it.
    pub fn ancestry(&self) -> Ancestry {
        descent::ancestry(self.credentials.pid).map(|process| told(&process)).collect()
    }
}

fn told(process: &ProcDir) -> String {
    let uid = process.uids().ok().map(|uids| uids[1]);
    let exe = Program::of(process).and_then(|program| program.path);
    line(process.pid(), uid, exe, &process.command().unwrap_or_default())
}
