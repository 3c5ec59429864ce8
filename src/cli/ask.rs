//! One question to a daemon and its answer, for every command alike.
//! It must never put a byte of an answer into an error: it may be a token's.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::arguments::Sockets;
use super::environment;
use super::failure::Failure;
use super::output::say;
use crate::client::{Client, Method};

/// No mint takes so long but for a person, or a provider that hangs.
const LONG: Duration = Duration::from_secs(3);

/// A body, or what came back: wiped on drop.
pub(super) type Json = Zeroizing<Vec<u8>>;

/// The two sockets of a daemon.
pub(super) struct Doors {
    pub(super) broker: Client,
    pub(super) control: Client,
}

impl Doors {
    pub(super) fn of(sockets: Sockets) -> Self {
        Self {
            broker: Client::broker(environment::broker_socket(sockets.socket)),
            control: Client::control(environment::control_socket(sockets.control_socket)),
        }
    }
}

/// Asks and waits for a yes.
///
/// # Errors
/// [`Failure::Client`] without an answer, [`Failure::Refused`] with a no.
pub(super) fn ask(client: &Client, method: Method, target: &str, body: Option<Json>) -> Result<Json, Failure> {
    client.request(method, target, body)?.accepted().map_err(Failure::refused)
}

/// The same where a person may have to say yes first. Who waits for long is told what for.
///
/// # Errors
/// As [`ask`].
pub(super) fn ask_people(client: &Client, method: Method, target: &str, body: Option<Json>) -> Result<Json, Failure> {
    let (answered, waits) = mpsc::channel::<()>();
    let teller = std::thread::spawn(move || {
        if waits.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
            say(
                "still waiting; if the rule asks a person, `sixty approve` answers, or the program that the daemon runs",
            );
        }
    });
    let answer = ask(&client.patient(), method, target, body);
    drop(answered);
    // Not a moment longer: a thread that blocks no signal would take those that `exec` waits for.
    let _ = teller.join();
    answer
}

/// Reads the parts of an answer that a command shows; others are left alone, so that newer daemons can say more.
///
/// # Errors
/// [`Failure::Answer`], which tells the place of the fault and nothing of the answer.
pub(super) fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|fault| Failure::Answer(format!("JSON fault at byte {}", fault.column())))
}

/// A body of plain data.
pub(super) fn json(message: &impl Serialize) -> Json {
    Zeroizing::new(serde_json::to_vec(message).expect("invariant: plain data, written to memory"))
}
