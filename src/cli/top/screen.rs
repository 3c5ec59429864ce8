//! The terminal while `sixty top` draws on it: its other screen, without cursor, line ends and echo. However it ends
//! (SIGKILL apart) and whenever it is stopped, the terminal is as it was.

use std::io::Read;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::frame::{Frame, Watch};
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, exactly_these, plain};
use crate::client::ClientError;
use crate::sys::signals::Signals;

/// The other screen, no cursor, and no new line where one is too long.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";
/// To the end of the line, and of the screen.
const CLEAR: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";
/// Lines where nobody knows how many the terminal has.
const USUAL: usize = 24;

/// What happens.
enum Event {
    Seen(Box<Result<Frame, Failure>>),
    Typed(u8),
    Caught(Signal),
}

/// Draws until somebody types q or a signal ends it.
pub(super) fn live(mut watch: Watch, interval: Duration) -> Result<(), Failure> {
    let mut text = watch.look()?.to_string();
    let signals = Signals::block().map_err(|errno| Failure::output(errno.into()))?;
    let (tell, events) = mpsc::channel();
    let (looker, catcher, reader) = (tell.clone(), tell.clone(), tell);
    std::thread::spawn(move || look(watch, interval, &looker));
    std::thread::spawn(move || {
        while let Ok(caught) = signals.next() {
            if catcher.send(Event::Caught(caught.signal)).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for byte in std::io::stdin().lock().bytes().map_while(Result::ok) {
            if reader.send(Event::Typed(byte)).is_err() {
                return;
            }
        }
    });
    let mut screen = Screen::enter()?;
    screen.draw(&text)?;
    for event in events {
        match event {
            Event::Seen(seen) => text = told(*seen)?,
            Event::Typed(b'q' | b'Q') => break,
            Event::Typed(_) => continue,
            Event::Caught(Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT) => break,
            Event::Caught(Signal::SIGTSTP) => screen = screen.stopped()?,
            Event::Caught(Signal::SIGWINCH | Signal::SIGCONT) => {}
            Event::Caught(_) => continue,
        }
        screen.draw(&text)?;
    }
    Ok(())
}

fn look(mut watch: Watch, interval: Duration, tell: &Sender<Event>) {
    loop {
        std::thread::sleep(interval);
        if tell.send(Event::Seen(Box::new(watch.look()))).is_err() {
            return;
        }
    }
}

/// What was seen, as text. A daemon that is away may come back; one that says no ends it.
fn told(seen: Result<Frame, Failure>) -> Result<String, Failure> {
    match seen {
        Ok(frame) => Ok(frame.to_string()),
        Err(Failure::Client(fault @ (ClientError::Unreachable { .. } | ClientError::Broken { .. }))) => {
            Ok(format!("{BAD}{}{BAD:#}\n", plain(&fault.to_string())))
        }
        Err(fault) => Err(fault),
    }
}

/// A terminal that is drawn on; dropped, it is as it was.
struct Screen {
    /// None where stdin is no terminal.
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Result<Self, Failure> {
        let before = tcgetattr(std::io::stdin()).ok();
        let screen = Self { before };
        if let Some(mut quiet) = screen.before.clone() {
            quiet.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &quiet);
        }
        exactly_these(ENTER)?;
        Ok(screen)
    }

    /// Gives the terminal back, stops with the whole process, and takes it again when that goes on.
    fn stopped(self) -> Result<Self, Failure> {
        drop(self);
        let _ = raise(Signal::SIGSTOP);
        Self::enter()
    }

    /// Draws as many lines as there is room for.
    fn draw(&mut self, text: &str) -> Result<(), Failure> {
        let rows = terminal_size::terminal_size().map_or(USUAL, |(_, height)| usize::from(height.0));
        exactly_these(&painted(text, rows))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = exactly_these(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// A text as one write that paints it over what was there; the last line says what is left out.
fn painted(text: &str, rows: usize) -> String {
    let colours = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let text = if colours { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() };
    let lines: Vec<&str> = text.lines().collect();
    // The last row is left free: a line end there would scroll.
    let room = rows.saturating_sub(2).max(1);
    let hidden = lines.len().saturating_sub(room);
    let foot = if hidden > 0 { format!("… {hidden} more; q ends") } else { "q ends".to_owned() };
    let shown = lines.iter().take(room).copied().chain([foot.as_str()]);
    let body: String = shown.map(|line| format!("{line}{CLEAR}\r\n")).collect();
    format!("{HOME}{}{CLEAR_BELOW}", body.trim_end_matches("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_said_to_be_left_out() {
        let text: String = (0..9).map(|line| format!("line {line}\n")).collect();
        let painted = |rows| painted(&text, rows).replace(CLEAR, "").replace("\r\n", "|");
        assert_eq!(painted(5), "\u{1b}[Hline 0|line 1|line 2|… 6 more; q ends\u{1b}[J");
        assert!(painted(11).ends_with("line 8|q ends\u{1b}[J"));
        assert!(painted(0).contains("line 0|… 8 more"));
    }
}
