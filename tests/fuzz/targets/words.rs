//! The small words of requests and rules: what is understood is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::model::{CallPath, KeyName, LeaseId, NodeId, Pattern, Selector, span};

fuzz_target!(|text: &str| {
    let _ = (span::span(text), CallPath::parse(text));
    if let Ok(pattern) = text.parse::<Pattern>() {
        let _ = pattern.matches(text);
    }
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
    }
    if let Ok(name) = text.parse::<KeyName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(id) = text.parse::<NodeId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<LeaseId>() {
        assert_eq!(id.to_string(), text);
    }
});
