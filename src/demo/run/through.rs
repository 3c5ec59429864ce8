//! Through the gateway with the virtual key: a call, a stream, a copy in another process, a job without a network.
//! It must never have the real key: what it sends is the broker's own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use super::launch::OURSELVES;
use super::stage::{BUDGET, KEY, Stage};
use super::step::{Masked, Shown, StepError, see, system};
use crate::secret::Secret;

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;
const STREAMED: &str = r#"{"model":"qwen-plus","stream":true,"messages":[{"role":"user","content":"Who are you?"}]}"#;
/// Of a model that says more than any of our keys may use.
const ENDLESS: &str = r#"{"model":"qwen-long","stream":true,"messages":[{"role":"user","content":"Who are you?"}]}"#;
/// What the job without a network runs; it finds everything in its environment.
const JOB: &str = r#"ask() {
    curl -sSN --max-time 10 -H "authorization: Bearer $OPENAI_API_KEY" -H "content-type: application/json" -d "$@" \
        "$OPENAI_BASE_URL/chat/completions"
}
ask "$1"; ask "$2" || echo CUT; ask "$1"; curl -sS --max-time 2 -k "$3/" >/dev/null 2>&1 && echo REACHED"#;

pub(super) fn call(stage: &mut Stage) -> Result<Shown, StepError> {
    let own = own(stage)?;
    let (status, body) = ask(stage, own, QUESTION)?;
    see(status == 200 && body.contains("pretend Model Studio"), || format!("the gateway answered {status}"))?;
    Ok(Shown::Held(format!("with {} at the gateway the provider answers 200", Masked(own))))
}

pub(super) fn stream(stage: &mut Stage) -> Result<Shown, StepError> {
    let (status, body) = ask(stage, own(stage)?, STREAMED)?;
    let events = body.matches("data: ").count();
    see(status == 200 && body.contains("[DONE]") && events > 4, || format!("{status} and {events} events"))?;
    Ok(Shown::Held(format!("{events} events came through, one by one")))
}

pub(super) fn budget(stage: &mut Stage) -> Result<Shown, StepError> {
    let own = own(stage)?;
    let (status, body) = ask(stage, own, ENDLESS)?;
    let events = body.matches("data: ").count();
    see(status == 200 && events > 100 && !body.contains("[DONE]"), || format!("{status} and {events} events"))?;
    let (status, body) = ask(stage, own, QUESTION)?;
    see(status == 401 && body.contains("exhausted"), || format!("the gateway answered {status} after it"))?;
    Ok(Shown::Held(format!(
        "cut after {events} events, where its {BUDGET} tokens were gone; from then on exhausted: 401"
    )))
}

pub(super) fn copied(stage: &mut Stage) -> Result<Shown, StepError> {
    let mut holder = Holder::start(stage)?;
    let key = holder.key()?;
    stage.look_for("another process's virtual key", &key);
    let (status, _) = ask(stage, &key, QUESTION)?;
    see(status == 403, || format!("the gateway answered {status} to another process"))?;
    Ok(Shown::Held(format!("{} is process {}'s; in our hands it is denied: 403", Masked(&key), holder.0.id())))
}

pub(super) fn sandbox(stage: &mut Stage) -> Result<Shown, StepError> {
    for tool in ["bwrap", "curl"] {
        let there = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return Ok(Shown::NotTried("it needs bubblewrap and curl"));
        }
    }
    let mut job = exec(stage);
    job.args(["--sandbox", KEY, "--", "sh", "-c", JOB, "sh", STREAMED, ENDLESS, &stage.studio().url()]);
    let done = job.output().map_err(system("`sixty exec` cannot be started"))?;
    let (said, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if told.contains("user namespaces") {
        return Ok(Shown::NotTried("this machine gives no user namespaces"));
    }
    let (streamed, cut) = said.split_once("[DONE]").unwrap_or_default();
    see(streamed.contains("data: "), || format!("the job said {:?}", told.lines().last().unwrap_or("nothing")))?;
    see(cut.contains("CUT") && !cut.contains("[DONE]"), || "its stream was not cut at its budget".to_owned())?;
    see(cut.contains("exhausted"), || "its key is good for more than its budget".to_owned())?;
    see(!said.contains("REACHED"), || "the job has a network of its own".to_owned())?;
    Ok(Shown::Held(
        "`sixty exec --sandbox`: it streams, is cut at its budget, and can't reach the provider itself".to_owned(),
    ))
}

/// One call by the gateway's socket: its status, and what came until the end.
pub(super) fn ask(stage: &Stage, key: &Secret, body: &str) -> Result<(u16, String), StepError> {
    let broken = system("the gateway does not answer");
    let answer = (|| {
        let mut gateway = UnixStream::connect(stage.file("gateway.sock"))?;
        gateway.set_read_timeout(Some(Duration::from_secs(5)))?;
        // Whoever is refused before all is read finds the other end closed: the answer is there all the same.
        let _ = gateway.write_all(&request(key, body));
        let mut answer = Vec::new();
        gateway.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })();
    let answer: String = answer.map_err(broken)?;
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    Ok((status.ok_or_else(|| StepError::Answer(CHAT.to_owned()))?, answer))
}

fn request(key: &Secret, body: &str) -> Zeroizing<Vec<u8>> {
    let before = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer ");
    let after = format!("\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    key.expose(|key| Zeroizing::new([before.as_bytes(), key, after.as_bytes()].concat()))
}

fn own(stage: &Stage) -> Result<&Secret, StepError> {
    let missing = || StepError::Otherwise("there is no virtual key to try it with".to_owned());
    stage.own.as_ref().map(|own| &own.token).ok_or_else(missing)
}

/// `sixty exec` that speaks to this stage's broker.
fn exec(stage: &Stage) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0("sixty").arg("exec").stdin(Stdio::null());
    command.env("SIXTY_SOCKET", stage.caller.broker.path()).env("SIXTY_CONTROL_SOCKET", stage.caller.control.path());
    command
}

/// Another process with a virtual key of its own, which it tells.
struct Holder(Child);

impl Holder {
    fn start(stage: &Stage) -> Result<Self, StepError> {
        let mut command = exec(stage);
        command.args([KEY, "--", "sh", "-c", r#"printf '%s\n' "$DASHSCOPE_API_KEY"; sleep 10"#]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(system("`sixty exec` cannot be started"))
    }

    fn key(&mut self) -> Result<Secret, StepError> {
        let mut key = Zeroizing::new(Vec::with_capacity(64));
        let mut byte = [0];
        let Some(stdout) = self.0.stdout.as_mut() else { return Err(StepError::Answer("sixty exec".into())) };
        while stdout.read(&mut byte).is_ok_and(|read| read == 1) && byte != *b"\n" && key.len() < 64 {
            key.push(byte[0]);
        }
        see(key.starts_with(b"sixty_"), || "the other process has no virtual key".to_owned())?;
        Ok(Secret::from(key))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
