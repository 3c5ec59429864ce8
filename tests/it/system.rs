//! `sixty init --system` and the machine's daemon, in a mount namespace of their own where the machine's places are empty.
//! It must never touch the machine's own /etc, /run or /var/lib.

use crate::{harness::program, identity::as_root, needs::missing};
use std::process::Command;

/// Copies of /etc, and nothing in /run and /var/lib; what `$1` says is run there. The binary lies elsewhere.
const ELSEWHERE: &str = r#"
set -eu
mkdir "$2/etc" && cp -a /etc/. "$2/etc"
rm -rf "$2/etc/sixty"
mount --bind "$2/etc" /etc
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
eval "$1"
"#;

/// What was printed, and the exit code.
fn run(script: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ELSEWHERE, "sh", script]).arg(folder.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder.path());
    let out = command.env("SIXTY", program()).env("NO_COLOR", "1").output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), out.status.code())
}

#[test]
fn the_machines_config_is_made_and_its_daemon_found_by_itself() {
    if !as_root("init --system") {
        return;
    }
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return missing("no mount namespace", "init --system");
    }
    let script = r#"
        "$SIXTY" init --system
        stat -c '%a %n' /etc/sixty /etc/sixty/sixty.toml /var/lib/sixty /var/lib/sixty/*
        "$SIXTY" check /etc/sixty/sixty.toml && echo checked
        "$SIXTY" init --system || echo "not again: $?"
        STATE_DIRECTORY=/var/lib/sixty "$SIXTY" daemon & daemon=$!
        for n in $(seq 100); do [ -S /run/sixty/control.sock ] && break; sleep 0.05; done
        stat -c '%a %n' /run/sixty/*.sock
        "$SIXTY" status
        kill -TERM $daemon && wait $daemon && echo ended
    "#;
    let (said, code) = run(script);
    assert_eq!(code, Some(0), "{said}");
    for told in [
        "755 /etc/sixty\n",
        "644 /etc/sixty/sixty.toml\n",
        "700 /var/lib/sixty\n",
        "600 /var/lib/sixty/vault.key\n",
        "600 /var/lib/sixty/vault.sealed\n",
        "checked\n",
        "is there already; nothing was written",
        "not again: 1\n",
        "666 /run/sixty/broker.sock\n",
        "600 /run/sixty/control.sock\n",
        "ended\n",
    ] {
        assert!(said.contains(told), "{told:?} is missing in\n{said}");
    }
    assert!(said.contains("open"), "the vault opens by itself:\n{said}");
}
