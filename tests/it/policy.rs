//! Who may: the rules as they bite on real connections, and what a reload does to them.

use crate::harness::{Answer, MINE, VIRTUAL, World, read_answer, request, signal, soon};
use std::{io::Write, os::unix::net::UnixStream, time::Duration};

/// A connection that is kept alive over many requests.
struct Line(UnixStream);

impl Line {
    fn new(world: &World) -> Self {
        Self(UnixStream::connect(world.broker()).unwrap())
    }

    fn mint(&mut self, body: &str) -> Answer {
        self.0.write_all(request("POST", "/v1/leases", Some(body), "keep-alive").as_bytes()).unwrap();
        read_answer(&mut self.0).expect("the connection stays open")
    }
}

fn fault(world: &World) -> Option<String> {
    world.status()["policy"]["fault"].as_str().map(str::to_owned)
}

#[test]
fn a_reload_bites_on_open_connections_at_once() {
    let world = World::with_key(MINE);
    let mut line = Line::new(&world);
    assert_eq!(line.mint(VIRTUAL).status, 201);
    world.configure("");
    assert_eq!(line.mint(VIRTUAL).status, 201, "a file that nobody read is no policy");
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(line.mint(VIRTUAL).code(), "denied");
    world.configure(MINE);
    signal(world.pid(), "HUP");
    assert!(soon(Duration::from_secs(5), || world.status()["policy"]["rules"] == 1));
    assert_eq!(line.mint(VIRTUAL).status, 201);
}

#[test]
fn a_reload_bites_on_a_mint_that_is_under_way() {
    let world = World::with_key(MINE);
    world.studio.next(sixty::demo::studio::Fault::SlowHead(Duration::from_millis(300)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(r#"{"key":"dashscope/main"}"#));
        assert!(soon(Duration::from_secs(5), || world.studio.requests() == 1));
        world.configure("");
        assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
        asking.join().unwrap()
    });
    assert_eq!(answer.code(), "denied");
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn a_bad_file_keeps_the_old_rules_and_status_says_so() {
    let world = World::with_key(MINE);
    let mut line = Line::new(&world);
    for bad in [
        "[[rule]]\nname = \"x\"\n",
        "this is no TOML",
        "[[rule]]\nname=\"a\"\npeer={uid=\"self\"}\nkeys=[\"**\"]\nkinds=[\"virtual\"]\nturbo=true\n",
    ] {
        world.configure(bad);
        signal(world.pid(), "HUP");
        assert!(soon(Duration::from_secs(5), || fault(&world).is_some()), "{bad}");
        assert_eq!(line.mint(VIRTUAL).status, 201);
        let refused = world.control_http("POST", "/v1/reload", None);
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("old rules"), "{}", refused.text());
        assert!(world.control_http("GET", "/metrics", None).text().contains("sixty_policy_faulty 1"));
        world.configure(MINE);
        assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
        assert_eq!(fault(&world), None);
    }
    std::fs::remove_file(world.path("sixty.toml")).unwrap();
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 400);
    assert_eq!(line.mint(VIRTUAL).status, 201);
    let text = world.audit().iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("reload"), "a reload that was not taken is on record");
}

#[test]
fn status_shows_a_person_which_line_of_a_bad_file_is_bad() {
    let world = World::new(MINE);
    world.configure("nonsense");
    assert_eq!(world.control_http("POST", "/v1/reload", None).code(), "malformed");
    let shown = String::from_utf8_lossy(&world.sixty(&["status"]).stdout).into_owned();
    let line = shown.lines().find(|line| line.contains("sixty.toml:11:9")).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.ends_with("see `sixty check`") && !line.contains("\\n"), "{line}");
}

