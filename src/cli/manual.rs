//! `sixty manual`: the pages of `src/manual/`, built in. It must never need a daemon or the network.

use super::failure::Failure;
use super::output::{BOLD, show as print};
use crate::manual::TOPICS;

/// `sixty manual`.
pub(super) fn show(topic: Option<&str>) -> Result<(), Failure> {
    match topic {
        Some(name) => print(page(name)),
        None => print(format_args!("{}\n{}", page(TOPICS[0].0), contents())),
    }
}

fn page(name: &str) -> &'static str {
    TOPICS.iter().find(|(topic, _)| *topic == name).map_or("", |(_, text)| text)
}

fn contents() -> String {
    let line = |(name, text): &(&str, &str)| {
        let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
        format!("  {BOLD}sixty manual {name:<14}{BOLD:#} {title}\n")
    };
    format!("Topics:\n{}", TOPICS.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_title_and_is_in_the_contents() {
        for (name, text) in TOPICS {
            assert!(text.starts_with("# "), "{name}");
            assert!(contents().contains(name), "{name}");
        }
    }
}
