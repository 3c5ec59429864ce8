//! The head of a call, as hyper gives it to the gateway: when it is understood, no key is left in it.
#![no_main]

use hyper::{Request, http::request::Parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(parts) = parts(text) {
        sixty::gateway::fuzz(parts);
    }
});

/// Method, target and headers, a line each.
fn parts(text: &str) -> Option<Parts> {
    let mut lines = text.lines();
    let request = Request::builder().method(lines.next()?).uri(lines.next()?);
    let headers = lines.filter_map(|line| line.split_once(": "));
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    Some(request.body(()).ok()?.into_parts().0)
}
