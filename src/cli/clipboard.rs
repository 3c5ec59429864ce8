//! A token on the clipboard, and off it again when it is over. The token goes to the tool by its stdin alone; the
//! helper that clears knows its hash only. It must never clear what somebody else has put there meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::environment::{has_program, variable};
use super::failure::Failure;
use crate::clock::Clock;

/// What can reach a clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// Wayland.
    WlCopy,
    /// X11.
    Xclip,
    /// X11.
    Xsel,
    /// The terminal itself, over ssh too: xterm's control sequence 52.
    Osc52,
}

/// More than this is no token, in bytes.
const MOST: u64 = 64 * 1024;
const TICK: Duration = Duration::from_millis(500);

impl Tool {
    /// As people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WlCopy => "wl-copy",
            Self::Xclip => "xclip",
            Self::Xsel => "xsel",
            Self::Osc52 => "the terminal (OSC 52)",
        }
    }

    fn copying(self) -> &'static [&'static str] {
        match self {
            Self::WlCopy => &["wl-copy"],
            Self::Xclip => &["xclip", "-selection", "clipboard"],
            Self::Xsel => &["xsel", "--clipboard", "--input"],
            Self::Osc52 => &[],
        }
    }

    fn pasting(self) -> &'static [&'static str] {
        match self {
            Self::WlCopy => &["wl-paste", "--no-newline"],
            Self::Xclip => &["xclip", "-selection", "clipboard", "-o"],
            Self::Xsel => &["xsel", "--clipboard", "--output"],
            Self::Osc52 => &[],
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::WlCopy => "wl-copy",
            Self::Xclip => "xclip",
            Self::Xsel => "xsel",
            Self::Osc52 => "osc52",
        }
    }
}

/// Puts `token` on the clipboard and leaves a helper behind that clears it after `seconds`.
///
/// # Errors
/// [`Failure::Clipboard`]: no tool, or it failed.
pub(super) fn copy(token: &[u8], seconds: u32) -> Result<Tool, Failure> {
    let terminal = OpenOptions::new().write(true).open("/dev/tty").ok();
    let display = Display {
        wayland: variable("WAYLAND_DISPLAY").is_some(),
        x11: variable("DISPLAY").is_some(),
        terminal: terminal.is_some(),
    };
    let tool = choose(display, has_program)
        .ok_or_else(|| fault("no clipboard: neither wl-copy, xclip, xsel nor a terminal is there"))?;
    let failed = |fault: std::io::Error| self::fault(format!("{} failed: {fault}", tool.name()));
    match (tool, &terminal) {
        (Tool::Osc52, Some(terminal)) => write_to(terminal, &osc52(token)).map_err(failed)?,
        _ => feed(tool.copying(), token).map_err(failed)?,
    }
    leave_helper(tool, terminal, token, seconds)
        .map_err(|fault| self::fault(format!("no helper to clear it: {fault}")))?;
    Ok(tool)
}

/// The helper: reads the token's hash from stdin, waits, and clears the clipboard if that is still the token's.
/// For a terminal, which is its stdout then, it can't look: it clears in any case.
pub(super) fn clear_later(tool: Tool, seconds: u32) -> Result<(), Failure> {
    let mut hash = [0; 32];
    std::io::stdin().read_exact(&mut hash).map_err(|_| fault("this is mint --copy's own helper"))?;
    // A session of its own: closing the terminal must not keep the clipboard full.
    let _ = nix::unistd::setsid();
    wait(seconds);
    let cleared = match tool {
        Tool::Osc52 => write_to(std::io::stdout(), &osc52(b"")),
        tool if !still_holds(tool, &hash) => Ok(()),
        Tool::WlCopy => feed(&["wl-copy", "--clear"], b""),
        Tool::Xclip | Tool::Xsel => feed(tool.copying(), b""),
    };
    cleared.map_err(|fault| self::fault(format!("{} failed: {fault}", tool.name())))
}

#[derive(Clone, Copy)]
struct Display {
    wayland: bool,
    x11: bool,
    terminal: bool,
}