#[test]
fn the_first_rule_that_matches_decides_also_to_say_no() {
    let narrow =
        "[[rule]]\nname = \"narrow\"\npeer = { uid = \"self\" }\nkeys = [\"dashscope/main\"]\nkinds = [\"virtual\"]\n";
    let world = World::with_key(&format!("{narrow}{MINE}"));
    world.add_key("dashscope/other");
    assert_eq!(world.mint(r#"{"key":"dashscope/main","kind":"upstream"}"#).code(), "denied");
    assert_eq!(world.mint(VIRTUAL).status, 201);
    assert_eq!(world.mint(r#"{"key":"dashscope/other","kind":"upstream"}"#).status, 201);
    let why = world.control_http("POST", "/v1/why", Some(r#"{"key":"dashscope/other"}"#)).json();
    assert_eq!((why["decides"].as_str(), why["steps"][0]["failed"].as_str()), (Some("mine"), Some("keys")), "{why}");
}

#[test]
fn no_rule_no_key_and_an_unknown_key_is_denied_like_any_other() {
    let world = World::with_key("");
    let denied = world.mint(VIRTUAL);
    let unknown = world.mint(r#"{"key":"dashscope/none","kind":"virtual"}"#);
    let told = |answer: &Answer| {
        let mut json = answer.json();
        json.as_object_mut().unwrap().remove("request_id");
        (answer.status, json)
    };
    assert_eq!(told(&denied), told(&unknown));
    assert_eq!(denied.status, 403);
}

#[test]
fn a_key_that_is_not_there_is_denied_even_to_whom_every_key_is_allowed() {
    let world = World::with_key(MINE);
    for kind in ["virtual", "upstream"] {
        let body = format!(r#"{{"key":"dashscope/none","kind":"{kind}"}}"#);
        assert_eq!(world.mint(&body).code(), "denied");
    }
    assert_eq!(world.studio.requests(), 0);
}

#[test]
fn the_61st_of_60_a_minute_is_told_when_to_come_again() {
    let world = World::with_key(&format!("{MINE}rate = \"60/min\"\n"));
    let mut line = Line::new(&world);
    for n in 0..60 {
        assert_eq!(line.mint(VIRTUAL).status, 201, "{n}");
    }
    let busy = line.mint(VIRTUAL);
    assert_eq!((busy.status, busy.code().as_str()), (429, "busy"));
    assert!(busy.head.contains("retry-after: 1") || busy.head.contains("retry-after: 2"), "{}", busy.head);
    // A new connection, and a reload, make no new principal.
    assert_eq!(world.mint(VIRTUAL).status, 429);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(world.mint(VIRTUAL).status, 429);
    assert!(soon(Duration::from_secs(3), || world.mint(VIRTUAL).status == 201), "a second later there is one more");
}

#[test]
fn a_wish_is_cut_to_the_rule() {
    let rule = MINE.replace("max = \"30m\"", "max = \"90s\"");
    let world = World::with_key(&format!("{rule}uses = {{ max = 5 }}\n"));
    let lease = world.mint(r#"{"key":"dashscope/main","kind":"virtual","ttl":1800,"uses":50}"#).json();
    assert!((85..=90).contains(&lease["expires_in"].as_u64().unwrap()), "{lease}");
    let listed = world.control_http("GET", "/v1/leases", None).json();
    assert!(listed["leases"].as_array().unwrap().iter().all(|lease| lease["uses_left"] == 5), "{listed}");
    let upstream = world.mint(r#"{"key":"dashscope/main","ttl":1800}"#).json();
    assert!(upstream["expires_in"].as_u64().unwrap() <= 90);
}

#[test]
fn more_life_than_the_rule_gives_is_refused_with_the_bound() {
    let world = World::with_key(&MINE.replace("max = \"30m\"", "max = \"60s\""));
    let refused = world.mint(r#"{"key":"dashscope/main","min_remaining":60}"#);
    assert_eq!((refused.status, refused.code().as_str()), (400, "malformed"));
    assert!(refused.text().contains("min_remaining"), "{}", refused.text());
    assert_eq!(world.studio.requests(), 0);
}

#[test]
fn one_user_sees_and_ends_its_own_leases_alone() {
    let world = World::with_key(MINE);
    let mut line = Line::new(&world);
    let id = line.mint(VIRTUAL).json()["id"].as_str().unwrap().to_owned();
    let listed = world.http("GET", "/v1/leases", None);
    assert!(listed.text().contains(&id) && !listed.text().contains("token"), "{}", listed.text());
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).code(), "denied");
    assert_eq!(world.http("DELETE", "/v1/leases/ls_nonsense", None).code(), "malformed");
}
