//! What the service manager hands over and what it is told: sd_listen_fds(3) and sd_notify(3).

use crate::harness::{MINE, SECOND, VIRTUAL, World, read_answer, request, signal, soon};
use std::{
    io::Write,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

/// Sockets of a service manager's: known by their names, not by their order, and not the daemon's to remove.
fn activated(world: &mut World, names: &str, sockets: [&UnixListener; 2]) {
    let inner = world.daemon_command();
    let script = format!(
        "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let [one, two] = sockets.map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
    let log = std::fs::File::options().create(true).append(true).open(world.path("log")).unwrap();
    world.adopt(command.stdin(one).stdout(two).stderr(log).spawn().unwrap());
}

#[test]
fn sockets_of_the_service_manager_are_known_by_their_names() {
    for names in ["broker:control", "control:broker"] {
        let mut world = World::asleep(MINE, &[]);
        std::fs::create_dir(world.path("run")).unwrap();
        let (broker, control) =
            (UnixListener::bind(world.broker()).unwrap(), UnixListener::bind(world.control()).unwrap());
        let sockets = if names == "broker:control" { [&broker, &control] } else { [&control, &broker] };
        // Who asked before there was a daemon is answered by it.
        let mut early = UnixStream::connect(world.broker()).unwrap();
        early.write_all(request("GET", "/healthz", None, "close").as_bytes()).unwrap();
        activated(&mut world, names, sockets);
        assert_eq!(read_answer(&mut early).unwrap().status, 200, "{}", world.log());
        world.add_key("dashscope/main");
        assert_eq!(world.mint(VIRTUAL).status, 201);
        assert_eq!(world.stop(), Some(0));
        assert!(world.broker().exists() && world.control().exists());
    }
}

#[test]
fn a_descriptor_that_is_no_socket_is_not_served() {
    let mut world = World::asleep(MINE, &[]);
    std::fs::create_dir(world.path("run")).unwrap();
    let broker = UnixListener::bind(world.broker()).unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let pretend = UnixListener::from(OwnedFd::from(datagram));
    activated(&mut world, "broker:control", [&broker, &pretend]);
    assert!(soon(5 * SECOND, || world.log().contains("not a listening Unix socket")), "{}", world.log());
}

/// What the service manager is told, a line each.
struct Manager(mpsc::Receiver<String>);

impl Manager {
    fn start(world: &mut World, watchdog: &str) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(length) = socket.recv(&mut text) {
                for line in String::from_utf8_lossy(&text[..length]).lines() {
                    let _ = tell.send(line.to_owned());
                }
            }
        });
        let mut command = world.daemon_command();
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", watchdog);
        world.start_by(command);
        Self(told)
    }

    /// Waits for a line that begins so; gives all up to it.
    fn hears(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let end = Instant::now() + 5 * SECOND;
        while let Ok(line) = self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            heard.push(line);
            if heard.last().unwrap().starts_with(wanted) {
                return heard;
            }
        }
        panic!("{wanted} was never said: {heard:?}");
    }
}

#[test]
fn the_service_manager_is_told_of_every_turn() {
    let mut world = World::asleep(MINE, &[]);
    let manager = Manager::start(&mut world, "400000");
    manager.hears("READY=1");
    world.add_key("dashscope/main");
    assert_eq!(world.mint(r#"{"key":"dashscope/main","kind":"virtual","owner":"detached"}"#).status, 201);
    let began = Instant::now();
    for _ in 0..4 {
        manager.hears("WATCHDOG=1");
    }
    assert!(began.elapsed() < 4 * Duration::from_millis(400), "within the watchdog's limit: {:?}", began.elapsed());
    manager.hears("STATUS=1 keys, 1 leases, 1 sent");
    signal(world.pid(), "HUP");
    manager.hears("RELOADING=1");
    let monotonic = manager.hears("MONOTONIC_USEC=");
    assert!(monotonic.len() == 1, "in the same message: {monotonic:?}");
    manager.hears("READY=1");
    world.configure("nonsense");
    signal(world.pid(), "HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    assert_eq!(world.stop(), Some(0));
    manager.hears("STOPPING=1");
}
