//! A disk that takes half a second for every fsync of the vault and of the book of usage: who mints must not feel it.

use crate::harness::{MINE, SECOND, VIRTUAL, World, random_key};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Put before libc's own by LD_PRELOAD: a file is known by its name. The audit is left as fast as it is.
const SLOW: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int fsync(int fd) {
    char link[64], path[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0 && (strstr(path, "vault.") || strstr(path, "usage."))) usleep(500000);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"#;

fn on_a_slow_disk() -> World {
    let mut world = World::asleep(MINE, &[]);
    let (source, library) = (world.path("slow.c"), world.path("slow.so"));
    std::fs::write(&source, SLOW).unwrap();
    // Rust links with it: it is there.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(built.unwrap().success());
    let mut command = world.daemon_command();
    command.env("LD_PRELOAD", library);
    world.start_by(command);
    world
}

#[test]
fn mints_are_answered_while_the_vault_is_written() {
    let world = on_a_slow_disk();
    world.add_key("dashscope/main");
    let put = |name: &str| {
        let body = format!(r#"{{"provider":"dashscope","region":"singapore","secret":"{}"}}"#, random_key());
        let began = Instant::now();
        let status = world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status;
        (status, began.elapsed())
    };
    let (added, mints, slowest) = std::thread::scope(|scope| {
        let two = ["dashscope/a", "dashscope/b"].map(|name| scope.spawn(move || put(name)));
        let (mut mints, mut slowest) = (0, Duration::ZERO);
        while !two.iter().all(|one| one.is_finished()) {
            let began = Instant::now();
            assert_eq!(world.mint(VIRTUAL).status, 201);
            slowest = slowest.max(began.elapsed());
            mints += 1;
        }
        (two.map(|one| one.join().unwrap()), mints, slowest)
    });
    // Vault and head, one after the other, and the second change after the first.
    assert!(
        added.iter().all(|(status, time)| *status == 201 && *time >= SECOND),
        "told before it was durable: {added:?}"
    );
    assert!(added.iter().any(|(_, time)| *time >= 2 * SECOND), "two changes were written at once: {added:?}");
    assert!(mints > 4 && slowest < SECOND / 2, "{mints} mints, the slowest took {slowest:?}");
    assert_eq!(world.control_http("GET", "/v1/keys", None).json()["keys"].as_array().unwrap().len(), 3);
}

#[test]
fn a_lock_waits_for_no_disk() {
    let world = on_a_slow_disk();
    world.add_key("dashscope/main");
    assert_eq!(world.mint(crate::harness::UPSTREAM).status, 201, "a use to be written down");
    let began = Instant::now();
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    let key = world.control_http("GET", "/v1/keys/dashscope/main", None).json();
    assert!(key["last_used"].is_u64(), "the use was written before the vault was read: {key}");
}
