//! What is measured: a real daemon in a directory of its own, with one key of a pretend provider in its vault.

use crate::{
    Done,
    caller::{self, Side},
    proc::{self, Guarded},
};
use serde_json::Value;
use sixty::{
    clock::Clock,
    demo::studio::{Studio, StudioOptions},
};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// How long the leases of a benchmark live: so short that a round's are over before the next begins.
pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// The provider's key: made up.
pub(crate) const KEY: &str = "sk-0123456789abcdef0123456789abcdef";

/// The program that is measured: the one cargo built, or another build named by `SIXTY_BIN`.
#[allow(clippy::disallowed_methods, reason = "a benchmark may be told by the environment")]
fn program() -> PathBuf {
    std::env::var_os("SIXTY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sixty").into(), PathBuf::from)
}

/// A daemon with its stand-in.
pub(crate) struct House {
    daemon: Option<Guarded>,
    /// Where the provider listens.
    pub(crate) provider: SocketAddr,
    _stand_in: Guarded,
    // Sockets lie where paths are short, files where a disk is.
    sockets: TempDir,
    state: TempDir,
}

impl House {
    /// A daemon that serves; `config` is put behind the house's own.
    pub(crate) fn open(config: &str) -> Done<Self> {
        let sockets = tempfile::Builder::new().prefix("sixty-").tempdir()?;
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (stand_in, provider) = start_stand_in(&state.path().join("ca.pem"))?;
        let house = Self { daemon: None, provider, _stand_in: stand_in, sockets, state };
        house.write("vault.key", "made up for the benchmark, with as many bytes as it takes")?;
        house.write("sixty.toml", &house.config(config))?;
        let mut house = house.opened()?;
        let place = format!(r#""provider":"dashscope","region":"singapore","endpoint":"https://{provider}""#);
        house.add_key("bench/main", &place)?;
        house.stop();
        // As a daemon is that finds its vault: nothing of the key's coming is left in its figures.
        house.opened()
    }

    fn opened(mut self) -> Done<Self> {
        self.start()?;
        Ok(self)
    }

    /// Starts the daemon anew and waits until it says that it is ready.
    pub(crate) fn start(&mut self) -> Done {
        self.stop();
        let ready = Notified::at(&self.socket("ready"))?;
        let mut command = Command::new(program());
        command.arg("daemon").arg("--config").arg(self.state.path().join("sixty.toml")).env_clear();
        command.env("HOME", self.state.path()).env("NOTIFY_SOCKET", ready.path()).stdin(Stdio::null());
        self.daemon = Some(Guarded::spawn(&mut command)?);
        ready.wait()
    }

    /// Ends the daemon, and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.daemon = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Guarded::pid)
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.state.path().join("ca.pem")
    }

    /// Mints of this kind on the broker socket.
    pub(crate) fn mints(&self, kind: &str) -> Side {
        let body = format!(r#"{{"key":"bench/main","kind":"{kind}","ttl":{}}}"#, LEASE.as_secs());
        let (start, lines) = ("POST /v1/leases".into(), String::new());
        // Until the leases are over too.
        let rest = LEASE + Duration::from_millis(1200);
        Side { socket: self.socket("broker.sock"), pid: self.pid(), start, lines, body, rest }
    }

    /// The length of the body of one answer.
    pub(crate) fn answer_bytes(&self) -> Done<usize> {
        let side = self.mints("virtual");
        let body = self.ask("broker.sock", &side.start, side.body)?;
        let lease: Value = serde_json::from_slice(&body)?;
        if lease["kind"] == "virtual" { Ok(body.len()) } else { Err("not the lease that was asked for".into()) }
    }

    /// Puts a key into the vault; `place` are the fields that say whose it is.
    pub(crate) fn add_key(&self, name: &str, place: &str) -> Done {
        let body = format!(r#"{{{place},"secret":"{KEY}"}}"#);
        self.ask("control.sock", &format!("PUT /v1/keys/{name}"), body).map(drop)
    }

    /// Takes back all leases of a key, and says how many.
    pub(crate) fn revoke(&self, name: &str) -> Done<usize> {
        let body = self.ask("control.sock", &format!("DELETE /v1/leases?key={name}"), String::new())?;
        let told: Value = serde_json::from_slice(&body)?;
        Ok(usize::try_from(told["revoked"].as_u64().ok_or("no number of leases")?)?)
    }

    /// A virtual key that hangs on the process which started this one: most callers are children of their key's owner.
    pub(crate) fn virtual_key(&self, name: &str) -> Done<String> {
        let body = format!(r#"{{"key":"{name}","kind":"virtual","owner":"parent","ttl":1800}}"#);
        let lease: Value = serde_json::from_slice(&self.ask("broker.sock", "POST /v1/leases", body)?)?;
        Ok(lease["token"].as_str().ok_or("no token")?.to_owned())
    }

    /// One request; the body of its answer.
    fn ask(&self, socket: &str, start: &str, body: String) -> Done<Vec<u8>> {
        let (socket, lines, rest) = (self.socket(socket), String::new(), Duration::ZERO);
        let side = Side { socket, pid: 0, start: start.into(), lines, body, rest };
        let answer = caller::first(&mut UnixStream::connect(&side.socket)?, &side.request("close"))?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no head")?;
        Ok(answer[head + 4..].to_vec())
    }

    fn write(&self, name: &str, text: &str) -> Done {
        use std::os::unix::fs::PermissionsExt;
        let path = self.state.path().join(name);
        std::fs::write(&path, text)?;
        Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?)
    }

    fn config(&self, more: &str) -> String {
        let (sockets, state) = (self.sockets.path().display(), self.state.path().display());
        format!(
            r#"
[daemon]
runtime_dir = "{sockets}"
state_dir = "{state}/state"
[limits]
connections = 16384
connections_per_uid = 16384
leases = 1100000
leases_per_uid = 1100000
[upstream]
ca_file = "{state}/ca.pem"
allow_loopback = true
mints_per_key = 64
[vault]
unlock = "file:{state}/vault.key"
[log]
level = "warn"
[[rule]]
name = "bench"
peer = {{ uid = "self" }}
keys = ["**"]
kinds = ["virtual", "upstream"]
ttl = {{ default = "60s", max = "30m" }}
{more}"#
        )
    }
}

/// Somebody who is told READY, as systemd is: sd_notify(3).
pub(crate) struct Notified(UnixDatagram, PathBuf);

impl Notified {
    pub(crate) fn at(path: &Path) -> Done<Self> {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(socket, path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.1
    }

    pub(crate) fn wait(&self) -> Done {
        let mut told = [0; 512];
        loop {
            let length = self.0.recv(&mut told)?;
            if told[..length].starts_with(b"READY=1") {
                return Ok(());
            }
        }
    }
}

fn start_stand_in(ca_file: &Path) -> Done<(Guarded, SocketAddr)> {
    let mut command = proc::again()?;
    command.arg("stand-in").arg(ca_file).arg(KEY).stdout(Stdio::piped());
    let mut child = Guarded::spawn(&mut command)?;
    let mut address = String::new();
    let told = child.child().stdout.take().ok_or("no stdout")?;
    BufReader::new(told).read_line(&mut address)?;
    Ok((child, address.trim().parse()?))
}

/// The stand-in's main: the provider in a process of its own.
pub(crate) fn stand_in(ca_file: &str, key: &str) -> Done {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let now = Arc::new(|| Clock::system().wall());
        let studio = Studio::start(StudioOptions { ca_file: Some(ca_file.into()), ..StudioOptions::new(now) }).await?;
        studio.register(key);
        println!("{}", studio.address());
        std::future::pending::<Done>().await
    })
}