fn choose(display: Display, has: impl Fn(&str) -> bool) -> Option<Tool> {
    if display.wayland && has("wl-copy") {
        return Some(Tool::WlCopy);
    }
    if display.x11 && has("xclip") {
        return Some(Tool::Xclip);
    }
    if display.x11 && has("xsel") {
        return Some(Tool::Xsel);
    }
    display.terminal.then_some(Tool::Osc52)
}

/// Runs a tool with these bytes on its stdin. It may leave a process behind that serves them: it has no fd of ours.
fn feed(command: &[&str], bytes: &[u8]) -> std::io::Result<()> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(bytes));
    let status = child.wait()?;
    written?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}

fn leave_helper(tool: Tool, terminal: Option<File>, token: &[u8], seconds: u32) -> std::io::Result<()> {
    let stdout = match terminal {
        Some(terminal) if tool == Tool::Osc52 => Stdio::from(terminal),
        _ => Stdio::null(),
    };
    let mut helper = Command::new(std::env::current_exe()?)
        .args(["clear-clipboard", "--tool", tool.argument(), "--after", &seconds.to_string()])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()?;
    helper.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&Sha256::digest(token)))
}

/// Waits on the clock that goes on while the machine sleeps.
fn wait(seconds: u32) {
    let clock = Clock::system();
    let deadline = clock.boot().plus(Duration::from_secs(seconds.into()));
    while clock.boot() < deadline {
        std::thread::sleep(TICK.min(deadline.since(clock.boot())));
    }
}

/// Whether the clipboard still holds what has this hash. When it can't be read, it is taken to.
fn still_holds(tool: Tool, hash: &[u8; 32]) -> bool {
    pasted(tool.pasting()).map_or(true, |bytes| Sha256::digest(&*bytes)[..] == hash[..])
}

fn pasted(command: &[&str]) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut bytes = Zeroizing::new(Vec::new());
    let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    let read = stdout.take(MOST).read_to_end(&mut bytes);
    let _ = child.wait();
    read.map(|_| bytes)
}

/// xterm's "manipulate selection data" for the clipboard; nothing to hold empties it.
fn osc52(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(bytes));
    let mut sequence = Zeroizing::new(Vec::with_capacity(text.len() + 8));
    sequence.extend_from_slice(b"\x1b]52;c;");
    sequence.extend_from_slice(text.as_bytes());
    sequence.push(0x07);
    sequence
}

fn write_to(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn fault(what: impl Into<String>) -> Failure {
    Failure::Clipboard { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_fits_the_display_and_is_there() {
        let display = |wayland, x11, terminal| Display { wayland, x11, terminal };
        assert_eq!(choose(display(true, true, true), |_| true), Some(Tool::WlCopy));
        assert_eq!(choose(display(true, true, true), |name| name == "xsel"), Some(Tool::Xsel));
        assert_eq!(choose(display(false, true, true), |_| true), Some(Tool::Xclip));
        assert_eq!(choose(display(false, false, true), |_| true), Some(Tool::Osc52));
        assert_eq!(choose(display(true, true, false), |_| false), None);
    }

    #[test]
    fn a_terminal_is_told_as_xterm_says() {
        assert_eq!(&*osc52(b"st-1"), b"\x1b]52;c;c3QtMQ==\x07");
        assert_eq!(&*osc52(b""), b"\x1b]52;c;\x07");
    }

    #[test]
    fn what_somebody_else_copied_meanwhile_is_told_apart() {
        let pasted = pasted(&["printf", "%s", "st-1"]).unwrap();
        assert_eq!(Sha256::digest(&*pasted), Sha256::digest(b"st-1"));
        assert_ne!(Sha256::digest(&*pasted), Sha256::digest(b"st-2"));
    }

    #[test]
    fn a_tool_that_fails_is_no_success() {
        assert!(feed(&["cat"], b"x").is_ok());
        assert!(feed(&["false"], b"").is_err());
        assert!(feed(&["sixty-no-such-tool"], b"").is_err());
    }

    #[test]
    fn every_tool_reads_back_from_the_helpers_command_line() {
        for tool in <Tool as clap::ValueEnum>::value_variants() {
            let read = <Tool as clap::ValueEnum>::from_str(tool.argument(), false);
            assert_eq!(read.as_ref(), Ok(tool));
        }
    }
}
