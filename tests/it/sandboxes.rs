//! `sixty exec` inside of other makers' sandboxes, as the manual's page writes it.

use crate::harness::{MINE, World};
use std::process::Command;

/// What the job does: it calls by its variables, and tries the provider itself and the control socket.
fn job(world: &World) -> String {
    format!(
        "curl -sS -m 5 -H \"x-api-key: $OPENAI_API_KEY\" -H 'content-type: application/json' \
         -d '{}' $OPENAI_BASE_URL/chat/completions; \
         curl -sSk -m 2 {} && echo REACHED; curl -sS -m 2 --unix-socket {} http://x/v1/status && echo COMMANDED",
        r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#,
        world.studio.url(),
        world.control().display(),
    )
}

/// Whether firejail makes sandboxes here: an ordinary user without its setuid bit has none.
fn firejail() -> bool {
    if !crate::needs::has("firejail", "a job in firejail is") || !crate::needs::has("curl", "a job in firejail is") {
        return false;
    }
    let made = Command::new("firejail").args(["--quiet", "--noprofile", "--net=none", "true"]).output();
    let made = made.is_ok_and(|output| output.status.success());
    if !made {
        crate::needs::missing("firejail makes no sandbox", "a job in firejail is");
    }
    made
}

#[test]
fn in_firejail_a_job_has_the_gateway_and_no_network() {
    // In CI the tests run as an ordinary user too, without new privileges: firejail is nothing there.
    if !crate::harness::is_root() || !firejail() {
        return;
    }
    let world = World::with_key(MINE);
    let inner = world.command(&["exec", "dashscope/main", "--", "sh", "-c", &job(&world)]);
    let control = format!("--blacklist={}", world.control().display());
    let mut command = Command::new("firejail");
    command.args([
        "--quiet",
        "--noprofile",
        "--net=none",
        "--private-dev",
        "--caps.drop=all",
        "--nonewprivs",
        &control,
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("This is the pretend Model Studio"), "{out}{err}");
    assert!(!out.contains("REACHED") && !out.contains("COMMANDED"), "{out}{err}");
    assert!(err.contains("onnect"), "{err}");
    assert_eq!(world.status()["leases"]["live"], 0);
}
