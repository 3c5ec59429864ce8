//! A disk that is slow or fails, and a wall clock that jumps, when a test says so: put before libc's own calls by
//! LD_PRELOAD, for the daemon alone.

use crate::harness::World;
use std::{path::PathBuf, process::Command};

/// A file is known by its name. What goes wrong is read anew at each call: `call part-of-name errno microseconds`; of the
/// clock, `clock wall 0 seconds`.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static long amount(const char *call, const char *path, int *failed) {
    char name[32], part[256];
    int code;
    long amount, all = 0;
    FILE *faults = fopen(getenv("DISK_FAULTS"), "re");
    if (!faults) return 0;
    while (fscanf(faults, "%31s %255s %d %ld", name, part, &code, &amount) == 4)
        if (!strcmp(name, call) && strstr(path, part)) {
            all += amount;
            *failed = code;
        }
    fclose(faults);
    return all;
}
static int at(const char *call, const char *path) {
    int failed = 0;
    usleep(amount(call, path, &failed));
    if (failed) errno = failed;
    return failed;
}
static int fails(const char *call, int fd) {
    char link[64], path[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && at(call, path);
}
#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = REAL("clock_gettime", int (*)(clockid_t, struct timespec *))(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += amount("clock", "wall", &failed);
    return failed;
}
int openat(int dir, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (at("open", path)) return -1;
    return REAL("openat", int (*)(int, const char *, int, mode_t))(dir, path, flags, mode);
}
int fsync(int fd) { return fails("fsync", fd) ? -1 : REAL("fsync", int (*)(int))(fd); }
int fdatasync(int fd) { return fails("fdatasync", fd) ? -1 : REAL("fdatasync", int (*)(int))(fd); }
ssize_t write(int fd, const void *at, size_t size) {
    return fails("write", fd) ? -1 : REAL("write", ssize_t (*)(int, const void *, size_t))(fd, at, size);
}
ssize_t pwrite64(int fd, const void *at, size_t size, off_t place) {
    return fails("pwrite", fd) ? -1 : REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off_t))(fd, at, size, place);
}
"#;

/// What goes wrong on the disk of one world.
pub struct Faults(PathBuf);

impl Faults {
    /// Starts the world's daemon on such a disk; nothing is wrong with it yet.
    pub fn under(world: &mut World) -> Self {
        let (source, library) = (world.path("disk.c"), world.path("disk.so"));
        std::fs::write(&source, SOURCE).unwrap();
        // Rust links with it: it is there.
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
        assert!(built.unwrap().success());
        let faults = Self(world.path("faults"));
        let mut command = world.daemon_command();
        command.env("LD_PRELOAD", library).env("DISK_FAULTS", &faults.0);
        world.start_by(command);
        faults
    }

    /// From now on these calls on files with that in their path fail with an errno (0: they do not) after so many
    /// microseconds.
    pub fn are(&self, faults: &[(&str, &str, i32, i64)]) {
        let line = |(call, part, errno, micros): &(&str, &str, i32, i64)| format!("{call} {part} {errno} {micros}\n");
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, faults.iter().map(line).collect::<String>()).unwrap();
        std::fs::rename(fresh, &self.0).unwrap();
    }
}
