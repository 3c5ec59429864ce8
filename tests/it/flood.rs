//! Who may not ask and does, again and again: what of it is put on record is bounded by `refusals_per_uid`, by every way.

use crate::{
    actor::{Actor, itself, part},
    gateway::Holder,
    harness::{MINE, World, read_answer, signal},
};
use serde_json::Value;
use std::io::Write;

const FEW: &str = "[limits]\nrefusals_per_uid = \"3/min\"\n";

fn world() -> World {
    World::with_key(&format!("{FEW}{MINE}"))
}

/// How many lines there are of what was refused.
fn refusals(world: &World) -> Vec<Value> {
    let refused = |line: &Value| line["verdict"] == "refused" || line["record"] == "peer_refused";
    world.audit().into_iter().filter(refused).collect()
}

#[test]
fn a_dead_connectors_child_is_told_once_and_fills_no_audit() {
    let world = world();
    let mut said = Vec::new();
    for _ in 0..5 {
        let mut command = part(&itself(), "hand on", &world.broker());
        command.env("SIXTY_TARGET", "GET /v1/leases").env("SIXTY_TIMES", "40");
        let mut connector = Actor::start(command);
        assert_eq!(connector.says(), "connected 200");
        said.push(connector.does());
        assert_eq!(connector.says(), "closed", "nobody is there whom the next request could be from");
    }
    assert_eq!(said, ["403 denied", "403 denied", "403 denied", "429 busy", "429 busy"]);
    assert_eq!(refusals(&world).len(), 3, "{:#?}", refusals(&world));
}

#[test]
fn who_connects_and_dies_is_on_record_by_uid_and_not_without_end() {
    let world = world();
    signal(world.pid(), "STOP");
    let mut command = part(&itself(), "knock and run", &world.broker());
    command.env("SIXTY_TIMES", "40");
    let mut gone = Actor::start(command);
    assert_eq!(gone.says(), "40");
    assert!(gone.child.wait().unwrap().success());
    signal(world.pid(), "CONT");
    assert_eq!(world.http("GET", "/healthz", None).status, 200);
    let refused = refusals(&world);
    let uid = nix::unistd::geteuid().as_raw();
    assert_eq!(refused.len(), 3, "{refused:#?}");
    assert!(refused.iter().all(|line| line["uid"] == uid), "{refused:#?}");
}

#[test]
fn keys_that_are_over_or_anothers_fill_no_audit() {
    let world = world();
    let over = world.virtual_key("");
    world.control_http("DELETE", "/v1/leases?all=true", None);
    let holder = Holder::new(&world);
    for (key, times, refused) in [(&over, 2, 401), (&holder.key, 1, 403), (&over, 10, 429), (&holder.key, 10, 429)] {
        let request = format!(
            "POST /dashscope/compatible-mode/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        for _ in 0..times {
            let mut stream = world.gateway();
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(read_answer(&mut stream).unwrap().status, refused);
        }
    }
    // The third was judged, and has its decision beside its outcome.
    assert_eq!(refusals(&world).len(), 4, "{:#?}", refusals(&world));
}
