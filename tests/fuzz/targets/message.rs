//! Bodies of the broker's and the control socket's routes. A fault never quotes what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{
    model::{Malformed, Narrowing, Request},
    wire::{KeyPut, KeyRotate, Redeem, Unlock, Why, parse},
};

/// Names of fields, which a fault tells, have none of these.
const LETTERS: &[u8] = b"QXZ";

fuzz_target!(|body: &[u8]| {
    let faults = [
        parse::<Request>(body, "").err(),
        parse::<KeyPut>(body, "").err(),
        parse::<KeyRotate>(body, "").err(),
        parse::<Unlock>(body, "").err(),
        parse::<Redeem>(body, "").err(),
        parse::<Why>(body, "").err(),
        parse::<Narrowing>(body, "").err(),
    ];
    let quotes = |fault: Malformed| fault.to_string().bytes().any(|byte| LETTERS.contains(&byte));
    assert!(!faults.into_iter().flatten().any(quotes));
});
