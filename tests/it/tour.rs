//! The tour as the README has it, in a fresh home directory: made, opened, used; by root and by anybody.

use crate::{
    harness::{self, MINE, World, random_key, soon},
    snapshot::Tale,
};
use serde_json::Value;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn a_passphrase_opens_the_vault_and_a_wrong_one_costs_time() {
    let home = Home::fresh();
    let mut tale = Tale::at_home(&home.world);
    tale.run_with("init --passphrase", "correct horse\n");
    let daemon = home.daemon();
    tale.run("mint dashscope/main --kind virtual");
    tale.run("unlock");
    tale.run_with("unlock", "battery staple");
    let soon_again = harness::fed(home.command("sixty unlock"), "correct horse");
    let said = String::from_utf8_lossy(&soon_again.stderr);
    assert_eq!(soon_again.status.code(), Some(75), "even the right one waits: {said}");
    tale.run_with("unlock", "battery staple");
    std::thread::sleep(Duration::from_millis(1100));
    tale.run_with("unlock", "correct horse\n");
    tale.run("unlock");
    tale.run("key list");
    let failed = home.shell("sixty audit --json").1.matches("unlock_failed").count();
    assert_eq!(failed, 3, "attempts that had to wait are on record too");
    tale.run("init");
    drop(daemon);
    tale.check("passphrase");
}

#[test]
fn the_whole_tour_works_as_it_is_written() {
    let mut homes = vec![Home::fresh()];
    if harness::is_root() {
        homes.push(Home::of_uid(12_345));
    } else {
        eprintln!("skipped: the tour as another user takes root");
    }
    for home in homes {
        tour(&home);
    }
}

fn tour(home: &Home) {
    // As the README says it, in one shell.
    let daemon = home.spawn_shell("sixty init && exec sixty daemon");
    home.wait_for_the_daemon();
    let added = home.shell(r#"KEY=sk-made0up0made0up0made0up; printf %s "$KEY" | sixty key add dashscope/main --provider dashscope --region singapore"#);
    assert!(added.0, "{}", added.1);
    let minted = home.shell("sixty mint dashscope/main --kind virtual");
    assert!(minted.0 && minted.1.starts_with("sixty_"), "{}", minted.1);
    // The lease of `KEY=$(sixty mint …)` is the shell's, and ends with it.
    let owned = home.shell("KEY=$(sixty mint dashscope/main --kind virtual) && sixty leases --json && echo $$");
    let (leases, shell) = owned.1.trim().rsplit_once('\n').unwrap();
    let leases: Value = serde_json::from_str(leases).unwrap();
    let owners: Vec<_> =
        leases["leases"].as_array().unwrap().iter().filter_map(|lease| lease["owner_pid"].as_u64()).collect();
    assert_eq!(owners, [shell.parse::<u64>().unwrap()], "{leases}");
    let gone = || home.shell("sixty leases --json").1.contains(r#"{"leases":[]}"#);
    assert!(soon(Duration::from_secs(2), gone), "{}", home.shell("sixty leases --json").1);
    drop(daemon);
    // And with a provider that answers.
    home.shell(&format!(
        "printf '[upstream]\\nallow_loopback = true\\nca_file = \"{}\"\\n' >> ~/.config/sixty/sixty.toml",
        home.world.path("ca.pem").display()
    ));
    let daemon = home.spawn_shell("exec sixty daemon");
    home.wait_for_the_daemon();
    let key = random_key();
    home.world.studio.register(&key);
    let add = format!(
        "printf %s {key} | sixty key add dashscope/standin --provider dashscope --endpoint {}",
        home.world.studio.url()
    );
    let added = home.shell(&add);
    assert!(added.0, "{}", added.1);
    let minted = home.shell("sixty mint dashscope/standin");
    assert!(minted.0 && minted.1.starts_with("st-"), "{}", minted.1);
    let verified = home.shell("sixty audit verify");
    assert!(verified.0 && verified.1.contains("holds"), "{}", verified.1);
    drop(daemon);
}

#[test]
fn init_overwrites_nothing() {
    let home = Home::fresh();
    let mut tale = Tale::at_home(&home.world);
    tale.run("init");
    let before = home.shell("cat ~/.config/sixty/sixty.toml ~/.local/state/sixty/* | sha256sum").1;
    tale.run("init");
    tale.run_with("init --passphrase", "another");
    assert_eq!(home.shell("cat ~/.config/sixty/sixty.toml ~/.local/state/sixty/* | sha256sum").1, before);
    let open = home.shell("find ~/.config ~/.local -perm /077").1;
    assert_eq!(open, "", "nothing of it is open to others");
    tale.check("init");
}

/// A fresh home directory, and a stand-in; no daemon until one is started in it.
struct Home {
    world: World,
    uid: Option<u32>,
}

/// A shell's process: ended when dropped.
struct Running(std::process::Child);

impl Home {
    fn fresh() -> Self {
        let mut world = World::new(MINE);
        world.stop();
        std::fs::remove_dir_all(world.path("state")).unwrap();
        let _ = std::fs::remove_dir_all(world.path("run"));
        Self { world, uid: None }
    }

    fn of_uid(uid: u32) -> Self {
        let home = Self::fresh();
        std::os::unix::fs::chown(home.world.directory.path(), Some(uid), Some(uid)).unwrap();
        Self { uid: Some(uid), ..home }
    }

    fn command(&self, line: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sh");
        let program = harness::program();
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).env_clear().env("HOME", self.world.directory.path()).env("PATH", path);
        command.env("NO_COLOR", "1").current_dir("/").stdin(Stdio::null());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Whether it worked, and what it said.
    fn shell(&self, line: &str) -> (bool, String) {
        let output = self.command(line).output().unwrap();
        let text = if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn spawn_shell(&self, line: &str) -> Running {
        Running(self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn daemon(&self) -> Running {
        let running = self.spawn_shell("exec sixty daemon");
        self.wait_for_the_daemon();
        running
    }

    fn wait_for_the_daemon(&self) {
        let began = Instant::now();
        while !self.shell("sixty whoami").0 {
            assert!(began.elapsed() < Duration::from_secs(20), "no daemon: {}", self.shell("sixty whoami").1);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        harness::signal(self.0.id(), "TERM");
        self.0.wait().unwrap();
    }
}
