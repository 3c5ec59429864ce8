//! The manual's page of others' mistakes names tests: each of them is there.

use std::path::Path;

const PAGE: &str = include_str!("../../src/manual/mistakes.md");

#[test]
fn every_test_that_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [texts(&root.join("tests/it")), texts(&root.join("src"))].concat();
    let named: Vec<_> = names(PAGE).collect();
    assert!(named.len() > 50, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !is_a_test(&sources, name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    assert_eq!(names("| `a_b_c_d_e` and `.ci/fuzz`, `short` |").collect::<Vec<_>>(), ["a_b_c_d_e"]);
    assert!(is_a_test("#[test]\nfn a_b_c_d_e() {", "a_b_c_d_e"));
    assert!(!is_a_test("fn a_b_c_d_e() {", "a_b_c_d_e") && !is_a_test("#[test]\nfn a_b_c_d() {", "a_b_c_d_e"));
}

/// What stands in backticks and has the form of a test's name.
fn names(page: &str) -> impl Iterator<Item = &str> {
    let form =
        |name: &&str| name.matches('_').count() > 3 && !name.contains(|c: char| !c.is_alphanumeric() && c != '_');
    page.split('`').skip(1).step_by(2).filter(form)
}

fn is_a_test(sources: &str, name: &str) -> bool {
    let at = sources.find(&format!("fn {name}()"));
    at.is_some_and(|at| sources[..at].lines().rev().take(4).any(|line| line.trim() == "#[test]"))
}

fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => texts(&path),
        false => std::fs::read_to_string(path).unwrap_or_default(),
    };
    entries.map(text).collect::<Vec<_>>().join("\n")
}
