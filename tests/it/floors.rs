//! The building holds: who stands on which floor, and which walls have no door.
//! It must never pass because it read nothing: its checker is tried on small wrong buildings too.

mod imports;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fs, path::Path};

use imports::{Import, imports};
use source::without_tests;

/// Floors from the ground up. A module imports only from lower ones; modules on one floor are strangers.
const FLOORS: [&[&str]; 9] = [
    &["clock", "sys", "manual"],
    &["secret"],
    &["model"],
    &["policy", "recipe", "wire"],
    &["attest", "vault", "upstream", "audit", "ledger"],
    &["issuer"],
    &["broker"],
    &["endpoint", "gateway", "observe", "client", "config"],
    &["daemon", "cli", "demo"],
];

/// The strangers that may speak to each other, one way.
const ACQUAINTED: [(&str, &str); 1] = [
    // A timer is wound to a moment of the clock.
    ("sys", "clock"),
];

/// What modules may not import although the floors would let them.
struct Wall {
    who: Who,
    never: &'static [&'static str],
    why: &'static str,
}

enum Who {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

const WALLS: [Wall; 3] = [
    Wall {
        who: Who::Only(&["cli", "client"]),
        never: &["vault", "issuer", "broker", "upstream", "ledger", "attest", "gateway", "endpoint"],
        why: "the caller's side speaks to the daemon through its sockets alone",
    },
    Wall {
        who: Who::Only(&["endpoint", "gateway", "observe"]),
        never: &[
            "vault",
            "issuer",
            "upstream",
            "policy::judge",
            "policy::rule",
            "policy::Condition",
            "policy::Rule",
            "policy::Rules",
            "policy::TtlRange",
        ],
        why: "a door leads to the broker, and decides nothing itself",
    },
    Wall {
        who: Who::AllBut(&["daemon", "config"]),
        never: &["config::Config"],
        why: "only the daemon knows the config whole; take your own small options",
    },
];

/// Lines of a file, its tests apart.
const LONGEST: usize = 400;

/// A source file: its path from the root of the package, and its text.
struct File {
    path: String,
    text: String,
}

#[test]
fn every_import_goes_down_and_through_no_wall() {
    let files = files(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(files.len() > 50, "only {} files were found: is this the right folder?", files.len());
    let faults = faults(&files);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Every fault of the building: a line each.
fn faults(files: &[File]) -> Vec<String> {
    let for_tests: BTreeSet<String> = files.iter().flat_map(test_files).collect();
    let mut faults = Vec::new();
    for file in files {
        faults.extend(unsafe_code(file));
        let stem = stem(&file.path);
        let inside = |tests: &String| stem == tests || stem.starts_with(&format!("{tests}/"));
        if for_tests.iter().any(inside) {
            continue;
        }
        let code = without_tests(&file.text);
        if code.lines > LONGEST {
            faults.push(format!("{}: {} lines, of at most {LONGEST}: split it", file.path, code.lines));
        }
        let module = module(&file.path);
        let Some(&top) = module.first() else { continue };
        if floor(top).is_none() {
            faults.push(format!("{}: {top} is on no floor: give it one, in design and test", file.path));
        }
        let wrong = |import: &Import| {
            let why = trespass(top, &import.path)?;
            Some(format!("{}:{}: {top} imports {}: {why}", file.path, import.line, import.path.join("::")))
        };
        faults.extend(imports(&module, &code.words).iter().filter_map(wrong));
    }
    faults
}

/// Why `who` may not import this path; none when it may.
fn trespass(who: &str, path: &[&str]) -> Option<String> {
    let Some(&whom) = path.first() else { return Some("the whole crate: name what you need".to_owned()) };
    if whom == who {
        return None;
    }
    let (Some(from), Some(to)) = (floor(who), floor(whom)) else {
        return Some(format!("{whom} is on no floor"));
    };
    if to >= from && !ACQUAINTED.contains(&(who, whom)) {
        return Some(format!("{who} is on floor {from}, {whom} on {to}: imports go down"));
    }
    let wall = WALLS.iter().find(|wall| wall.stops(who, path))?;
    Some(wall.why.to_owned())
}

impl Wall {
    fn stops(&self, who: &str, path: &[&str]) -> bool {
        let meant = match self.who {
            Who::Only(modules) => modules.contains(&who),
            Who::AllBut(modules) => !modules.contains(&who),
        };
        // Whoever imports `policy` can name all that is in it.
        let holds = |never: &&str| never.split("::").zip(path).all(|(never, part)| never == *part);
        meant && self.never.iter().any(holds)
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Unsafe code, or leave for it, outside the one folder that may; tests are no exception.
fn unsafe_code(file: &File) -> Vec<String> {
    if module(&file.path).first() == Some(&"sys") {
        return Vec::new();
    }
    let words = source::words(&file.text);
    let found = words.iter().filter(|word| ["unsafe", "unsafe_code"].contains(&word.text));
    found.map(|word| format!("{}:{}: {} outside src/sys", file.path, word.line, word.text)).collect()
}

/// Stems of the files that hold this one's test modules.
fn test_files(file: &File) -> Vec<String> {
    let parent = ["/mod", "/lib", "/main"].iter().find_map(|root| stem(&file.path).strip_suffix(root));
    let parent = parent.unwrap_or(stem(&file.path));
    without_tests(&file.text).test_modules.iter().map(|name| format!("{parent}/{name}")).collect()
}

/// The module of a file: `src/vault/seal.rs` is vault::seal; the crate's own root has no name.
fn module(path: &str) -> Vec<&str> {
    let mut parts: Vec<_> = stem(path).split('/').skip(1).collect();
    if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
        parts.pop();
    }
    parts
}

fn stem(path: &str) -> &str {
    path.strip_suffix(".rs").unwrap_or(path)
}

fn files(root: &Path) -> Vec<File> {
    let (mut found, mut folders) = (Vec::new(), vec![root.join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(File { path: name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}
