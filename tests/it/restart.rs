//! `systemctl restart`, with a stand-in for the service manager's notify socket and its file descriptor store: leases, what
//! is counted of them and the gateway's TCP socket go on; what is not what it should be is not believed.

use crate::{
    harness::{MINE, SECOND, UPSTREAM, World, read_answer, soon},
    narrowing::narrowed,
    usage::{CHAT, QUESTION, send},
};
use sixty::sys::{memfd, passing};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

const DETACHED: &str = r#"{"key":"dashscope/main","kind":"virtual","owner":"detached","ttl":600}"#;

/// What a service manager does with `FDSTORE=1` and `FDSTOREREMOVE=1`.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<(String, OwnedFd)>>>);

impl Store {
    /// Listens where this world's daemon notifies.
    fn start(world: &World) -> Self {
        let (store, socket) = (Self::default(), UnixDatagram::bind(world.path("notify")).unwrap());
        let kept = store.clone();
        std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok((length, fds)) = passing::receive(socket.as_fd(), &mut text) {
                kept.told(&String::from_utf8_lossy(&text[..length]), fds);
            }
        });
        store
    }

    fn told(&self, text: &str, mut fds: Vec<OwnedFd>) {
        let says = |wanted: &str| text.lines().find_map(|line| line.strip_prefix(wanted)).map(str::to_owned);
        let Some(name) = says("FDNAME=") else { return };
        let mut kept = self.0.lock().unwrap();
        match (says("FDSTORE="), says("FDSTOREREMOVE=")) {
            (Some(one), None) if one == "1" => kept.extend(fds.pop().map(|fd| (name, fd))),
            (None, Some(one)) if one == "1" => kept.retain(|(known, _)| *known != name),
            _ => panic!("{text}"),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    fn get(&self, wanted: &str) -> Option<File> {
        let kept = self.0.lock().unwrap();
        let found = kept.iter().find(|(name, _)| name == wanted);
        found.map(|(_, fd)| fd.try_clone().unwrap().into())
    }

    fn put(&self, wanted: &str, other: OwnedFd) {
        let mut kept = self.0.lock().unwrap();
        kept.retain(|(name, _)| name != wanted);
        kept.push((wanted.to_owned(), other));
    }

    /// Starts the daemon with all that is kept, and waits until it answers.
    fn starts(&self, world: &mut World) {
        self.spawns(world);
        let answers = || world.try_http("GET", "/healthz", None).is_some_and(|answer| answer.status == 200);
        assert!(soon(20 * SECOND, answers), "the daemon did not start:\n{}", world.log());
    }

    /// At most two descriptors, by way of a shell's stdin and stdout.
    fn spawns(&self, world: &mut World) {
        let inner = world.daemon_command();
        let kept: Vec<(String, OwnedFd)> =
            self.0.lock().unwrap().iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect();
        assert!(kept.len() <= 2);
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        let (count, names) = (kept.len(), names.join(":"));
        let told = match count {
            0 => String::new(),
            _ => format!("export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}; "),
        };
        let script = format!("exec 3<&0 4>&1 </dev/null >/dev/null; {told}exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("NOTIFY_SOCKET", world.path("notify"));
        let log = File::options().create(true).append(true).open(world.path("log")).unwrap();
        let mut fds = kept.into_iter().map(|(_, fd)| Stdio::from(fd));
        command.stdin(fds.next().unwrap_or_else(Stdio::null)).stdout(fds.next().unwrap_or_else(Stdio::null));
        world.adopt(command.stderr(log).spawn().unwrap());
    }

    /// A stop, and what was left by then.
    fn stops(&self, world: &mut World) {
        assert_eq!(world.stop(), Some(0));
        assert!(soon(SECOND, || self.get("estate").is_some()), "{:?}", self.names());
    }
}

fn asked(world: &World, key: &str) -> u16 {
    read_answer(&mut send(world, key, CHAT, QUESTION)).map_or(0, |answer| answer.status)
}

fn live(world: &World) -> u64 {
    world.status()["leases"]["live"].as_u64().unwrap()
}

fn started(config: &str) -> (World, Store) {
    let mut world = World::asleep(config, &[]);
    let store = Store::start(&world);
    store.starts(&mut world);
    world.add_key("dashscope/main");
    (world, store)
}

#[test]
fn leases_budgets_and_the_tcp_port_survive_a_restart() {
    let budget = "budget = { tokens = 40, per = \"lease\" }\nrate = \"6/h\"\n";
    let (mut world, store) = started(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}{budget}"));
    assert!(soon(SECOND, || store.names() == ["gateway-tcp"]), "it outlives a crash too: {:?}", store.names());
    let place = world.status()["gateway"]["listen"].as_str().unwrap().to_owned();
    let key = world.mint(DETACHED).token();
    let ours = world.mint(r#"{"key":"dashscope/main","kind":"virtual","uses":2}"#).token();
    let (narrow, _) = narrowed(&key, &["--uses", "1"]);
    let small = QUESTION.replace("\"messages\"", "\"max_tokens\":8,\"messages\"");
    let ask = |world: &World, key: &str| read_answer(&mut send(world, key, CHAT, &small)).unwrap().status;
    assert_eq!((ask(&world, &narrow), ask(&world, &ours)), (200, 200));
    store.stops(&mut world);
    // Who asks while nobody serves waits in the socket that nobody closed.
    let mut early = TcpStream::connect(&place).unwrap();
    early.set_read_timeout(Some(20 * SECOND)).unwrap();
    early.write_all(b"GET /dashscope/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n").unwrap();
    store.starts(&mut world);
    assert_eq!(read_answer(&mut early).unwrap().status, 401);
    assert_eq!(world.status()["gateway"]["listen"], place.as_str());
    assert!(soon(SECOND, || store.names() == ["gateway-tcp"]), "what was left is asked for once: {:?}", store.names());
    assert_eq!((live(&world), ask(&world, &narrow)), (2, 401), "its one use is spent");
    assert_eq!((ask(&world, &ours), ask(&world, &ours)), (200, 401), "of two uses one was left");
    assert_eq!((ask(&world, &key), ask(&world, &key)), (200, 401), "nine tokens were spent before, and nine are now");
    let mints = (0..9).filter(|_| world.mint(DETACHED).status == 201).count();
    assert_eq!(mints, 4, "two of six an hour were asked for before");
    assert!(world.audit().iter().any(|line| line["record"] == "inherited" && line["leases"] == 2));
    store.stops(&mut world);
    store.starts(&mut world);
    assert_eq!(live(&world), 6);
}

#[test]
fn a_crash_leaves_no_lease_that_may_have_ended_since() {
    let (mut world, store) = started(MINE);
    let key = world.mint(DETACHED).token();
    store.stops(&mut world);
    // One that cannot even begin to serve changes nothing.
    let (vault, aside) = (world.path("state/vault.sealed"), world.path("aside"));
    std::fs::rename(&vault, &aside).unwrap();
    std::fs::write(&vault, "not a vault").unwrap();
    store.spawns(&mut world);
    assert_eq!(world.ended().code(), Some(78), "{}", world.log());
    std::fs::rename(&aside, &vault).unwrap();
    store.starts(&mut world);
    assert_eq!(asked(&world, &key), 200);
    world.kill();
    assert_eq!(store.names(), Vec::<String>::new(), "the estate of before was taken back");
    store.starts(&mut world);
    assert_eq!((asked(&world, &key), live(&world)), (403, 0), "nobody knows it any more");
}

#[test]
fn what_is_not_as_it_was_left_is_not_believed_and_the_log_says_so() {
    let (mut world, store) = started(MINE);
    let key = world.mint(DETACHED).token();
    store.stops(&mut world);
    let mut whole = String::new();
    let mut left = store.get("estate").unwrap();
    left.seek(SeekFrom::Start(0)).unwrap();
    left.read_to_string(&mut whole).unwrap();
    let sealed = |text: &str| memfd::sealed(|to| to.write_all(text.as_bytes())).unwrap();
    let open = || {
        let mut file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.write_all(whole.as_bytes()).unwrap();
        OwnedFd::from(file)
    };
    let wrong = [
        (sealed(&whole[..whole.len() / 2]), "it is torn"),
        (sealed(&whole.replacen("\"uses\":", "\"uses\":1", 1)), "it is torn"),
        (sealed(""), "it is torn"),
        (open(), "it is not sealed"),
    ];
    for (estate, why) in wrong {
        store.put("estate", estate);
        let before = world.log().matches(why).count();
        store.starts(&mut world);
        assert_eq!((asked(&world, &key), live(&world)), (403, 0), "{why}");
        let told = world.log();
        assert_eq!(told.matches(why).count(), before + 1, "{told}");
        assert!(told.contains("no lease of the process before goes on"), "{told}");
        store.stops(&mut world);
    }
    store.put("estate", sealed(&whole));
    store.starts(&mut world);
    assert_eq!(asked(&world, &key), 200, "as it was left it is believed");
}

#[test]
fn nothing_secret_is_left() {
    // A token that is shared is kept by the daemon for as long; it must not outlive it.
    let (mut world, store) = started(&format!("{MINE}share = \"30s\"\n"));
    let key = world.add_key("dashscope/second");
    let (token, upstream) = (world.mint(DETACHED).token(), world.mint(UPSTREAM).token());
    assert_eq!(asked(&world, &token), 200);
    store.stops(&mut world);
    let mut left = store.get("estate").unwrap();
    let mut bytes = Vec::new();
    left.seek(SeekFrom::Start(0)).unwrap();
    left.read_to_end(&mut bytes).unwrap();
    let seed = sixty::wire::narrow::seed(token.as_bytes());
    let file = std::fs::read(world.path("vault.key")).unwrap();
    let number = u128::from_be_bytes(*seed).to_string();
    let secrets = [&token.as_bytes()[6..], upstream.as_bytes(), key.as_bytes(), &file, &*seed, number.as_bytes()];
    for (at, secret) in secrets.into_iter().enumerate() {
        for part in secret.windows(12.min(secret.len())) {
            assert!(!bytes.windows(part.len()).any(|window| window == part), "secret {at} is in what was left");
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("\"ls_"), "it was looked at");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.lines().next().unwrap().contains(boot.trim()), "it is of this boot: {text}");
}
