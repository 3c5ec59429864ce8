//! `kill -9` at random moments, under load: what was promised is there afterwards, and nothing is half done.
//! `SIXTY_SEED` repeats a run, `SIXTY_CRASH_ROUNDS` says how many kills; 40 by default, 200 where `CI=true`.

use crate::harness::{MINE, World, exchange, random_key, signal, soon};
use sixty::{audit, secret::Secret, vault::fingerprint};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

/// A token's life while daemons are killed, in seconds.
const TTL: u64 = 3;
/// The latest moment of a kill, in microseconds: a change of a key takes some ten thousand where the disk is slow.
const LATEST: u64 = 100_000;
/// Threads that change keys, each its own; together they stay below a workspace's 20 keys.
const WRITERS: usize = 2;
const NAMES: usize = 6;
/// A key that nobody changes.
const STEADY: &str = "dashscope/steady";

#[test]
fn a_daemon_killed_at_any_moment_comes_back_with_all_that_it_had_promised() {
    let (rounds, seed) = (rounds(), seed());
    eprintln!("{rounds} kills; SIXTY_SEED={seed} repeats them");
    let mut random = Random(seed);
    let mut world = World::new(MINE);
    world.add_key(STEADY);
    let mut writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
    let mut totals = Totals::default();
    let (mut last_expiry, mut old) = (0, Vec::new());
    for round in 0..rounds {
        let delay = Duration::from_micros(random.below(LATEST));
        let tokens = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let (mut random, world) = (Random(random.next()), Place::of(&world));
                scope.spawn(move || while writer.step(&world, &mut random).is_some() {});
            }
            for kind in ["upstream", "virtual"] {
                let (mut random, world, tokens) = (Random(random.next()), Place::of(&world), &tokens);
                scope.spawn(move || while minted(&world, &mut random, kind, tokens).is_some() {});
            }
            std::thread::sleep(delay);
            world.kill();
        });
        let tokens = tokens.into_inner().unwrap();
        last_expiry = tokens.iter().map(|lease| lease.expires_at).max().unwrap_or(0).max(last_expiry);
        totals.tokens += tokens.len();
        the_audit_holds(&world, round);
        if random.below(4) == 0 {
            kill_in_the_start(&world, Duration::from_micros(random.below(LATEST / 2)));
            the_audit_holds(&world, round);
        }
        let began = Instant::now();
        world.start();
        totals.restart = totals.restart.max(began.elapsed());
        the_keys_are_as_promised(&world, &mut writers, &mut totals, round);
        no_lease_is_left(&world, &tokens, round);
        if round % 16 == 15 {
            old.push(put_aside(&world, round));
        }
    }
    old.push(world.path("state/audit.ndjson"));
    let files = old.iter().map(|file| file.to_str().unwrap());
    let verified = world.sixty(&["audit", "verify"].into_iter().chain(files).collect::<Vec<_>>());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    eprintln!("{totals:?}, {}", String::from_utf8_lossy(&verified.stdout).trim());
    assert!(
        totals.answered > rounds / 2 && totals.tokens > rounds / 8,
        "too little happened to mean anything: {totals:?}"
    );
    every_token_dies(&world, last_expiry);
}

#[test]
fn a_second_daemon_keeps_its_hands_off() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let config = world.path("sixty.toml");
    let second = world.sixty(&["daemon", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains("in use by another daemon"), "{said}");
    // Not even with sockets of its own.
    let own = world.path("other.sock");
    let other = ["--socket", own.to_str().unwrap(), "--control-socket", world.path("c.sock").to_str().unwrap()]
        .map(String::from);
    let mut words = vec!["daemon", "--config", config.to_str().unwrap()];
    words.extend(other.iter().map(String::as_str));
    assert_eq!(world.sixty(&words).status.code(), Some(69));
    assert!(!own.exists(), "a daemon that refuses leaves no socket behind");
    world.mint(r#"{"key":"dashscope/main"}"#).token();
}

/// What is known of one key from outside.
#[derive(Clone, Debug)]
enum Known {
    /// This secret, or there is no key.
    Is(Option<String>),
    /// A change was sent and not answered: it is still the one, or already the other.
    Either(Option<String>, Option<String>),
}

/// A thread that changes keys of its own, and what it was promised.
struct Writer {
    keys: BTreeMap<String, Known>,
    answered: usize,
}

/// Where a daemon is, for threads.
struct Place {
    broker: PathBuf,
    control: PathBuf,
    studio: sixty::demo::studio::Studio,
}

struct Lease {
    id: String,
    expires_at: u64,
}

#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Totals {
    answered: usize,
    in_doubt: usize,
    done_in_doubt: usize,
    tokens: usize,
    restart: Duration,
}

