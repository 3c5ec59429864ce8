//! What the program may cost: crates it is built of, their licences, and the size of the binary.
//! It must never ask the network: everything is known from the lock file and what was built.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::needs::{has, missing};

/// Crates that are compiled for the program, tests apart, and ours among them.
const CRATES: usize = 170;
/// Bytes of the stripped release binary.
const BINARY: u64 = 9_000_000;

/// Crate and version, and licence, of all that is compiled for the program.
fn crates(features: &[&str]) -> BTreeMap<String, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--offline", "--locked", "--edges=normal,build", "--prefix=none", "--format={p}|{l}"]);
    let output = cargo.args(features).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let of_line = |line: &str| {
        let (name, licence) = line.split_once('|').unwrap();
        // A crate that stood before is listed again as `name version (*)`, without its licence.
        let version = name.split(' ').take(2).collect::<Vec<_>>().join(" ");
        (version, licence.trim_end_matches("(*)").trim().to_owned())
    };
    text.lines().filter(|line| !line.is_empty()).map(of_line).collect()
}

#[test]
fn the_program_is_built_of_few_crates() {
    if has("cargo", "how many crates there are is") {
        let crates = crates(&[]);
        assert!(crates.len() <= CRATES, "{} crates, of at most {CRATES}: {:?}", crates.len(), crates.keys());
        assert!(crates.len() > 100, "only {} crates were read", crates.len());
    }
}

#[test]
fn every_crate_has_a_licence_we_may_use() {
    if has("cargo", "what the crates' licences are is") {
        let allowed = allowed();
        for (name, licence) in crates(&["--all-features"]) {
            assert!(may_be_used(&licence, &allowed), "{name} is under {licence:?}: see .deny.toml");
        }
    }
}

/// What `cargo vet --locked --store-path .cargo-vet` asks, without the tool, which takes minutes to build. An exemption is
/// trust without a reading; where there is much `unsafe`, or C, its note says in whom.
#[test]
fn every_crate_was_read_by_somebody_or_is_trusted_by_name() {
    if has("cargo", "whether every crate is on record is") {
        let known: Vec<(String, String)> =
            [("config", "exemptions"), ("audits", "audits")].into_iter().flat_map(recorded).collect();
        assert!(known.len() > 100, "only {} records were read", known.len());
        for crate_ in crates(&["--all-features"]).keys().filter(|name| !name.starts_with("sixty ")) {
            let (name, version) = crate_.split_once(" v").unwrap();
            let is = |known: &&(String, String)| known.0 == name && known.1 == version;
            assert!(known.iter().any(|known| is(&known)), "{crate_} is not in .cargo-vet: read it, or say why not");
        }
    }
}

/// Crates and versions in one of cargo-vet's files.
fn recorded((file, table): (&str, &str)) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(".cargo-vet/{file}.toml"));
    let text: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let version = |record: &toml::Value| record["version"].as_str().unwrap().to_owned();
    let of = |(name, records): (&String, &toml::Value)| -> Vec<_> {
        records.as_array().unwrap().iter().map(|record| (name.clone(), version(record))).collect()
    };
    text[table].as_table().unwrap().iter().flat_map(of).collect()
}

#[test]
fn the_binary_is_small() {
    let debug = Path::new(env!("CARGO_BIN_EXE_sixty")).parent().unwrap();
    match fs::metadata(debug.with_file_name("release").join("sixty")) {
        Ok(file) => assert!(file.len() <= BINARY, "{} bytes, of at most {BINARY}", file.len()),
        Err(_) => missing("there is no release binary", "its size is"),
    }
}

#[test]
fn a_licence_is_read_as_spdx_says() {
    let allowed = ["MIT", "ISC", "Apache-2.0"].map(str::to_owned);
    for good in
        ["MIT", "GPL-3.0 OR MIT", "MIT AND ISC", "(MIT OR GPL-3.0) AND ISC", "GPL-2.0/MIT", "GPL-3.0 AND X OR MIT"]
    {
        assert!(may_be_used(good, &allowed), "{good}");
    }
    let exception = "Apache-2.0 WITH LLVM-exception";
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", exception, "MIT AND (GPL-3.0 OR X)"] {
        assert!(!may_be_used(bad, &allowed), "{bad}");
    }
}

fn allowed() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".deny.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["licenses"]["allow"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Whether an SPDX expression (annex D of its specification) can be met with the licences allowed.
fn may_be_used(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut good = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        good |= all_of(words, allowed);
    }
    good
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut good = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let good = any_of(words, allowed);
        return words.next_if_eq(&")").is_some() && good;
    }
    let Some(name) = words.next() else { return false };
    let name = match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => format!("{name} WITH {exception}"),
        None => name.to_owned(),
    };
    allowed.contains(&name)
}
