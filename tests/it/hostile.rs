//! Callers who want too much, too slowly or too oddly: each limit of `[limits]`, and requests that are none.

use crate::{
    actor::copied,
    harness::{MINE, VIRTUAL, World, exchange, is_root, program, read_answer, request, signal, soon},
    http::over,
    needs::missing,
};
use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

fn limited(limits: &str) -> World {
    World::with_key(&format!("[limits]\n{limits}\n{MINE}"))
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// A connection that was served and stays open.
fn open(world: &World) -> UnixStream {
    let mut stream = connect(&world.broker());
    assert_eq!(over(&mut stream, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
    stream
}

/// How long the daemon leaves a connection open that says no more, and what it says last.
fn left_open(stream: &mut UnixStream) -> (Duration, String) {
    let began = Instant::now();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    (began.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn every_limit_has_a_test_that_sets_it() {
    let config = include_str!("../../config/sixty.toml");
    let limits = config.split("[limits]").nth(1).unwrap().split("\n[").next().unwrap();
    let keys: Vec<_> = limits.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 31, "{keys:?}");
    // Only what a test hands to a daemon counts, and not this line.
    let tests = [
        include_str!("hostile.rs"),
        include_str!("identity.rs"),
        include_str!("gateway.rs"),
        include_str!("narrowing.rs"),
        include_str!("attack/patience.rs"),
        include_str!("loopback.rs"),
        include_str!("attack/packed.rs"),
        include_str!("approval.rs"),
        include_str!("launcher.rs"),
    ];
    let tests = tests.concat();
    for key in keys {
        assert!([format!("\"{key} = "), format!("n{key} = ")].iter().any(|set| tests.contains(set)), "{key}");
    }
}

#[test]
fn a_long_list_of_leases_comes_in_pages_and_the_command_follows_them() {
    let world = limited("leases_per_page = 3");
    let mut minted: Vec<String> = (0..7).map(|_| world.mint(VIRTUAL).json()["id"].as_str().unwrap().into()).collect();
    minted.reverse();
    let page = |query: &str| world.http("GET", &format!("/v1/leases?{query}"), None);
    let told = |answer: &crate::harness::Answer| {
        let ids = answer.json()["leases"].as_array().unwrap().clone();
        ids.iter().map(|lease| lease["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = page("");
    assert_eq!((told(&first), first.json()["next"].as_str().unwrap()), (minted[..3].to_vec(), minted[2].as_str()));
    let second = page(&format!("limit=2&after={}", minted[2]));
    assert_eq!((told(&second), second.json()["next"].as_str().unwrap()), (minted[3..5].to_vec(), minted[4].as_str()));
    let last = page(&format!("after={}", minted[4]));
    assert_eq!((told(&last), last.json().get("next")), (minted[5..].to_vec(), None));
    assert_eq!(told(&page("limit=4")), minted[..3], "no more than the config allows");
    for bad in ["limit=0", "limit=-1", "limit=x", "after=x"] {
        assert_eq!(page(bad).refused(), (400, "malformed".into()), "{bad}");
    }
    for words in [&["leases", "--json"][..], &["leases", "--all", "--json"]] {
        let output = world.sixty(words).stdout;
        let all: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!((all["leases"].as_array().unwrap().len(), all.get("next").is_none()), (7, true), "{words:?}");
    }
    assert_eq!(world.control_http("GET", "/v1/leases?limit=2", None).json()["leases"].as_array().unwrap().len(), 2);
    // The lease to go on after ends: there is no place to go on from.
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{}", minted[2]), None).status, 200);
    for gone in [minted[2].as_str(), "ls_0000000000000000"] {
        assert_eq!(page(&format!("after={gone}")).refused(), (409, "malformed".into()));
    }
}

#[test]
fn a_request_that_came_in_while_the_daemon_stood_still_is_answered() {
    let world = limited("idle_time = \"1s\"\nheader_time = \"1s\"");
    let ask = request("GET", "/healthz", None, "keep-alive");
    for round in 0..4 {
        let mut streams: Vec<_> =
            (0..4).map(|n| if n % 2 == 0 { open(&world) } else { connect(&world.broker()) }).collect();
        assert_eq!(world.http("GET", "/healthz", None).status, 200, "they are all let in by now");
        signal(world.pid(), "STOP");
        streams.iter_mut().for_each(|stream| stream.write_all(ask.as_bytes()).unwrap());
        std::thread::sleep(Duration::from_millis(1500));
        signal(world.pid(), "CONT");
        for (n, stream) in streams.iter_mut().enumerate() {
            let answer = over(stream, "");
            assert_eq!(answer.map(|answer| answer.status), Some(200), "round {round}, connection {n}");
        }
    }
}

#[test]
fn of_those_who_are_told_busy_there_are_so_many_and_further_ones_are_closed() {
    let world = limited("connections_per_uid = 2\nbusy_answers = 1");
    let _all: Vec<_> = (0..2).map(|_| open(&world)).collect();
    let silent = connect(&world.broker());
    std::thread::sleep(Duration::from_millis(100));
    assert!(over(&mut connect(&world.broker()), &request("GET", "/healthz", None, "close")).is_none());
    drop(silent);
    let told = || world.try_http("GET", "/healthz", None).is_some_and(|answer| answer.code() == "busy");
    assert!(soon(Duration::from_secs(2), told));
    assert_eq!(world.status()["vault"]["state"], "open");
}

#[test]
fn a_head_has_64_lines_and_no_more() {
    let world = World::new(MINE);
    let asked = |lines: usize| {
        let lines: String = (0..lines).map(|line| format!("x-{line}: 1\r\n")).collect();
        let answer = over(&mut connect(&world.broker()), &format!("GET /healthz HTTP/1.1\r\n{lines}\r\n"));
        answer.map(|answer| answer.status)
    };
    assert_eq!((asked(64), asked(65)), (Some(200), Some(431)));
}

#[test]
fn the_129th_connection_of_a_user_is_told_busy_and_others_are_served() {
    let world = limited("");
    let mut all: Vec<_> = (0..128).map(|_| open(&world)).collect();
    let busy = over(&mut connect(&world.broker()), &request("GET", "/healthz", None, "close")).unwrap();
    assert_eq!((busy.status, busy.code().as_str()), (429, "busy"));
    assert!(busy.head.contains("retry-after: "), "{}", busy.head);
    // The owner's own door stays open to them, and those who are in are served.
    assert_eq!(world.status()["vault"]["state"], "open");
    assert_eq!(over(&mut all[0], &request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive")).unwrap().status, 201);
    if is_root() {
        let ours = copied(&program(), &world.path("bin/sixty"));
        let mut other = Command::new(ours);
        other.arg("whoami").env("SIXTY_SOCKET", world.broker()).uid(12345).gid(12345);
        assert!(other.output().unwrap().status.success());
    } else {
        missing("not root", "another user while one has all its connections");
    }
    drop(all.pop());
    assert!(soon(Duration::from_secs(2), || world.http("GET", "/healthz", None).status == 200));
}

#[test]
fn over_all_connections_who_says_nothing_for_longest_makes_room_for_the_next() {
    let world = limited("connections = 8\nconnections_per_uid = 8");
    // One slot is always held by the next to be accepted.
    let mut all: Vec<_> = (0..8).map(|_| open(&world)).collect();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(over(&mut all[0], &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200, "no one waits");
    std::thread::sleep(Duration::from_millis(150));
    let mut late = connect(&world.broker());
    assert_eq!(over(&mut late, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
    let (time, _) = left_open(&mut all[1]);
    assert!(time < Duration::from_secs(1), "the second had said nothing for longest: {time:?}");
    for stream in all.iter_mut().skip(2).chain([&mut late]) {
        assert_eq!(over(stream, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
    }
}

#[test]
fn over_all_connections_the_next_one_waits_for_those_who_are_owed_an_answer() {
    let world = limited("connections = 8\nconnections_per_uid = 8\nbody_time = \"30s\"");
    let begun = |_| {
        let mut stream = connect(&world.broker());
        stream.write_all(b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{").unwrap();
        stream
    };
    let mut all: Vec<_> = (0..8).map(begun).collect();
    std::thread::sleep(Duration::from_millis(100));
    let mut late = connect(&world.broker());
    late.write_all(request("GET", "/healthz", None, "close").as_bytes()).unwrap();
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(late.read(&mut [0]).is_err(), "there is no room");
    assert_eq!(world.status()["vault"]["state"], "open", "the owner has a door of their own");
    drop(all.pop());
    late.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(read_answer(&mut late).unwrap().status, 200);
}

#[test]
fn over_the_leases_of_a_user_nothing_is_minted() {
    let world = limited("leases_per_uid = 2");
    let upstream = r#"{"key":"dashscope/main","ttl":60}"#;
    for _ in 0..2 {
        assert_eq!(world.mint(upstream).status, 201);
    }
    let busy = world.mint(upstream);
    assert_eq!((busy.status, busy.code().as_str()), (429, "busy"));
    assert!(busy.head.contains("retry-after: "));
    assert_eq!(world.studio.mints(), 2, "a token that nobody may have is not minted");
    let freed = world.control_http("DELETE", "/v1/leases?all=true", None).json();
    assert_eq!(freed["revoked"], 2);
    assert_eq!(world.mint(upstream).status, 201);
}

#[test]
fn who_was_refused_before_a_judgement_and_who_revoked_is_on_record() {
    let world = limited("leases_per_uid = 1");
    let (mint, uid) = (world.mint(VIRTUAL), nix::unistd::geteuid().as_raw());
    let id = mint.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(world.mint(VIRTUAL).code(), "busy");
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    let audit = world.audit();
    let refused = audit.iter().find(|line| line["record"] == "outcome" && line["code"] == "busy").unwrap();
    assert_eq!((refused["uid"].as_u64(), &refused["key"]), (Some(uid.into()), &"dashscope/main".into()), "{refused}");
    let revoked = audit.iter().find(|line| line["record"] == "revoked").unwrap();
    assert_eq!(
        (&revoked["which"]["lease"], revoked["by"]["uid"].as_u64()),
        (&id.into(), Some(uid.into())),
        "{revoked}"
    );
}

#[test]
fn of_many_who_race_for_the_last_lease_one_gets_it() {
    let world = limited("leases = 5\nleases_per_uid = 5");
    world.studio.always(sixty::demo::studio::Fault::SlowHead(Duration::from_millis(50)));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let body = format!(r#"{{"key":"dashscope/main","ttl":{}}}"#, 60 + n);
            scope.spawn({
                let world = &world;
                move || world.mint(&body).status
            })
        };
        let asking: Vec<_> = (0..20).map(ask).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(201), count(429)), (5, 15), "{answers:?}");
    assert_eq!(world.studio.mints(), 5);
}

#[test]
fn leases_in_all_are_bounded_too() {
    let world = limited("leases = 3\nleases_per_uid = 3");
    let mut stream = open(&world);
    let mut mint = || over(&mut stream, &request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive")).unwrap().status;
    assert_eq!([mint(), mint(), mint(), mint()], [201, 201, 201, 429]);
}

#[test]
fn a_body_over_request_bytes_is_too_large_before_it_is_read() {
    let world = limited("request_bytes = \"1KiB\"");
    let refused = world.http("POST", "/v1/leases", Some(&" ".repeat(1025)));
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"));
    // The length alone is enough.
    let head = "POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(over(&mut connect(&world.broker()), head).unwrap().status, 413);
    // Without a length it is counted.
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    let chunked = format!("POST /v1/leases HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(over(&mut connect(&world.broker()), &chunked).unwrap().status, 413);
    assert_eq!(world.http("POST", "/v1/leases", Some(&format!("{VIRTUAL:<1024}"))).status, 201);
    let key = format!(r#"{{"provider":"dashscope","secret":"{}"}}"#, "x".repeat(1024));
    assert_eq!(world.control_http("PUT", "/v1/keys/dashscope/big", Some(&key)).status, 413);
}

#[test]
fn a_head_over_header_bytes_gets_nothing() {
    let world = limited("header_bytes = \"8KiB\"");
    let ask = |bytes: usize| {
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-fill: {}\r\n\r\n", "a".repeat(bytes));
        over(&mut connect(&world.broker()), &head).map(|answer| answer.status)
    };
    assert_eq!(ask(7000), Some(200));
    assert!(matches!(ask(9000), None | Some(400..=499)), "{:?}", ask(9000));
    let many = "x: y\r\n".repeat(200);
    let answer = over(&mut connect(&world.broker()), &format!("GET /healthz HTTP/1.1\r\n{many}\r\n"));
    assert!(matches!(answer.map(|answer| answer.status), None | Some(400..=499)));
    assert_eq!(ask(10), Some(200));
}

#[test]
fn a_head_that_drips_is_cut_off_in_time() {
    let world = limited("header_time = \"1s\"");
    let mut slow = connect(&world.broker());
    let began = Instant::now();
    for byte in b"GET /healthz HTTP/1.1\r\nhost: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    assert!((900..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    // Nor does one who says nothing at all stay.
    let (time, _) = left_open(&mut connect(&world.broker()));
    assert!((900..2000).contains(&time.as_millis()), "{time:?}");
}

#[test]
fn a_body_that_drips_is_cut_off_in_time() {
    let world = limited("body_time = \"1s\"");
    let mut slow = connect(&world.broker());
    slow.write_all(b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{").unwrap();
    let began = Instant::now();
    let refused = read_answer(&mut slow).unwrap();
    assert_eq!(refused.code(), "malformed");
    assert!((900..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    let (time, _) = left_open(&mut slow);
    assert!(time < Duration::from_millis(500), "a half-read body ends the connection: {time:?}");
}

#[test]
fn a_kept_alive_connection_that_says_nothing_ends() {
    let world = limited("idle_time = \"1s\"");
    let mut idle = open(&world);
    let (time, said) = left_open(&mut idle);
    assert!((900..2000).contains(&time.as_millis()), "{time:?}");
    assert_eq!(said, "");
}

#[test]
fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let world = limited("request_time = \"1s\"");
    world.studio.next(sixty::demo::studio::Fault::Hang);
    let began = Instant::now();
    let refused = world.mint(r#"{"key":"dashscope/main"}"#);
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert!((900..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn who_does_not_take_the_answer_loses_the_lease() {
    let world = limited("");
    world.studio.next(sixty::demo::studio::Fault::SlowHead(Duration::from_millis(200)));
    let mut gone = connect(&world.broker());
    let body = r#"{"key":"dashscope/main"}"#;
    gone.write_all(request("POST", "/v1/leases", Some(body), "close").as_bytes()).unwrap();
    assert!(soon(Duration::from_secs(5), || world.studio.requests() == 1));
    drop(gone);
    assert!(soon(Duration::from_secs(5), || world.studio.mints() == 1));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.status()["answers"]["sent"], 0);
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn many_slow_ones_do_not_keep_a_quick_one_waiting() {
    let world = limited("");
    let mut slow: Vec<_> = (0..100).map(|_| connect(&world.broker())).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{").unwrap();
    }
    let began = Instant::now();
    assert_eq!(world.mint(VIRTUAL).status, 201);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn what_is_not_understood_is_refused_and_never_quoted() {
    let world = limited("");
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"key":"dashscope/main","turbo":true}"#,
        r#"{"key":"dashscope/main","ttl":0}"#,
        r#"{"key":"dashscope/main","ttl":-1}"#,
        r#"{"key":"dashscope/main","ttl":"60s "}"#,
        r#"{"key":"dashscope/main","kind":"root"}"#,
        r#"{"key":"dashscope/main","owner":"nobody"}"#,
        r#"{"key":"dashscope/main","key":"dashscope/main"}"#,
        r#"{"key":"../../etc/passwd"}"#,
        r#"{"key":"DASHSCOPE/MAIN"}"#,
        r#"{"key":"dashscope/main"} {}"#,
        r#"{"key":"dashscope/main","scope":{"models":"qwen"}}"#,
        r#"{"ttl":60}"#,
        "\u{feff}{}",
        "{\"key\":\"dashscope\u{0}main\"}",
    ] {
        let refused = world.http("POST", "/v1/leases", Some(body));
        assert_eq!((refused.status, refused.code().as_str()), (400, "malformed"), "{body}");
        assert!(!refused.text().contains("passwd") && !refused.text().contains("turbo"), "{}", refused.text());
    }
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn a_key_that_is_sent_in_the_place_of_a_name_is_written_down_nowhere() {
    let world = limited("");
    let key = crate::harness::random_key();
    let refused = world.mint(&format!(r#"{{"key":"{key}"}}"#));
    assert_eq!(refused.code(), "malformed");
    assert!(!refused.text().contains(&key));
    let head = format!(
        "POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    let refused = over(&mut connect(&world.broker()), &head).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidParameter"));
    assert!(!refused.text().contains(&key));
    assert!(!world.sixty(&["mint", &key]).status.success());
    // World looks through log and audit when it is dropped.
    world.audit();
}

#[test]
fn bytes_that_are_no_http_end_the_connection_and_nothing_else() {
    let world = limited("header_time = \"1s\"");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let tls = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), vec![7; 100]].concat();
    let smuggled = b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n".to_vec();
    let lengths = b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 9\r\n\r\n{}{}".to_vec();
    for bytes in [preface, tls, smuggled, lengths, vec![0; 9000], vec![b'\n'; 9000], b"GET /healthz\r\n\r\n".to_vec()] {
        let mut stream = connect(&world.broker());
        let _ = stream.write_all(&bytes);
        let (_, said) = left_open(&mut stream);
        assert!(!said.contains(" 200 OK") && !said.contains(" 201 "), "{said}");
    }
    assert_eq!(world.mint(VIRTUAL).status, 201);
}

#[test]
fn an_upgrade_and_other_methods_lead_nowhere() {
    let world = limited("");
    for (method, target) in [
        ("GET", "/"),
        ("POST", "/v1/leases/"),
        ("PUT", "/v1/leases"),
        ("PATCH", "/v1/leases"),
        ("CONNECT", "dashscope.aliyuncs.com:443"),
        ("OPTIONS", "*"),
        ("TRACE", "/v1/leases"),
        ("GET", "http://other/v1/leases/x"),
        ("GET", "/v1/leases/../keys"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/status"),
        ("POST", "/v1/lock"),
        ("POST", "/v1/unlock"),
        ("POST", "/v1/reload"),
        ("GET", "/v1/audit"),
        ("GET", "/metrics"),
        ("DELETE", "/v1/leases?all=true"),
        ("PUT", "/v1/keys/dashscope/new"),
        ("POST", "/v1/keys/dashscope/main/rotate"),
    ] {
        let answer = exchange(&world.broker(), method, target, None);
        let status = answer.map_or(0, |answer| answer.status);
        assert!((400..500).contains(&status), "{method} {target}: {status}");
    }
    let upgrade = "GET /v1/leases HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(over(&mut connect(&world.broker()), upgrade).unwrap().status, 200, "an upgrade is ignored");
    assert_eq!(world.status()["vault"]["state"], "open");
}

#[test]
fn pipelined_requests_are_answered_in_their_order_each_with_its_own_token() {
    let world = limited("");
    let mut stream = connect(&world.broker());
    let ttls = [61, 62, 63, 64, 65, 66, 67, 68];
    let all: String = ttls
        .iter()
        .map(|ttl| {
            let body = format!(r#"{{"key":"dashscope/main","kind":"virtual","ttl":{ttl}}}"#);
            request("POST", "/v1/leases", Some(&body), if *ttl == 68 { "close" } else { "keep-alive" })
        })
        .collect();
    stream.write_all(all.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let leases: Vec<serde_json::Value> = text
        .split("\r\n\r\n")
        .skip(1)
        .map(|part| serde_json::Deserializer::from_str(part).into_iter().next().unwrap().unwrap())
        .collect();
    assert_eq!(leases.len(), ttls.len(), "{text}");
    let mut tokens = std::collections::HashSet::new();
    for (lease, ttl) in leases.iter().zip(ttls) {
        let left = lease["expires_in"].as_u64().unwrap();
        assert!((ttl - 2..=ttl).contains(&left), "{left} of {ttl}");
        let token = lease["token"].as_str().unwrap();
        crate::harness::remember(token);
        assert!(tokens.insert(token.to_owned()) && token.starts_with("sixty_"), "a placeholder went out");
    }
}

#[test]
fn a_daemon_that_is_out_of_descriptors_waits_and_recovers() {
    let mut world = World::asleep(MINE, &[]);
    let inner = world.daemon_command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80 && exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    world.start_by(command);
    world.add_key("dashscope/main");
    let mut flood: Vec<_> = (0..100).map(|_| connect(&world.broker())).collect();
    for stream in &mut flood {
        let _ = stream.write_all(request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive").as_bytes());
    }
    std::thread::sleep(Duration::from_millis(500));
    drop(flood);
    assert!(soon(Duration::from_secs(5), || world
        .try_http("POST", "/v1/leases", Some(VIRTUAL))
        .is_some_and(|answer| answer.status == 201)));
    assert_eq!(world.status()["vault"]["state"], "open");
    let complaints = world.log().lines().filter(|line| line.contains("short of something")).count();
    assert!((1..20).contains(&complaints), "{complaints} lines in half a second");
}

#[test]
fn who_asks_in_vain_again_and_again_does_not_fill_the_audit() {
    let rules = format!("{}\n[limits]\nrefusals_per_uid = \"5/min\"\n", MINE.replace("\"**\"", "\"dashscope/*\""));
    let world = World::with_key(&rules);
    let codes: Vec<_> = (0..20).map(|_| world.mint(r#"{"key":"other/key"}"#).code()).collect();
    assert_eq!(codes.iter().filter(|code| *code == "denied").count(), 5);
    assert!(codes[5..].iter().all(|code| code == "busy"), "{codes:?}");
    let about = world.audit().iter().filter(|line| line["record"] == "decision" && line["key"] == "other/key").count();
    assert_eq!(about, 5, "what is over the limit is not written");
    assert_eq!(world.mint(r#"{"key":"dashscope/main"}"#).status, 201, "what is due is still given");
}
