//! Whether a rule can decide anything, given those above it. When it is not sure, it says nothing.

use super::value::Value;
use crate::{model::Pattern, policy::Rule};

/// Warns at `title` when a rule above has the same peers or more, and the same keys or more.
pub(super) fn check(title: Value<'_>, rule: &Rule, above: &[Rule]) {
    if let Some(earlier) = above.iter().find(|earlier| covers(earlier, rule)) {
        title.warning(
            format!("rule \"{}\" is never reached", rule.name),
            format!("\"{}\" stands above it with the same peers and keys, or more: put this one first", earlier.name),
        );
    }
}

/// Fewer conditions are more peers.
fn covers(earlier: &Rule, later: &Rule) -> bool {
    earlier.peer.iter().all(|condition| later.peer.contains(condition))
        && later.keys.iter().all(|keys| earlier.keys.iter().any(|wide| wider(wide, keys)))
}

/// Whether all that fits `narrow` fits `wide` too; `false` also where that is hard to tell.
fn wider(wide: &Pattern, narrow: &Pattern) -> bool {
    let (all, some) = (wide.as_str(), narrow.as_str());
    let below = |folder: &str| !folder.contains('*') && some.starts_with(folder);
    // One star may be any run without a slash, so one letter that stands nowhere else speaks for it.
    let plain = || !some.contains("**") && wide.matches(&some.replace('*', "\u{1}"));
    all == some || all.strip_suffix("**").is_some_and(below) || plain()
}

#[cfg(test)]
mod tests {
    use super::wider;

    #[test]
    fn no_rule_is_called_dead_that_could_live() {
        let wider = |wide: &str, narrow: &str| wider(&wide.parse().unwrap(), &narrow.parse().unwrap());
        for (wide, narrow) in [("**", "a/*"), ("a/*", "a/b*"), ("a/*", "a/b"), ("a/**", "a/x/**"), ("a*b", "a*b")] {
            assert!(wider(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [("a/*", "a/**"), ("a/b", "a/*"), ("*", "a/b"), ("a/*x", "a/*"), ("a/*/**", "a/**")] {
            assert!(!wider(wide, narrow), "{wide} {narrow}");
        }
    }
}
