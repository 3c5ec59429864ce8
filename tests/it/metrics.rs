//! `/metrics` as a strict collector reads it: OpenMetrics 1.0, one family after the other.

use crate::harness::{MINE, VIRTUAL, World};
use std::collections::BTreeMap;

/// The samples of a text by their name and labels; panics where a strict reader gives up.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let (lines, end) = text.split_once("# EOF\n").expect("it ends with # EOF");
    assert_eq!(end, "", "nothing comes after the end");
    let (mut families, mut samples) = (Vec::new(), BTreeMap::new());
    for line in lines.lines() {
        if let Some(told) = line.strip_prefix("# ") {
            let [what, family, rest] = told.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert!(["HELP", "TYPE", "UNIT"].contains(&what) && !rest.is_empty(), "{line}");
            if families.last() != Some(&family) {
                assert!(!families.contains(&family), "{family} begins twice");
                families.push(family);
            }
            let seen = format!("# {what} {family} ");
            assert_eq!(lines.matches(&seen).count(), 1, "{seen} stands more than once");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let bare = name.split('{').next().unwrap();
        let family = families.last().unwrap();
        assert!(bare == *family || bare == format!("{family}_total"), "{line} stands below {family}");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} is told twice");
    }
    samples
}

#[test]
fn a_strict_reader_understands_the_metrics_and_every_refusal_is_counted() {
    let world = World::with_key(MINE);
    assert_eq!(world.mint(VIRTUAL).status, 201);
    assert_eq!(world.mint(r#"{"key":"dashscope/none","kind":"virtual"}"#).status, 403);
    for nonsense in ["{", "[]"] {
        assert_eq!(world.mint(nonsense).status, 400);
    }
    assert_eq!(world.http("GET", "/nowhere", None).status, 404);
    assert_eq!(world.http("POST", "/v1/leases", Some(&" ".repeat(65 << 10))).status, 413);
    assert_eq!(world.control_http("GET", "/v1/keys/dashscope/none", None).status, 404);
    let metrics = parsed(&world.control_http("GET", "/metrics", None).text());
    let refused = |code| metrics[&format!("sixty_refused_total{{code=\"{code}\"}}")];
    assert_eq!(["denied", "malformed", "too_large", "busy"].map(refused), [1.0, 4.0, 1.0, 0.0], "{metrics:?}");
    assert_eq!((metrics["sixty_tokens_sent_total"], metrics["sixty_leases"]), (1.0, 1.0));
    let answers = world.status()["answers"]["refused"].clone();
    assert_eq!((answers["malformed"].as_u64(), answers["too_large"].as_u64()), (Some(4), Some(1)), "{answers}");
}
