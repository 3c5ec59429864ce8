//! A provider's file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::recipe::Recipe;

fuzz_target!(|text: &str| {
    if let Ok(recipe) = Recipe::parse("own.toml", text) {
        let _ = recipe.base_urls("http://127.0.0.1:1");
    }
});
