//! Bodies that are refused before they came, and bodies of which nothing more comes: the one who is refused hears why, and
//! nobody is waited for for ever.

use super::{CHAT, OTHER, SECOND, Scene, ask, read_answer, statuses, upstream::Then};
use crate::harness::{MINE, soon};
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

const MOMENT: Duration = Duration::from_millis(100);

fn post(target: &str, key: &str, length: usize) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Scene {
    /// By TCP to an address, or by the Unix socket.
    fn opened(&self, address: Option<&str>) -> Box<dyn Stream> {
        let Some(address) = address else { return Box::new(self.connect()) };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(10 * SECOND)).unwrap();
        Box::new(stream)
    }
}

#[test]
fn who_is_refused_hears_why_however_much_was_still_to_come() {
    const BODY: usize = 10 << 20;
    let scene = Scene::with(&format!(
        "[limits]\nlook_bytes = \"1KiB\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}scope = {{ models = [\"qwen-*\"] }}"
    ));
    let address = scene.world.status()["gateway"]["listen"].as_str().unwrap().to_owned();
    let many = scene.world.virtual_key(r#","scope":{"methods":["GET"]}"#);
    for by in [None, Some(address.as_str())] {
        for (key, target, status) in [
            (scene.key.as_str(), CHAT, 413),
            (&many, OTHER, 403),
            (&scene.key, "/openai/v1/chat/completions", 403),
            ("sixty_1", CHAT, 400),
            ("", CHAT, 403),
        ] {
            let mut stream = scene.opened(by);
            stream.write_all(&post(target, key, BODY)).unwrap();
            // All of it before a byte of the answer is read, as simple clients do.
            let sent = stream.write_all(&vec![b'a'; BODY]);
            assert!(sent.is_ok(), "{by:?} {status}: {sent:?}");
            let mut said = String::new();
            let read = stream.read_to_string(&mut said);
            assert!(read.is_ok(), "{by:?} {status}: {read:?}");
            assert_eq!(statuses(&said), [status], "{by:?}");
        }
    }
    assert_eq!(scene.provider.count(), 0);
}

#[test]
fn who_was_refused_is_read_for_so_long_and_so_much_and_no_more() {
    let scene = Scene::with(&format!("[limits]\nlinger_time = \"1s\"\nlinger_bytes = \"64KiB\"\n{MINE}"));
    let fill = |piece: &[u8], pause: Duration| {
        let mut stream = scene.connect();
        stream.write_all(&post(CHAT, "", 1 << 30)).unwrap();
        let (began, mut written) = (Instant::now(), 0);
        while began.elapsed() < 10 * SECOND && stream.write_all(piece).is_ok() {
            written += piece.len();
            sleep(pause);
        }
        (began.elapsed(), written)
    };
    let (lasted, _) = fill(b"a", Duration::from_millis(20));
    assert!((SECOND - MOMENT..3 * SECOND).contains(&lasted), "a slow one was read for {lasted:?}");
    let (_, written) = fill(&[b'a'; 4096], Duration::ZERO);
    assert!(written < 4 << 20, "of a fast one {written} bytes were read");
}

#[test]
fn an_upload_that_falls_silent_ends_and_one_that_is_slow_does_not() {
    let scene = Scene::with(&format!("[limits]\nupload_idle = \"1s\"\n{MINE}"));
    let mut stream = scene.connect();
    stream.write_all(&post(OTHER, &scene.key, 50)).unwrap();
    for _ in 0..4 {
        sleep(6 * MOMENT);
        stream.write_all(b"ab").unwrap();
    }
    let began = Instant::now();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.refused(), (400, "malformed".into()));
    assert!(answer.text().contains("upload_idle"), "{}", answer.text());
    assert!((SECOND - MOMENT..3 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(soon(SECOND, || scene.provider.count() > 0));
    assert!(scene.arrived().iter().all(|one| one.unfinished), "the provider takes it for no whole call");
}

#[test]
fn a_provider_that_falls_silent_is_left_and_one_that_is_slow_is_not() {
    let scene = Scene::with(&format!("[limits]\nanswer_idle = \"1s\"\n{MINE}"));
    let call = || {
        let began = Instant::now();
        let mut stream = scene.connect();
        stream.write_all(&post(OTHER, &scene.key, 0)).unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        (said, began.elapsed())
    };
    scene.provider.script(|_, _| {
        sleep(5 * SECOND);
        Then::Close
    });
    let began = Instant::now();
    let answer = ask(&mut scene.connect(), &scene.key, "POST", OTHER, "").unwrap();
    assert_eq!(answer.refused(), (502, "upstream".into()));
    assert!((SECOND - MOMENT..3 * SECOND).contains(&began.elapsed()), "no head: {:?}", began.elapsed());
    let lost = |line: &serde_json::Value| line["reason"] == "the provider fell silent";
    assert!(scene.world.audit().iter().any(lost), "it is on record");
    scene.provider.script(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
        for _ in 0..4 {
            sleep(6 * MOMENT);
            let _ = stream.write_all(b"2\r\nab\r\n");
        }
        sleep(5 * SECOND);
        Then::Close
    });
    let (said, lasted) = call();
    assert_eq!((said.matches("ab").count(), said.contains("\r\n0\r\n")), (4, false), "{said}");
    assert!(lasted < 5 * SECOND, "{lasted:?}");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_left() {
    const BODY: usize = 50 << 20;
    let scene = Scene::with(&format!("[limits]\ntaking_idle = \"1s\"\n{MINE}"));
    scene.provider.script(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").as_bytes());
        let _ = stream.write_all(&vec![b'a'; BODY]);
        Then::Close
    });
    let taken = |pause: Duration| {
        let mut stream = scene.connect();
        stream.write_all(&post(OTHER, &scene.key, 0)).unwrap();
        sleep(pause);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all.len()
    };
    assert!(taken(3 * SECOND) < BODY, "the rest was waited for");
    let (began, mut stream) = (Instant::now(), scene.connect());
    stream.write_all(&post(OTHER, &scene.key, 0)).unwrap();
    let mut piece = vec![0; BODY / 8];
    for _ in 0..8 {
        sleep(3 * MOMENT);
        stream.read_exact(&mut piece).unwrap();
    }
    assert!(began.elapsed() > 2 * SECOND, "a slow one gets all of it");
}
