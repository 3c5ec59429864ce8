//! The files under `systemd/` as systemd itself reads them, in a scratch root where the program is an empty script.
//! It must never touch the machine's own units, users or directories.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::needs::has;

const UNITS: [&str; 4] = ["sixty-broker.socket", "sixty-control.socket", "sixty-gateway.socket", "sixty.service"];

/// Units that every system has and ours lean on.
const GIVEN: [&str; 9] = [
    "basic.target",
    "default.target",
    "multi-user.target",
    "nss-user-lookup.target",
    "paths.target",
    "shutdown.target",
    "sockets.target",
    "sysinit.target",
    "timers.target",
];

/// A root directory with our files in it and little else.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for scope in ["system", "user"] {
            for unit in UNITS {
                root.put(&format!("usr/lib/systemd/{scope}/{unit}"), &text(scope, unit));
            }
            for unit in GIVEN {
                root.put(&format!("usr/lib/systemd/{scope}/{unit}"), "[Unit]\nDescription=given\n");
            }
        }
        for folder in ["sysusers.d", "tmpfiles.d"] {
            root.put(&format!("usr/lib/{folder}/sixty.conf"), &ours(&format!("{folder}/sixty.conf")));
        }
        for program in ["usr/bin/sixty", "bin/kill"] {
            let path = root.put(program, "#!/bin/sh\n");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        root
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a tool on this root.
    fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        Command::new(tool).arg(format!("--root={}", self.0.path().display())).args(arguments).output().unwrap()
    }

    /// A user's manager knows no other root: it gets our directory of units, and the program's path in it.
    fn run_as_user(&self, arguments: &[&str]) -> Output {
        let units = self.0.path().join("usr/lib/systemd/user");
        let program = self.0.path().join("usr/bin/sixty");
        let service = text("user", "sixty.service").replace("/usr/bin/sixty", program.to_str().unwrap());
        self.put("usr/lib/systemd/user/sixty.service", &service);
        let mut command = Command::new("systemd-analyze");
        command.arg("--user").args(arguments);
        command.env("SYSTEMD_UNIT_PATH", &units).env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path());
        command.output().unwrap()
    }
}

fn ours(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).unwrap()
}

fn text(scope: &str, unit: &str) -> String {
    let folder = if scope == "user" { "user/" } else { "" };
    ours(&format!("{folder}{unit}"))
}

/// The values of a setting, in the order they stand.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
}

/// Warnings count as faults: systemd goes on without a setting that it does not understand.
#[track_caller]
fn is_content(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", output.status);
}

#[test]
fn systemd_understands_every_unit() {
    if has("systemd-analyze", "that systemd understands the units is") {
        let root = Root::new();
        is_content(&root.run("systemd-analyze", &[&["verify", "--man=no"][..], &UNITS].concat()));
        is_content(&root.run_as_user(&[&["verify", "--man=no"][..], &UNITS].concat()));
    }
}

/// The manual's unit for a job in a sandbox.
#[test]
fn systemd_understands_the_manuals_unit_too() {
    if has("systemd-analyze", "that systemd understands the manual's unit is") {
        let (_, page) = sixty::manual::TOPICS.iter().find(|(name, _)| *name == "sandboxes").unwrap();
        let unit = page.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let root = Root::new();
        root.put("usr/lib/systemd/system/agent.service", unit);
        let python = root.put("usr/bin/python3", "#!/bin/sh\n");
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        is_content(&root.run("systemd-analyze", &["verify", "--man=no", "agent.service"]));
        assert!(values(unit, "BindReadOnlyPaths")[0].split(' ').all(|path| path.starts_with("/run/sixty/")));
    }
}