impl Place {
    fn of(world: &World) -> Self {
        Self { broker: world.broker(), control: world.control(), studio: world.studio.clone() }
    }
}

impl Writer {
    fn new(number: usize) -> Self {
        let names = (0..NAMES).map(|key| (format!("dashscope/w{number}-{key}"), Known::Is(None)));
        Self { keys: names.collect(), answered: 0 }
    }

    /// One change of one key; none when the daemon is gone.
    fn step(&mut self, place: &Place, random: &mut Random) -> Option<()> {
        let pick = usize::try_from(random.below(NAMES as u64)).unwrap();
        let (name, known) = self.keys.iter_mut().nth(pick).unwrap();
        let Known::Is(old) = known.clone() else { panic!("{name} was left in doubt") };
        let new = (old.is_none() || random.below(3) > 0).then(random_key);
        let (method, target, body) = match (&old, &new) {
            (None, Some(secret)) => {
                let body = format!(
                    r#"{{"provider":"dashscope","region":"singapore","endpoint":"{}","secret":"{secret}"}}"#,
                    place.studio.url()
                );
                ("PUT", format!("/v1/keys/{name}"), Some(body))
            }
            (_, Some(secret)) => {
                ("POST", format!("/v1/keys/{name}/rotate"), Some(format!(r#"{{"secret":"{secret}"}}"#)))
            }
            (_, None) => ("DELETE", format!("/v1/keys/{name}"), None),
        };
        if let Some(secret) = &new {
            place.studio.register(secret);
        }
        *known = Known::Either(old, new.clone());
        let answer = exchange(&place.control, method, &target, body.as_deref())?;
        assert!([200, 201].contains(&answer.status), "{method} {target}: {} {}", answer.status, answer.text());
        *known = Known::Is(new);
        self.answered += 1;
        // Leaves the disk and the daemon's loop to the others for a moment.
        std::thread::sleep(Duration::from_micros(random.below(LATEST / 10)));
        Some(())
    }
}

fn minted(place: &Place, random: &mut Random, kind: &str, tokens: &Mutex<Vec<Lease>>) -> Option<()> {
    let changing = format!("dashscope/w{}-{}", random.below(WRITERS as u64), random.below(NAMES as u64));
    let name = if random.below(2) == 0 { STEADY } else { &changing };
    let body = format!(r#"{{"key":"{name}","kind":"{kind}","ttl":{TTL},"owner":"detached"}}"#);
    let asked = now();
    let answer = exchange(&place.broker, "POST", "/v1/leases", Some(&body))?;
    match answer.status {
        201 => {
            let lease = answer.json();
            let expires_at = lease["expires_at"].as_u64().unwrap();
            assert!((asked..=now() + TTL).contains(&expires_at), "{expires_at} is not within {TTL} s");
            tokens.lock().unwrap().push(Lease { id: lease["id"].as_str().unwrap().to_owned(), expires_at });
        }
        // The key is not there at the moment.
        403 if name != STEADY => {}
        other => panic!("mint: {other} {}", answer.text()),
    }
    Some(())
}

/// What the killed daemon left, before any other puts it right.
fn the_audit_holds(world: &World, round: usize) {
    let file = world.path("state/audit.ndjson");
    let verified = audit::verify(std::slice::from_ref(&file), Some(&file.with_extension("head")));
    assert!(verified.is_ok(), "round {round}: {}", verified.unwrap_err());
}

/// Rotates the audit: what is verified after each kill stays short.
fn put_aside(world: &World, round: usize) -> PathBuf {
    let (file, old) = (world.path("state/audit.ndjson"), world.path(&format!("state/audit.ndjson.{round}")));
    std::fs::rename(&file, &old).unwrap();
    signal(world.pid(), "USR1");
    assert!(soon(Duration::from_secs(5), || std::fs::metadata(&file).is_ok_and(|found| found.len() > 0)));
    old
}

/// A daemon that is killed before it serves.
fn kill_in_the_start(world: &World, delay: Duration) {
    let config = world.path("sixty.toml");
    let mut daemon = world.command(&["daemon", "--config", config.to_str().unwrap()]);
    let mut daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// Each key is the one that was last promised, or where no promise was made, the one before or the one after.
fn the_keys_are_as_promised(world: &World, writers: &mut [Writer], totals: &mut Totals, round: usize) {
    let listed = world.control_http("GET", "/v1/keys", None);
    assert_eq!(listed.status, 200, "round {round}: the vault is not open: {}", listed.text());
    let listed = listed.json();
    let found: BTreeMap<_, _> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["name"].as_str().unwrap(), key["fingerprint"].as_str().unwrap()))
        .collect();
    for writer in writers {
        totals.answered += std::mem::take(&mut writer.answered);
        for (name, known) in &mut writer.keys {
            let found = found.get(name.as_str()).copied();
            let is = |secret: &Option<String>| secret.as_deref().map(print_of).as_deref() == found;
            let (secret, other) = match known.clone() {
                Known::Is(secret) => (secret, None),
                Known::Either(old, new) if is(&new) => {
                    totals.done_in_doubt += 1;
                    totals.in_doubt += 1;
                    (new, old)
                }
                Known::Either(old, new) => {
                    totals.in_doubt += 1;
                    (old, new)
                }
            };
            assert!(is(&secret), "round {round}: {name} is neither the old nor the new key");
            if let Some(other) = other {
                world.studio.retire(&other);
                the_key_mints(world, name, secret.is_some(), round);
            }
            *known = Known::Is(secret);
        }
    }
}

/// A fingerprint could be right beside the wrong bytes: only the provider knows the key itself.
fn the_key_mints(world: &World, name: &str, there: bool, round: usize) {
    let answer = world.mint(&format!(r#"{{"key":"{name}","ttl":{TTL}}}"#));
    assert_eq!(answer.status, if there { 201 } else { 403 }, "round {round}: {name}: {}", answer.text());
}

/// Leases live in memory alone: a new daemon knows none, and takes no order about one.
fn no_lease_is_left(world: &World, old: &[Lease], round: usize) {
    let leases = world.control_http("GET", "/v1/leases?all=true", None).json();
    let ids: Vec<_> = leases["leases"].as_array().unwrap().iter().map(|lease| lease["id"].as_str().unwrap()).collect();
    assert!(old.iter().all(|lease| !ids.contains(&lease.id.as_str())), "round {round}: a lease outlived its daemon");
    if let Some(lease) = old.last() {
        let answer = world.http("DELETE", &format!("/v1/leases/{}", lease.id), None);
        assert_eq!(answer.status, 403, "round {round}: {}", answer.text());
    }
}

/// What the provider minted ends by the provider's own clock, whoever was killed.
fn every_token_dies(world: &World, last_expiry: u64) {
    let left = last_expiry.max(now() + TTL).saturating_sub(now());
    assert!(left <= TTL, "a token would live for {left} s more");
    std::thread::sleep(Duration::from_secs(left + 1));
    assert_eq!(world.studio.live_tokens(), 0);
}

fn print_of(secret: &str) -> String {
    Secret::copied(secret.as_bytes()).expose(fingerprint).0
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn rounds() -> usize {
    let said = std::env::var("SIXTY_CRASH_ROUNDS").ok().map(|number| number.parse().unwrap());
    said.unwrap_or(if std::env::var("CI").is_ok_and(|ci| ci == "true") { 200 } else { 40 })
}

fn seed() -> u64 {
    let said = std::env::var("SIXTY_SEED").ok().map(|number| number.parse().unwrap());
    said.unwrap_or_else(|| u64::from(SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()))
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to pick moments, and repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
