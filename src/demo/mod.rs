//! `sixty demo`: the whole life of a key in one run; and what it and the tests need for that: a pretend Model Studio and
//! a memory scanner.
//!
//! Nothing here may be reached from the daemon: it exists to be talked to, never to serve a real key.

mod run;
pub mod scan;
pub mod studio;

use std::process::ExitCode;

use self::run::{Afterwards, Form};

/// Runs the demo: 0 only if every step that could be tried held. With `keep` it stays until Ctrl-C; `json` prints one
/// object instead of lines.
pub fn demo(keep: bool, json: bool) -> ExitCode {
    let afterwards = if keep { Afterwards::Stay } else { Afterwards::End };
    let form = if json { Form::Json } else { Form::Lines };
    run::run(afterwards, form)
}
