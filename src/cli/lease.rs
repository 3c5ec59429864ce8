//! `sixty leases` and `sixty revoke`: what is handed out, and taking it back.
//! It must never say that a token is dead which the provider still takes.

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use super::arguments::{LeasesArguments, RevokeArguments, Which};
use super::ask::{Doors, Json, ask, json, read};
use super::failure::Failure;
use super::output::{BAD, DIM, GOOD, exactly, say, show as print};
use super::table::{Cell, Side, Table};
use super::time::span;
use crate::client::{Client, ClientError, Method, encoded};
use crate::model::{LeaseId, Revocable};

#[derive(Deserialize, Serialize)]
struct Leases<T> {
    leases: Vec<T>,
    #[serde(skip_serializing)]
    next: Option<LeaseId>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    key: String,
    kind: String,
    rule: String,
    expires_in: u64,
    uid: u32,
    owner_pid: Option<u32>,
    #[serde(rename = "for")]
    recipient: Option<String>,
    uses_left: Option<u32>,
    state: String,
}

/// What a revocation did: on the control socket it counts, on the broker socket it says yes or no.
#[derive(Deserialize)]
pub(super) struct Revoked {
    revoked: Count,
    residual: Option<Residual>,
    #[serde(default)]
    unread: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Many(u64),
    One(bool),
}

#[derive(Deserialize)]
struct Residual {
    leases: Option<u64>,
    upstream_seconds: u64,
}

impl Revoked {
    /// What is dead now, and what lives on.
    pub(super) fn told(&self) -> String {
        self.told_of("lease")
    }

    /// The same of leases, or of narrower keys.
    fn told_of(&self, what: &str) -> String {
        let many = match self.revoked {
            Count::Many(many) => many,
            Count::One(one) => one.into(),
        };
        let done = match many {
            0 => format!("no {what} was live"),
            1 => format!("1 {what} revoked"),
            many => format!("{many} {what}s revoked"),
        };
        match &self.residual {
            Some(Residual { leases, upstream_seconds: seconds @ 1.. }) => {
                let (what, lives) = match leases {
                    None | Some(1) if many == 1 => ("its upstream token can't".to_owned(), "lives"),
                    None | Some(1) => ("1 upstream token can't".to_owned(), "lives"),
                    Some(many) => (format!("{many} upstream tokens can't"), "live"),
                };
                format!("{done}; {what} be recalled and {lives} on at the provider for up to {}", span(*seconds))
            }
            _ if many == 0 => done,
            _ => format!("{done}; nothing lives on"),
        }
    }
}

/// `sixty leases`: the caller's own from the broker socket, everybody's from the control socket.
pub(super) fn list(doors: &Doors, arguments: &LeasesArguments) -> Result<(), Failure> {
    let (client, target) = match arguments.all {
        true => (&doors.control, "/v1/leases?all=true&"),
        false => (&doors.broker, "/v1/leases?"),
    };
    let first = ask(client, Method::GET, target, None)?;
    if arguments.show.json {
        let whole = read::<Leases<IgnoredAny>>(&first)?.next.is_none();
        return if whole { exactly(&first) } else { exactly(&json(&pages::<Value>(client, target, &first)?)) };
    }
    let Leases { leases, .. } = pages::<Row>(client, target, &first)?;
    if leases.is_empty() {
        say(if arguments.all { "no leases" } else { "no leases of yours; `sixty leases --all` shows everybody's" });
        return Ok(());
    }
    print(table(&leases))
}

/// Everybody's leases, whatever a row is to tell of each.
pub(super) fn everybodys<T: DeserializeOwned>(control: &Client) -> Result<Vec<T>, Failure> {
    const ALL: &str = "/v1/leases?";
    let first = ask(control, Method::GET, ALL, None)?;
    pages(control, ALL, &first).map(|all| all.leases)
}

/// How often a list is begun anew whose place was lost: the lease that it was to go on after ended meanwhile.
const ANEW: usize = 3;

