//! The choke point: every method, path, protocol version, upgrade and place of a key. Without a live virtual key nothing
//! reaches the provider, and with one the same table does, so that the table itself is sound.

use super::{Scene, statuses};
use crate::{harness::random_key, http::read_head};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
const PATHS: [&str; 5] = [
    "/dashscope/compatible-mode/v1/chat/completions",
    "/dashscope/apps/anthropic/v1/messages",
    "/dashscope/api-ws/v1/inference",
    "/dashscope/compatible-mode/v1/models",
    "/dashscope/",
];
const VERSIONS: [&str; 2] = ["HTTP/1.1", "HTTP/1.0"];
const UPGRADES: [&str; 3] =
    ["", "connection: upgrade\r\nupgrade: websocket\r\n", "connection: upgrade\r\nupgrade: h2c\r\n"];
/// A header, or a query, with a key in it.
const PLACES: [&str; 12] = [
    "authorization: Bearer KEY",
    "authorization: Basic KEY",
    "authorization: token KEY",
    "x-api-key: KEY",
    "api-key: KEY",
    "x-goog-api-key: KEY",
    "proxy-authorization: Bearer KEY",
    "sec-websocket-protocol: realtime, openai-insecure-api-key.KEY",
    "cookie: key=KEY",
    "?key=KEY",
    "?access_token=KEY",
    "",
];

fn rows(mut each: impl FnMut(&str, &str, &str, &str, &str)) {
    for method in METHODS {
        for path in PATHS {
            for version in VERSIONS {
                for upgrade in UPGRADES {
                    PLACES.iter().for_each(|place| each(method, path, version, upgrade, place));
                }
            }
        }
    }
}

fn text(row: (&str, &str, &str, &str, &str), key: &str) -> String {
    let (method, path, version, upgrade, place) = row;
    let (query, line) = match place.strip_prefix('?') {
        Some(_) => (place.replace("KEY", key), String::new()),
        None if place.is_empty() => Default::default(),
        None => (String::new(), format!("{}\r\n", place.replace("KEY", key))),
    };
    format!("{method} {path}{query} {version}\r\nhost: localhost\r\n{line}{upgrade}content-length: 0\r\n\r\n")
}

/// One answer's status, by the Unix socket or by TCP; the connection is closed after it.
fn status(scene: &Scene, by: &By, text: &str) -> Option<u16> {
    let head = match by {
        By::Unix => said(scene.connect(), text),
        By::Tcp(address) => said(TcpStream::connect(address).unwrap(), text),
    };
    statuses(&head).first().copied()
}

fn said(mut stream: impl Read + Write, text: &str) -> String {
    let _ = stream.write_all(text.as_bytes());
    read_head(&mut stream)
}

enum By {
    Unix,
    Tcp(String),
}

/// A scene with both doors.
fn open(rule: &str) -> (Scene, [By; 2]) {
    let scene = Scene::with(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{}{rule}", crate::harness::MINE));
    let address = scene.world.status()["gateway"]["listen"].as_str().unwrap().to_owned();
    (scene, [By::Unix, By::Tcp(address)])
}

#[test]
fn without_a_live_virtual_key_nothing_goes_out_by_any_way() {
    let (scene, ways) = open("");
    let lease = scene.world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let (dead, id) = (lease.token(), lease.json()["id"].as_str().unwrap().to_owned());
    assert_eq!(scene.world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    let (foreign, mut tried) = (random_key(), 0_usize);
    rows(|method, path, version, upgrade, place| {
        tried += 1;
        // By turns that follow none of the table's own, so that every place meets both keys and both ways.
        let turn = tried.wrapping_mul(0x9e37_79b9) >> 16;
        let key = [&dead, &foreign][turn % 2];
        let status = status(&scene, &ways[turn / 2 % 2], &text((method, path, version, upgrade, place), key));
        assert!(status.is_some_and(|status| (400..500).contains(&status)), "{status:?}: {method} {path} {place}");
    });
    assert_eq!((tried, scene.provider.count()), (3240, 0));
    scene.still_serves("all that");
}

#[test]
fn with_a_live_one_every_way_that_is_open_leads_to_the_same_place() {
    let (scene, ways) = open("risky = \"allowed\"\n");
    let mut passed = std::collections::BTreeSet::new();
    rows(|method, path, version, upgrade, place| {
        if upgrade.contains("h2c") || (place.is_empty() || place.contains("cookie")) {
            return;
        }
        let text = text((method, path, version, upgrade, place), &scene.key);
        for (number, by) in ways.iter().enumerate() {
            let status = status(&scene, by, &text);
            // The key is put in once and in one place, whatever the way: `arrived` looks.
            for one in scene.arrived() {
                assert_eq!(status, Some(200), "{method} {path} {version} {upgrade} {place} {}", one.line);
                passed.insert((number, method.to_owned(), place.to_owned()));
            }
        }
    });
    assert!(passed.len() == 2 * 8 * 8, "{} {passed:?}", passed.len());
}
