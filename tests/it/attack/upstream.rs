//! A provider of the test's own: it records every byte that arrives, reads requests by the letter of RFC 9112, and says
//! whatever the test wants it to say.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// One request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `METHOD target HTTP/1.1`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Every byte of it, as it came.
    pub raw: Vec<u8>,
    /// Whether the connection ended before it was whole.
    pub unfinished: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

type Script = dyn Fn(&Seen, &mut TcpStream) -> Then + Send + Sync;

/// Listens until it is dropped.
pub struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    strange: Arc<Mutex<Vec<String>>>,
    script: Arc<Mutex<Arc<Script>>>,
    closing: Arc<AtomicBool>,
}

impl Provider {
    /// One that answers 200 with the request's first line.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let echo: Arc<Script> = Arc::new(line_back);
        let provider = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            strange: Arc::default(),
            script: Arc::new(Mutex::new(echo)),
            closing: Arc::default(),
        };
        let (seen, strange) = (provider.seen.clone(), provider.strange.clone());
        let (script, closing) = (provider.script.clone(), provider.closing.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if closing.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, strange, script) = (seen.clone(), strange.clone(), script.clone());
                thread::spawn(move || serve(stream, &seen, &strange, &script));
            }
        });
        provider
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers so.
    pub fn script(&self, script: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Says these bytes to every request.
    pub fn says(&self, bytes: impl Into<Vec<u8>>, then: Then) {
        let bytes = bytes.into();
        self.script(move |_, stream| {
            let _ = stream.write_all(&bytes);
            then
        });
    }

    /// Takes what was recorded; nothing that was not plain HTTP may have come.
    pub fn take(&self) -> Vec<Seen> {
        let strange = self.strange.lock().unwrap();
        assert!(strange.is_empty(), "no HTTP reached the provider: {strange:?}");
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// 200 with the request's first line, which tells whose answer it is.
pub fn line_back(seen: &Seen, stream: &mut TcpStream) -> Then {
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{}",
        seen.line.len(),
        seen.line
    );
    let _ = stream.write_all(text.as_bytes());
    Then::Keep
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, strange: &Mutex<Vec<String>>, script: &Mutex<Arc<Script>>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    loop {
        let mut one = Seen::default();
        match request(&mut stream, &mut one) {
            Ok(()) => {}
            Err(Fault::Ended) if one.raw.is_empty() => return,
            Err(Fault::Ended) => one.unfinished = true,
            Err(Fault::Strange(why)) => {
                return strange.lock().unwrap().push(format!("{why}: {}", String::from_utf8_lossy(&one.raw)));
            }
        }
        seen.lock().unwrap().push(one.clone());
        let script = script.lock().unwrap().clone();
        if one.unfinished || script(&one, &mut stream) == Then::Close {
            return;
        }
    }
}

enum Fault {
    Ended,
    Strange(&'static str),
}

fn byte(stream: &mut TcpStream, raw: &mut Vec<u8>) -> Result<u8, Fault> {
    let mut one = [0];
    match stream.read(&mut one) {
        Ok(1) => {
            raw.push(one[0]);
            Ok(one[0])
        }
        _ => Err(Fault::Ended),
    }
}

/// A line that ends with CR LF and with nothing less.
fn line(stream: &mut TcpStream, raw: &mut Vec<u8>) -> Result<String, Fault> {
    let mut text = Vec::new();
    loop {
        match byte(stream, raw)? {
            b'\r' if byte(stream, raw)? == b'\n' => {
                return String::from_utf8(text).map_err(|_| Fault::Strange("not ASCII"));
            }
            b'\r' | b'\n' | 0 => return Err(Fault::Strange("a bare line end or NUL")),
            other => text.push(other),
        }
    }
}

fn request(stream: &mut TcpStream, one: &mut Seen) -> Result<(), Fault> {
    one.line = line(stream, &mut one.raw)?;
    if one.line.split(' ').count() != 3 || !one.line.ends_with(" HTTP/1.1") {
        return Err(Fault::Strange("no request line"));
    }
    loop {
        let text = line(stream, &mut one.raw)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or(Fault::Strange("no colon"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(Fault::Strange("a header's name"));
        }
        one.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let all = |name: &str| one.headers.iter().filter(|(known, _)| known == name).count();
    if all("content-length") + all("transfer-encoding") > 1 || all("host") != 1 {
        return Err(Fault::Strange("told twice"));
    }
    match (one.header("content-length").map(str::to_owned), one.header("transfer-encoding").map(str::to_owned)) {
        (Some(length), _) => sized(stream, one, length.parse().map_err(|_| Fault::Strange("no length"))?),
        (_, Some(coding)) if coding == "chunked" => chunked(stream, one),
        (_, Some(_)) => Err(Fault::Strange("a transfer-encoding")),
        _ => Ok(()),
    }
}

fn sized(stream: &mut TcpStream, one: &mut Seen, length: usize) -> Result<(), Fault> {
    for _ in 0..length {
        let byte = byte(stream, &mut one.raw)?;
        one.body.push(byte);
    }
    Ok(())
}

fn chunked(stream: &mut TcpStream, one: &mut Seen) -> Result<(), Fault> {
    loop {
        let size = line(stream, &mut one.raw)?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| Fault::Strange("a chunk's size"))?;
        sized(stream, one, size)?;
        if !line(stream, &mut one.raw)?.is_empty() {
            return Err(Fault::Strange("a chunk's end, or a trailer"));
        }
        if size == 0 {
            return Ok(());
        }
    }
}
