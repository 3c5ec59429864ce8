//! A ticket is given for the virtual key of its lease: once, and to whom it was made for. Whoever else tries it, or tries it
//! again, ends the lease: the ticket has got around. It never tells a stranger more than `denied`.

use super::{
    Asked, Grant, Receipt, Session,
    alarm::{Cause, Raised},
    refuse::Stop,
};
use crate::{
    attest::HolderError,
    audit::{Action, Judged},
    issuer::{MintError, Redeemed},
    ledger::{Held, Spent, Which},
    model::{KeyName, Kind, Lease, Principal, Refusal},
    secret::Secret,
    wire::key::{Shape, digest, shape},
};

impl Session {
    /// Redeems a ticket.
    ///
    /// # Errors
    /// It is none, its lease is over, it was made for somebody else, or it was redeemed before.
    pub async fn redeem(&self, ticket: &Secret) -> Result<Grant, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let broker = &self.broker.0;
        let held = ticketed(ticket).and_then(|digest| broker.ledger.ticketed(&digest).map_err(Stop::Spent));
        if held.is_err() && self.is_wary() {
            self.look_for(&ticket.expose(digest)).await;
        }
        let held = held.map_err(|stop| broker.turn_away(asked, None, &stop))?;
        let key = &held.terms.key;
        let by = self.meant(&held).await.map_err(|stop| broker.turn_away(asked, Some(key), &stop))?;
        self.redeemed(asked, &held, &by).await.map_err(|stop| broker.refuse(asked, Some(key), &stop))
    }

    /// Who redeems it, if the ticket was made for them and its key is there.
    async fn meant(&self, held: &Held) -> Result<Principal, Stop> {
        let (broker, terms) = (&self.broker.0, &held.terms);
        // A lease with a ticket is always for somebody.
        let recipient = terms.recipient.as_ref().ok_or(Stop::NotTheHolder)?;
        let needs = self.broker.policy().needs.clone().and(&[recipient.fact]);
        let principal = broker.attestor.identify(&self.peer, &needs).await?;
        if let Err(stop) = broker.attestor.is(&self.peer, recipient).await {
            if matches!(stop, HolderError::Other(_)) {
                self.abused(&principal, held, "it was made for somebody else");
            }
            return Err(stop.into());
        }
        broker.issuer.lent(&terms.key).map_err(MintError::Key)?;
        Ok(principal)
    }

    async fn redeemed(&self, asked: Asked, held: &Held, by: &Principal) -> Result<Grant, Stop> {
        let (broker, terms) = (&self.broker.0, &held.terms);
        let judged = Judged::Redeem { lease: held.lease, key: &terms.key, rule: &terms.rule };
        broker.decide(asked, by, judged).await?;
        let Redeemed { token, digest, seal, provider, base_urls } = broker.issuer.key(&terms.key)?;
        self.peer.still_there()?;
        broker.ledger.redeem(held.lease, digest, seal).inspect_err(|spent| {
            if *spent == Spent::Redeemed {
                self.abused(by, held, "it was redeemed before");
            }
        })?;
        let expires_in = broker.left(held.deadline, held.expires_at, 0)?;
        let lease = Lease {
            id: held.lease,
            key: terms.key.clone(),
            provider,
            kind: Kind::Virtual,
            token,
            ticket: false,
            expires_at: held.expires_at,
            expires_in,
            revocable: true,
            base_urls,
        };
        Ok(Grant { lease, receipt: Receipt::new(broker.clone(), asked, held.lease, held.expires_at) })
    }

    /// The lease ends, whatever the disk says, and who did it is on record.
    fn abused(&self, by: &Principal, held: &Held, why: &'static str) {
        let broker = &self.broker.0;
        broker.ledger.revoke(&Which::Id(held.lease));
        let key: &KeyName = &held.terms.key;
        broker.note(Some(by), Action::TicketAbused { lease: held.lease, key, why });
        let says = format!("a ticket got around, and its lease has ended: {why}");
        broker.alarms.raise(Raised { cause: Cause::Ticket, says, key: Some(key), by: Some(by) });
    }
}

fn ticketed(ticket: &Secret) -> Result<[u8; 32], Stop> {
    ticket.expose(|text| match shape(text) {
        Shape::Ticket => Ok(digest(text)),
        Shape::Ours | Shape::Narrowed | Shape::Damaged | Shape::Foreign => Err(Stop::NoTicket),
    })
}
