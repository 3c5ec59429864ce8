//! git over https through the gateway, to a server of its own: cloned and pushed with nothing but its environment
//! changed, and a key that is no longer good.

use super::{Bridge, folder, runs};
use crate::harness::{MINE, SECOND, World, random_key};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

/// git http-backend behind TLS.
struct Server(Child, u16);

impl Server {
    /// It takes this key, and serves the bare `octo/repo.git`; who trusts `git.pem` trusts it.
    fn start(world: &World, key: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&pair, &authority).unwrap();
        fs::write(world.path("git.pem"), authority.pem()).unwrap();
        fs::write(world.path("server.pem"), certificate.pem() + &pair.serialize_pem()).unwrap();
        let repository = world.path("served/octo/repo.git");
        fs::create_dir_all(&repository).unwrap();
        let mut made = Command::new("git");
        made.args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&repository);
        assert!(made.status().unwrap().success());
        let mut command = Command::new("python3");
        command.arg(folder().join("git_server.py")).args([world.path("served"), world.path("server.pem")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{key}").unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        Self(child, port.trim().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether git did it, and what it said.
fn git(world: &World, bridge: &Bridge, key: &str, words: &[&str]) -> (bool, String) {
    let mut command = Command::new("git");
    command.args(words).current_dir(world.directory.path()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", world.directory.path());
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Job").env(format!("GIT_{who}_EMAIL"), "job@example.com");
    }
    // All that leads it to the gateway; nothing of it is written into the clone.
    let gateway = bridge.url().replace("http://", &format!("http://x-access-token:{key}@"));
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_VALUE_0", "https://github.com/");
    command.env("GIT_CONFIG_KEY_0", format!("url.{gateway}/github/.insteadOf"));
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn git_clones_and_pushes_with_a_virtual_key() {
    if !runs("git", "apt-get install git") || !runs("python3", "apt-get install python3") {
        return;
    }
    let upstream = "[upstream]\nca_file = \"DIRECTORY/git.pem\"\nallow_loopback = true\n";
    let mut world = World::asleep(&format!("{upstream}{MINE}"), &[]);
    let real = random_key().replace("sk-", "ghp_");
    let server = Server::start(&world, &real);
    world.start();
    let body = format!(r#"{{"provider":"github","endpoint":"https://127.0.0.1:{}","secret":"{real}"}}"#, server.1);
    assert_eq!(world.control_http("PUT", "/v1/keys/github/main", Some(&body)).status, 201);
    let mint = |more: &str| world.mint(&format!(r#"{{"key":"github/main","kind":"virtual"{more}}}"#)).token();
    let bridge = Bridge::to(world.path("run/gateway.sock"));
    let (key, brief) = (mint(""), mint(r#","ttl":1"#));
    let done = |words: &[&str]| {
        let (done, said) = git(&world, &bridge, &key, words);
        assert!(done, "{words:?}: {said}");
    };
    done(&["clone", "https://github.com/octo/repo.git", "one"]);
    // Larger than git keeps to tell its length, and hard to make smaller: it is sent in chunks.
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(world.path("one/file"), noise).unwrap();
    done(&["-C", "one", "add", "file"]);
    done(&["-C", "one", "commit", "--quiet", "-m", "One file"]);
    done(&["-C", "one", "push", "origin", "HEAD:main"]);
    done(&["clone", "https://github.com/octo/repo.git", "two"]);
    assert_eq!(fs::read(world.path("one/file")).unwrap(), fs::read(world.path("two/file")).unwrap());
    let written = fs::read_to_string(world.path("two/.git/config")).unwrap();
    assert!(written.contains("https://github.com/octo/repo.git") && !written.contains("sixty_"), "{written}");
    let refused = |key: &str, told: &str| {
        let (done, said) = git(&world, &bridge, key, &["-C", "two", "fetch"]);
        assert!(!done && said.contains(told), "{said}");
    };
    refused(&mint(r#","scope":{"paths":["/elsewhere"]}"#), "error: 403");
    std::thread::sleep(SECOND);
    refused(&brief, "Authentication failed");
    assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
    refused(&key, "Authentication failed");
}
