//! Whether one process descends from another, by the parents that /proc shows: proc_pid_stat(5).
//! It must never take "could not be told" for a yes.

use super::procfs::{ProcDir, ProcError};

/// How many processes may stand between the two.
pub const DEEPEST: usize = 64;

/// Whether the process descends from the one with this number. A process whose parent ended was given another one, so
/// a link that holds now has held all along. Asked of a number: whoever asks must know that it still is the same
/// ancestor's afterwards.
///
/// # Errors
/// One of them ended meanwhile, or can't be looked at; or more than [`DEEPEST`] stand above it, and none is the ancestor.
pub fn descends(process: &ProcDir, ancestor: u32) -> Result<bool, ProcError> {
    let mut number = process.parent()?;
    for _ in 0..DEEPEST {
        if number.unsigned_abs() == ancestor {
            return Ok(true);
        }
        if number <= 1 {
            return Ok(false);
        }
        number = ProcDir::open(number)?.parent()?;
    }
    Err(ProcError::Deep { pid: process.pid() })
}

/// The process and those above it, the nearest first. It ends where one can't be looked at, and at [`DEEPEST`].
pub fn ancestry(pid: i32) -> impl Iterator<Item = ProcDir> {
    let above = |process: &ProcDir| match process.parent() {
        Ok(number @ 1..) => ProcDir::open(number).ok(),
        _ => None,
    };
    std::iter::successors(ProcDir::open(pid).ok(), above).take(DEEPEST)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn of_too_many_generations_nobody_says_no() {
        let deep = "n=$(($1 - 1)); if [ $n -gt 0 ]; then sh -c \"$0\" \"$0\" $n; else echo $$; exec sleep 30; fi; true";
        let mut first = Command::new("sh").args(["-c", deep, deep, "70"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(first.stdout.take().unwrap()), &mut line).unwrap();
        let last = ProcDir::open(line.trim().parse().unwrap()).unwrap();
        let told = [last.parent().unwrap().unsigned_abs(), first.id(), 1].map(|ancestor| descends(&last, ancestor));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(last.pid()), nix::sys::signal::Signal::SIGKILL).unwrap();
        first.wait().unwrap();
        assert!(matches!(told, [Ok(true), Err(ProcError::Deep { .. }), Err(ProcError::Deep { .. })]), "{told:?}");
    }

    #[test]
    fn a_grandchild_descends_and_a_sibling_does_not() {
        let start = |script| Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let (mut one, mut other) = (start("sleep 30 & echo $!; wait"), start("echo; exec sleep 30"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(one.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild = ProcDir::open(line.trim().parse().unwrap()).unwrap();
        assert!(descends(&grandchild, one.id()).unwrap() && descends(&grandchild, std::process::id()).unwrap());
        assert!(!descends(&grandchild, other.id()).unwrap());
        let above: Vec<_> = ancestry(grandchild.pid()).map(|process| process.pid().unsigned_abs()).collect();
        assert_eq!(above[1..3], [one.id(), std::process::id()]);
        assert!(!descends(&ProcDir::own().unwrap(), std::process::id()).unwrap(), "nobody descends from itself");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(grandchild.pid()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        one.wait().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(descends(&grandchild, 1).is_err(), "who has ended descends from nobody");
    }
}