/// A list to its end, from its first page on.
fn pages<T: DeserializeOwned>(client: &Client, target: &str, first: &[u8]) -> Result<Leases<T>, Failure> {
    let mut anew = 0;
    let mut all: Leases<T> = read(first)?;
    while let Some(after) = all.next.take() {
        match ask(client, Method::GET, &format!("{target}after={after}"), None) {
            Ok(answer) => {
                let more: Leases<T> = read(&answer)?;
                all.leases.extend(more.leases);
                all.next = more.next;
            }
            Err(Failure::Refused { problem, .. }) if problem.code == "malformed" && anew < ANEW => {
                anew += 1;
                all = read(&ask(client, Method::GET, target, None)?)?;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

/// `sixty revoke`.
pub(super) fn revoke(doors: &Doors, arguments: &RevokeArguments) -> Result<(), Failure> {
    let answer = match arguments.which.id {
        Some(id) => revoke_one(doors, id)?,
        None => ask(&doors.control, Method::DELETE, &target(&arguments.which), None)?,
    };
    if arguments.show.json {
        return exactly(&answer);
    }
    let revoked: Revoked = read(&answer)?;
    let what = match arguments.which.id {
        Some(Revocable::Node(_)) => "narrower key",
        Some(Revocable::Lease(_)) | None => "lease",
    };
    say(format_args!("{GOOD}done{GOOD:#}: {}", revoked.told_of(what)));
    if let unread @ 1.. = revoked.unread {
        say(format_args!(
            "{BAD}not looked at{BAD:#}: {unread} more, of whose peer this is not known, since no rule names it; \
             revoke them by uid, exe, --key or --all"
        ));
    }
    Ok(())
}

/// As the daemon's owner where we are, else as the lease's own: a system daemon's users have no control socket.
fn revoke_one(doors: &Doors, id: Revocable) -> Result<Json, Failure> {
    let asked = ask(&doors.control, Method::DELETE, &format!("/v1/leases?id={id}"), None);
    match asked {
        Err(Failure::Client(ClientError::Forbidden { .. } | ClientError::Unreachable { .. })) => {
            ask(&doors.broker, Method::DELETE, &format!("/v1/leases/{id}"), None)
        }
        asked => asked,
    }
}

fn target(which: &Which) -> String {
    match (&which.key, &which.peer) {
        (Some(key), _) => format!("/v1/leases?key={}", encoded(key.as_str())),
        (None, Some(peer)) => format!("/v1/leases?peer={}", encoded(&peer.to_string())),
        (None, None) => "/v1/leases?all=true".to_owned(),
    }
}

fn table(leases: &[Row]) -> Table {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("LEASE", Left),
        ("KEY", Left),
        ("KIND", Left),
        ("RULE", Left),
        ("LEFT", Right),
        ("USES", Right),
        ("UID", Right),
        ("OWNER", Right),
        ("STATE", Left),
    ]);
    for lease in leases {
        let live = lease.state == "live";
        table.row([
            Cell::new(&lease.id),
            Cell::new(&lease.key),
            Cell::new(&lease.kind),
            Cell::new(&lease.rule),
            Cell::maybe(live.then(|| span(lease.expires_in))),
            Cell::maybe(lease.uses_left.map(|uses| uses.to_string())),
            Cell::new(lease.uid.to_string()),
            Cell::maybe(lease.recipient.clone().or_else(|| lease.owner_pid.map(|pid| pid.to_string()))),
            Cell::new(&lease.state).styled(match lease.state.as_str() {
                "live" => GOOD,
                "revoked" | "frozen" => BAD,
                _ => DIM,
            }),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::Show;
    use crate::client::{Client, fake::Fake};

    fn told(json: &str) -> String {
        serde_json::from_str::<Revoked>(json).unwrap().told()
    }

    #[test]
    fn what_lives_on_upstream_is_never_called_dead() {
        assert_eq!(
            told(r#"{"revoked":3,"residual":{"leases":2,"upstream_seconds":41}}"#),
            "3 leases revoked; 2 upstream tokens can't be recalled and live on at the provider for up to 41s"
        );
        assert_eq!(
            told(r#"{"revoked":true,"residual":{"upstream_seconds":41}}"#),
            "1 lease revoked; its upstream token can't be recalled and lives on at the provider for up to 41s"
        );
        assert_eq!(
            told(r#"{"revoked":1,"residual":{"leases":0,"upstream_seconds":0}}"#),
            "1 lease revoked; nothing lives on"
        );
        assert_eq!(told(r#"{"revoked":0,"residual":{"leases":0,"upstream_seconds":0}}"#), "no lease was live");
    }

    #[test]
    fn a_user_without_the_control_socket_can_give_up_an_own_lease() {
        let fake = Fake::answering("200 OK", r#"{"revoked":true,"residual":{"upstream_seconds":0}}"#);
        let doors = Doors { broker: Client::broker(fake.path()), control: Client::control("/nonexistent/control") };
        let which = Which { id: Some(Revocable::Lease(crate::model::LeaseId(7))), key: None, peer: None, all: false };
        assert!(revoke(&doors, &RevokeArguments { which, show: Show { json: false } }).is_ok());
        assert!(fake.asked().starts_with("DELETE /v1/leases/ls_0000000000000007 HTTP/1.1\r\n"));
    }

    #[test]
    fn a_peer_with_an_ampersand_does_not_become_all() {
        let which = Which { id: None, key: None, peer: Some("exe:/a&all=true".parse().unwrap()), all: false };
        assert_eq!(target(&which), "/v1/leases?peer=exe%3A%2Fa%26all%3Dtrue");
    }

    #[test]
    fn a_dead_lease_has_no_time_left() {
        let row = |state: &str| Row {
            id: "ls_1".to_owned(),
            key: "a".to_owned(),
            kind: "virtual".to_owned(),
            rule: "mine".to_owned(),
            expires_in: 41,
            uid: 0,
            owner_pid: None,
            recipient: None,
            uses_left: None,
            state: state.to_owned(),
        };
        let text = anstream::adapter::strip_str(&table(&[row("live"), row("revoked")]).to_string()).to_string();
        assert_eq!(text.matches("41s").count(), 1, "{text}");
    }
}