#[test]
fn a_setting_that_systemd_does_not_know_is_noticed() {
    if has("systemd-analyze", "that a wrong unit is noticed is") {
        let root = Root::new();
        let wrong = text("system", "sixty.service").replace("ProtectSystem=", "ProtectSytem=");
        root.put("usr/lib/systemd/system/sixty.service", &wrong);
        let output = root.run("systemd-analyze", &["verify", "--man=no", "sixty.service"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectSytem"));
    }
}

/// Tenths of `systemd-analyze security`'s scale from 0 (shut) to 10 (open). A user's manager has no privilege to drop
/// capabilities, and what it can't do without a user namespace would hide who the callers are.
#[test]
fn the_service_is_shut_as_far_as_it_can_be() {
    if has("systemd-analyze", "how far the services are shut is") {
        let (root, arguments) = (Root::new(), ["security", "--offline=yes", "--no-pager", "sixty.service"]);
        let system = root.run("systemd-analyze", &[&["--threshold=15"][..], &arguments].concat());
        assert!(system.status.success(), "{}", String::from_utf8_lossy(&system.stdout));
        let user = root.run_as_user(&[&["--threshold=62"][..], &arguments].concat());
        assert!(user.status.success(), "{}", String::from_utf8_lossy(&user.stdout));
    }
}

#[test]
fn no_setting_hides_who_the_callers_are() {
    let changes_the_view = ["Private", "Protect", "ReadOnly", "ReadWrite", "Inaccessible", "NoExec", "Bind", "Root"];
    for scope in ["system", "user"] {
        let service = text(scope, "sixty.service");
        for setting in ["PrivateUsers", "PrivatePIDs", "PrivateNetwork", "ProtectProc", "DynamicUser"] {
            assert_eq!(values(&service, setting), [] as [&str; 0], "{scope}: {setting}");
        }
        assert!(values(&service, "SystemCallFilter")[0].contains("memfd_secret"), "{scope}");
        assert_eq!(values(&service, "LimitCORE"), ["0"], "{scope}");
        assert_eq!(values(&service, "NoNewPrivileges"), ["yes"], "{scope}");
    }
    // In a user's manager each of these brings a user namespace, as PrivateUsers= does.
    let user = text("user", "sixty.service");
    assert!(!user.lines().any(|line| changes_the_view.iter().any(|start| line.starts_with(start))));
}

/// The daemon takes itself for the machine's when systemd names a state directory.
#[test]
fn only_the_machines_daemon_has_a_state_directory() {
    assert_eq!(values(&text("system", "sixty.service"), "StateDirectory"), ["sixty"]);
    assert_eq!(values(&text("user", "sixty.service"), "StateDirectory"), [] as [&str; 0]);
}

#[test]
fn nothing_starts_before_there_is_a_config() {
    for (scope, config) in [("system", "/etc/sixty/sixty.toml"), ("user", "%E/sixty/sixty.toml")] {
        for unit in UNITS {
            assert_eq!(values(&text(scope, unit), "ConditionPathExists"), [config], "{scope} {unit}");
        }
        let start = format!("/usr/bin/sixty daemon --config {config}");
        assert_eq!(values(&text(scope, "sixty.service"), "ExecStart"), [start]);
    }
}

#[test]
fn the_sockets_stand_where_the_contract_says() {
    for (scope, at) in [("system", "/run/sixty"), ("user", "%t/sixty")] {
        for (name, mode) in [("broker", "0666"), ("control", "0600"), ("gateway", "0666")] {
            let socket = text(scope, &format!("sixty-{name}.socket"));
            assert_eq!(values(&socket, "ListenStream"), [format!("{at}/{name}.sock")]);
            assert_eq!(values(&socket, "FileDescriptorName"), [name]);
            assert_eq!(values(&socket, "SocketMode"), [mode]);
            assert_eq!(values(&socket, "Service"), ["sixty.service"]);
        }
    }
}

#[test]
fn the_daemons_user_and_its_directories_can_be_made() {
    let root = Root::new();
    if has("systemd-sysusers", "the daemon's user is") {
        let output = root.run("systemd-sysusers", &["--dry-run", "sixty.conf"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Creating user 'sixty'"));
    }
    if has("systemd-tmpfiles", "the daemon's directories are") {
        // Both owners are who runs this test: to give files to another, one would have to be root.
        let uid = nix::unistd::Uid::effective();
        root.put("etc/passwd", &format!("sixty:x:{uid}:{uid}::/:/bin/sh\n"));
        root.put("etc/group", &format!("sixty:x:{uid}:\n"));
        root.put("usr/lib/tmpfiles.d/sixty.conf", &ours("tmpfiles.d/sixty.conf").replace(" root", " sixty"));
        is_content(&root.run("systemd-tmpfiles", &["--create", "sixty.conf"]));
        let mode = |path| fs::metadata(root.0.path().join(path)).unwrap().permissions().mode() & 0o7777;
        let modes = ["run/sixty", "etc/sixty", "etc/sixty/providers"].map(mode);
        assert_eq!(modes, [0o755; 3]);
        assert!(!root.0.path().join("var/lib/sixty").exists(), "StateDirectory= gives away only what it makes");
    }
}
