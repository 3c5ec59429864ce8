//! For tests: a daemon that gives one answer to one connection and remembers what it was asked.
//! It must never be part of the program.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Fake {
    dir: PathBuf,
    asked: JoinHandle<String>,
}

impl Fake {
    /// Answers with these bytes, in two writes, and closes.
    pub(crate) fn answering(status: &str, body: &str) -> Self {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Self::saying(answer)
    }

    pub(crate) fn saying(answer: String) -> Self {
        let name = format!("sixty-client-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("s")).unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = read_request(&mut stream);
            let (head, tail) = answer.split_at(answer.len() / 2);
            stream.write_all(head.as_bytes()).unwrap();
            stream.flush().unwrap();
            let _ = stream.write_all(tail.as_bytes());
            asked
        });
        Self { dir, asked }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// What it was asked, head and body.
    pub(crate) fn asked(self) -> String {
        let asked = self.asked.join().unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
        asked
    }
}

fn read_request(stream: &mut impl Read) -> String {
    let mut asked = Vec::new();
    let mut some = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&asked).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |digits| digits.parse().unwrap()) {
                return text;
            }
        }
        let more = stream.read(&mut some).unwrap();
        assert!(more > 0, "the client hung up in the middle of: {text}");
        asked.extend_from_slice(&some[..more]);
    }
}
