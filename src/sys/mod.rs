//! The only floor with `unsafe`: one kernel facility a file, each behind a safe face.
//! It must never know what a key, a rule or a lease is.

pub mod accept;
pub mod activation;
pub mod alloc;
pub mod chance;
pub mod child;
pub mod closing;
pub mod code;
pub mod confine;
#[cfg(test)]
mod depth;
pub mod descent;
pub mod diag;
pub mod dir;
pub mod era;
pub mod file;
pub mod holders;
pub mod landlock;
pub mod launcher;
pub mod lock;
pub mod lookout;
mod map;
pub mod memfd;
pub mod page;
pub mod passing;
pub mod peer;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod readable;
mod registers;
#[cfg(test)]
pub(crate) mod scratch;
pub mod scrub;
pub mod seccomp;
mod shield;
pub mod signals;
pub mod socket;
pub mod tcp;
pub mod timer;
pub mod trace;
pub mod user;
