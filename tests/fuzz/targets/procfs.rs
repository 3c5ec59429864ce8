//! Lines of /proc: a process may call itself what it likes, and its cgroup too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{attest, sys::procfs::parse};

fuzz_target!(|text: &str| {
    // The kernel cuts a name after 15 bytes; here it is of any length.
    let line = format!("42 ({text}) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 1000");
    assert_eq!((parse::stat_field(&line, 4), parse::stat_field(&line, 22)), (Some(7_i32), Some(99_u64)));
    let _ = (parse::stat_field::<u64>(text, 22), parse::uids(text), parse::gids(text));
    let _ = parse::cgroup(text).and_then(attest::unit);
    // What runs below a user's own manager is never taken for a unit of the system, however it is called.
    let below = format!("0::/user.slice/user-1000.slice/user@1000.service/{text}");
    if let Some(unit) = parse::cgroup(&below).and_then(attest::unit) {
        assert!(unit == "user@1000.service" || unit.starts_with("user@1000/"));
    }
});
