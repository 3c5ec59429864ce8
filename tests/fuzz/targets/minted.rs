//! A provider's answers to a mint: what is taken for a token is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::recipe::Recipe;
use std::{collections::BTreeMap, sync::LazyLock};

static RECIPES: LazyLock<BTreeMap<String, Recipe>> = LazyLock::new(|| Recipe::shipped().unwrap());

fuzz_target!(|body: &[u8]| {
    let mint = RECIPES["dashscope"].minting().unwrap();
    for status in [200, 302, 401, 429, 500] {
        if let Ok(minted) = mint.read(status, body) {
            assert!(status == 200 && minted.expires_at > 0);
            minted.token.expose(|token| assert!(token.starts_with(b"st-") && token.iter().all(u8::is_ascii_graphic)));
        }
    }
});
