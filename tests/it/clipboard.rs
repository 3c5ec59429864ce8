//! `mint --copy`: onto the clipboard, by whichever way there is, and off it again when the token is over.

use crate::harness::{MINE, World, program, soon};
use std::{
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn a_copied_token_is_cleared_when_it_is_over() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let (tools, board) = (world.path("tools"), world.path("clipboard"));
    std::fs::create_dir(&tools).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *-o*) cat '{0}';; *) cat > '{0}.new'; mv '{0}.new' '{0}';; esac\n",
        board.display()
    );
    std::fs::write(tools.join("xclip"), script).unwrap();
    std::fs::set_permissions(tools.join("xclip"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut mint = world.command(&["mint", "dashscope/main", "--kind", "virtual", "--ttl", "1s", "--copy"]);
    let copied = mint.env("PATH", path).env("DISPLAY", ":0").stdin(Stdio::null()).output().unwrap();
    assert!(copied.status.success() && copied.stdout.is_empty(), "{copied:?}");
    assert!(std::fs::read_to_string(&board).unwrap().starts_with("sixty_"));
    let said = String::from_utf8_lossy(&copied.stderr).into_owned();
    assert!(said.contains("copied with xclip; cleared in"), "{said}");
    assert!(soon(Duration::from_secs(5), || std::fs::read(&board).unwrap().is_empty()), "the token is still there");
}

#[test]
fn what_somebody_else_copied_is_not_cleared() {
    let world = World::new(MINE);
    let tools = world.path("tools");
    world.add_key("dashscope/main");
    std::fs::create_dir(&tools).unwrap();
    // A clipboard that holds something else whenever it is looked at, and tells of every write.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *-o*) printf other;; *) cat > /dev/null; echo write >> '{}';; esac\n",
        world.path("writes").display()
    );
    std::fs::write(tools.join("xclip"), script).unwrap();
    std::fs::set_permissions(tools.join("xclip"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut mint = world.command(&["mint", "dashscope/main", "--kind", "virtual", "--ttl", "1s", "--copy"]);
    assert!(mint.env("PATH", path).env("DISPLAY", ":0").stdin(Stdio::null()).output().unwrap().status.success());
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(std::fs::read_to_string(world.path("writes")).unwrap(), "write\n");
}

#[test]
fn a_terminal_without_a_clipboard_tool_is_told_by_osc_52() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let sixty = program();
    let line = format!("{} mint dashscope/main --kind virtual --ttl 1s --copy", sixty.display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    script.env("SIXTY_SOCKET", world.broker()).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    let Ok(shown) = script.output() else {
        eprintln!("skipped: there is no script(1) to make a terminal with");
        return;
    };
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let sequence = shown.split("\u{1b}]52;c;").nth(1).and_then(|rest| rest.split('\u{7}').next());
    let token = sequence.map(base64_decoded).unwrap_or_else(|| panic!("no OSC 52 in {shown:?}"));
    assert!(token.starts_with("sixty_"), "{token}");
    assert!(!shown.contains("sixty_"), "it is not shown in clear");
}

fn base64_decoded(text: &str) -> String {
    use base64::Engine;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}
