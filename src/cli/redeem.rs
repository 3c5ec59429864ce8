//! `sixty redeem`: a ticket in, the virtual key that it stands for out. It must never take the ticket from argv.

use clap::Args;
use serde_json::Map;

use super::arguments::Show;
use super::ask::{Doors, ask};
use super::entry;
use super::failure::Failure;
use super::mint::token;
use super::output::exactly;
use super::words::NoSecret;
use crate::client::Method;

/// `sixty redeem`.
#[derive(Debug, Args)]
pub(super) struct RedeemArguments {
    #[arg(hide = true, value_parser = NoSecret)]
    stray: Option<NoSecret>,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `sixty redeem`.
pub(super) fn redeem(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let ticket = entry::secret("ticket: ")?;
    let body = entry::body(&Map::new(), "ticket", &ticket)?;
    drop(ticket);
    let asked = ask(&doors.broker, Method::POST, "/v1/tickets/redeem", Some(body));
    let answer = asked.map_err(|failure| failure.advising("denied", ADVICE).advising("revoked", TWICE))?;
    if show.json { exactly(&answer) } else { exactly(token(&answer)?.0.as_bytes()) }
}

const ADVICE: &str = "it may be for another peer (`sixty whoami` shows what this one is), and is dead now if it was";
const TWICE: &str = "a ticket is good once: if it was not you who redeemed it, somebody else has seen it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_goes_in_the_body_alone() {
        let body = entry::body(&Map::new(), "ticket", b"sixty_ticket_x").unwrap();
        assert_eq!(&body[..], br#"{"ticket":"sixty_ticket_x"}"#);
    }
}
