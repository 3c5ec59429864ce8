//! What somebody presents as a virtual key: never more than it is, and a narrower one of it never wider.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{
    model::Narrowing,
    wire::{
        key::{self, Shape},
        narrow::{self, Bounds, Narrowed},
    },
};

fuzz_target!(|text: &[u8]| {
    let shape = key::shape(text);
    let parsed = Narrowed::parse(text, &Bounds::MOST);
    assert!(shape == Shape::Narrowed || parsed.is_err());
    let Ok((narrower, id)) = narrow::narrow(text, &Narrowing::default()) else { return };
    assert!(matches!(shape, Shape::Ours | Shape::Narrowed));
    let narrower = narrower.expose(|text| Narrowed::parse(text, &Bounds::MOST)).unwrap();
    assert!(
        *narrower.mark() == id.mark
            && parsed.is_ok_and(|parsed| parsed.mark() == narrower.mark()) == (shape == Shape::Narrowed)
    );
    // Only with the virtual key at hand can it be told to be true.
    let links = narrower.verified(&narrow::seed(text));
    assert!(links.is_some_and(|links| links.len() == 1 && links[0].node == id.node) == (shape == Shape::Ours));
});
