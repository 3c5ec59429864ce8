//! Budgets of a key, a workspace and an owner: held to by everybody's calls, told, kept over a restart, and changed by a
//! reload.

use crate::{
    attack::upstream::{Provider, Then},
    harness::{Answer, MINE, SECOND, World, random_key, read_answer, soon},
    usage::{CHAT, QUESTION, send},
};
use std::io::{Read, Write};

/// Two keys of one owner in two workspaces; a call uses 3 + 6 tokens.
fn world(budgets: &str) -> World {
    let world = World::new(&format!("{budgets}{MINE}"));
    for (name, workspace) in [("dashscope/one", "ws-1"), ("dashscope/two", "ws-2")] {
        let key = random_key();
        world.studio.register(&key);
        let place = format!(r#""region":"singapore","workspace":"{workspace}","endpoint":"{}""#, world.studio.url());
        let body = format!(r#"{{"provider":"dashscope",{place},"owner":"ops","secret":"{key}"}}"#);
        let answer = world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    world
}

fn key(world: &World, name: &str) -> String {
    world.mint(&format!(r#"{{"key":"dashscope/{name}","kind":"virtual"}}"#)).token()
}

/// A call that may use some 30 tokens with a fresh key.
fn call(world: &World, name: &str) -> Answer {
    let body = QUESTION.replace("\"messages\"", "\"max_tokens\":8,\"messages\"");
    read_answer(&mut send(world, &key(world, name), CHAT, &body)).expect("the gateway answers")
}

fn budget(text: &str) -> String {
    format!("[[budget]]\n{text}\n")
}

/// What is spent, by name.
fn spent(world: &World) -> Vec<(String, u64)> {
    let told = world.control_http("GET", "/v1/usage", None).json();
    let one = |budget: &serde_json::Value| {
        (format!("{} {}", budget["of"], budget["name"]).replace('"', ""), budget["tokens_spent"].as_u64().unwrap())
    };
    told["budgets"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn each_name_that_fits_has_a_budget_of_its_own() {
    for (whose, one_binds_two) in
        [("key = \"dashscope/*\"", false), ("workspace = \"ws-*\"", false), ("owner = \"*\"", true)]
    {
        let world = world(&budget(&format!("{whose}\ntokens = 38\nper = \"day\"")));
        assert_eq!(call(&world, "one").status, 200, "{whose}");
        assert!(soon(SECOND, || spent(&world).iter().any(|(_, tokens)| *tokens == 9)), "{:?}", spent(&world));
        let over = call(&world, "one");
        assert_eq!((over.status, over.json()["error"]["code"].as_str()), (401, Some("exhausted")), "{}", over.text());
        assert_eq!(call(&world, "two").status == 200, !one_binds_two, "{whose}");
        assert_eq!(spent(&world).len(), if one_binds_two { 1 } else { 2 }, "{:?}", spent(&world));
    }
}

#[test]
fn a_budget_of_others_binds_nobody_else_and_what_nobody_can_read_is_refused_where_one_binds() {
    let world = world(&budget("workspace = \"ws-1\"\ntokens = 10\nper = \"month\""));
    assert_eq!((call(&world, "one").status, call(&world, "two").status), (401, 200));
    let models = |name| {
        let text = format!(
            "GET /dashscope/compatible-mode/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            key(&world, name)
        );
        crate::http::over(&mut world.gateway(), &text).map(|answer| answer.status)
    };
    assert_eq!((models("one"), models("two")), (Some(403), Some(200)));
}

#[test]
fn what_is_spent_is_told_outlives_the_daemon_and_a_reload_changes_the_bound() {
    let mut world = world(&budget("owner = \"ops\"\ntokens = 45\nper = \"month\""));
    assert_eq!(call(&world, "one").status, 200);
    assert!(soon(SECOND, || spent(&world) == [("owner ops".to_owned(), 9)]), "{:?}", spent(&world));
    assert_eq!(world.stop(), Some(0));
    world.start();
    assert_eq!(spent(&world), [("owner ops".to_owned(), 9)]);
    let told = String::from_utf8(world.sixty(&["usage"]).stdout).unwrap();
    assert!(told.contains("owner ops  month  9 of 45"), "{told}");
    let why = String::from_utf8(world.sixty(&["why", "dashscope/two"]).stdout).unwrap();
    assert!(why.contains("9 of 45 a month"), "{why}");
    assert_eq!([(); 2].map(|()| call(&world, "two").status), [200, 401]);
    let held = key(&world, "one");
    let wider = budget("owner = \"ops\"\ntokens = 90\nper = \"month\"");
    world.configure(&format!("{wider}{MINE}"));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    let body = QUESTION.replace("\"messages\"", "\"max_tokens\":8,\"messages\"");
    assert_eq!(read_answer(&mut send(&world, &held, CHAT, &body)).unwrap().status, 200, "a key that was given before");
}

#[test]
fn what_a_refused_call_held_is_given_back_and_an_answer_that_may_not_fit_is_not_begun() {
    let world = world(&budget("owner = \"ops\"\ntokens = 4165\nper = \"day\""));
    world.studio.next(sixty::demo::studio::Fault::Throttled);
    assert_eq!(call(&world, "one").status, 429);
    assert_eq!(spent(&world), [("owner ops".to_owned(), 0)], "nothing came of it");
    let long =
        QUESTION.replace("Who are you?", &"words ".repeat(20)).replace("\"messages\"", "\"stream\":true,\"messages\"");
    let key = key(&world, "one");
    let mut whole = String::new();
    send(&world, &key, CHAT, &long).read_to_string(&mut whole).ok();
    assert!(whole.contains("[DONE]"), "what fits passes: {whole}");
    assert_eq!(read_answer(&mut send(&world, &key, CHAT, &long)).unwrap().status, 401, "the usual answer does not");
}

#[test]
fn an_answer_that_grows_beyond_the_keys_budget_is_cut_on_its_way() {
    let world = World::new(&format!("{}{MINE}", budget("key = \"**\"\ntokens = 5000\nper = \"day\"")));
    let provider = Provider::start();
    world.add_key_at("dashscope/one", &provider.url());
    // A token for each four bytes: 100 tokens an event, 10,000 in all.
    provider.script(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(400));
        (0..100).take_while(|_| stream.write_all(event.as_bytes()).is_ok()).count();
        Then::Close
    });
    let mut told = Vec::new();
    let stream = QUESTION.replace("\"messages\"", "\"stream\":true,\"messages\"");
    let _ = send(&world, &key(&world, "one"), CHAT, &stream).read_to_end(&mut told);
    let told = String::from_utf8_lossy(&told);
    let events = told.matches("data: ").count();
    // What is cut is the piece that goes beyond it, however many events that has.
    assert!((1..50).contains(&events) && !told.ends_with("0\r\n\r\n"), "{events} events came");
    assert!(soon(SECOND, || spent(&world)[0].1 >= 4000), "{:?}", spent(&world));
}
