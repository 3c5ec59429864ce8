//! Minutes of everything at once, by 64 callers: what is taken is given back, and nothing is found at the end.

use super::life::{KEYS, Life};
use crate::harness::{exchange, random_key, read_answer, request, signal, soon};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Callers of each kind at once.
const KEEPING: usize = 24;
const CONNECTING: usize = 24;
const VANISHING: usize = 8;
/// Mints of each in a round.
const MINTS: usize = 40;
/// Calls through the gateway in a round; another eight callers.
const CALLS: usize = 400;

/// What the daemon has at a quiet moment: memory in kB, and descriptors.
#[derive(Debug, Clone, Copy)]
struct Sample {
    memory: usize,
    descriptors: usize,
}

impl Life {
    /// Goes on for so long, and looks between the rounds.
    pub fn soak(&mut self, time: Duration) {
        let (began, mut samples) = (Instant::now(), Vec::new());
        while began.elapsed() < time || samples.len() < 8 {
            self.all_at_once(samples.len());
            self.control("DELETE", "/v1/leases?all=true", None);
            std::thread::sleep(Duration::from_millis(300));
            samples.push(self.sample());
            if samples.len() % 10 == 0 {
                self.put_the_audit_aside();
            }
        }
        let quarter = samples.len() / 4;
        let (second, last) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
        let memory = [second, last].map(|part| median(part, |sample| sample.memory));
        let descriptors = [second, last].map(|part| median(part, |sample| sample.descriptors));
        eprintln!("{} rounds; kB {memory:?}, descriptors {descriptors:?}", samples.len());
        assert!(memory[1] * 100 <= memory[0] * 102, "memory grows: {samples:?}");
        assert!(descriptors[1] <= descriptors[0], "descriptors are lost: {samples:?}");
        self.look("after the soak");
    }

    /// One round: nobody fails but those who vanish, though keys are rotated and rules reloaded meanwhile.
    fn all_at_once(&mut self, round: usize) {
        let fresh = random_key();
        self.world.studio.register(&fresh);
        let life = &*self;
        std::thread::scope(|scope| {
            for caller in 0..KEEPING {
                scope.spawn(move || life.mint_and_keep(caller));
            }
            for caller in 0..CONNECTING {
                scope.spawn(move || life.mint_on_many_connections(caller, MINTS));
            }
            for _ in 0..VANISHING {
                scope.spawn(move || (0..MINTS).for_each(|_| life.vanish()));
            }
            scope.spawn(|| drop(life.call_through_the_gateway(CALLS)));
            let body = format!("{{\"secret\":\"{fresh}\"}}");
            life.control("POST", &format!("/v1/keys/dashscope/k{}/rotate", round % KEYS), Some(&body));
            life.control("POST", "/v1/reload", None);
        });
        self.remember(fresh);
    }

    /// Mints on one connection; every other lease is revoked by whoever has it.
    fn mint_and_keep(&self, caller: usize) {
        let mut stream = UnixStream::connect(self.world.broker()).unwrap();
        for mint in 0..MINTS {
            let body = format!(r#"{{"key":"dashscope/k{}","kind":"virtual","ttl":60}}"#, caller % KEYS);
            stream.write_all(request("POST", "/v1/leases", Some(&body), "keep-alive").as_bytes()).unwrap();
            let answer = read_answer(&mut stream).unwrap();
            assert_eq!(answer.status, 201, "{}", answer.text());
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            self.keep(&answer);
            if mint % 2 == 0 {
                exchange(&self.world.broker(), "DELETE", &format!("/v1/leases/{id}"), None).unwrap();
            }
        }
    }

    /// As logrotate does, with one old file kept: else there would be gigabytes.
    fn put_the_audit_aside(&self) {
        let audit = self.world.path("state/audit.ndjson");
        std::fs::rename(&audit, self.world.path("state/audit.ndjson.1")).unwrap();
        signal(self.world.pid(), "USR1");
        assert!(soon(Duration::from_secs(5), || audit.exists()), "it goes on in a new file");
    }

    fn vanish(&self) {
        let mut stream = UnixStream::connect(self.world.broker()).unwrap();
        let text = request("POST", "/v1/leases", Some(r#"{"key":"dashscope/k1","kind":"virtual","ttl":60}"#), "close");
        let _ = stream.write_all(text.as_bytes());
    }

    fn sample(&self) -> Sample {
        let process = format!("/proc/{}", self.world.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory = line.split_whitespace().next().unwrap().parse().unwrap();
        Sample { memory, descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> usize) -> usize {
    let mut all: Vec<_> = samples.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}
