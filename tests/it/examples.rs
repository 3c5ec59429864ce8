//! Every documented config is right, and every wrong one is told as `tests/cli/config` shows it.
//! `UPDATE_SNAPSHOTS=1 cargo test --test it examples` writes the snapshots anew.

use sixty::{
    config::{Config, Context, Faults, Paint, Severity, load, parse},
    model::{Kind, Scope},
    policy::{Condition, Detach},
    recipe::Recipe,
};
use std::{collections::BTreeSet, fs, path::Path};

fn context() -> Context {
    Context {
        uid: 1000,
        gid: 1000,
        pid_ns: Some(4_026_531_836),
        user: |name| (name == "root").then_some(0),
        group: |name| (name == "wheel").then_some(10),
        recipes: Recipe::shipped().unwrap(),
    }
}

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn told(name: &str, text: &str) -> Faults {
    match parse(name, text, &context()) {
        Ok(config) => config.warnings,
        Err(faults) => faults,
    }
}

/// Names of the wrong configs, without `.toml`.
fn wrong() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/config");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect();
    names.sort();
    names
}

#[test]
fn the_annotated_config_says_what_the_defaults_are() {
    let config = parse("sixty.toml", &text("config/sixty.toml"), &context()).unwrap();
    assert_eq!(config.warnings, Faults::default());
    let providers = [("dashscope".to_owned(), Default::default())].into();
    assert_eq!(Config { rules: config.rules.clone(), providers, ..Config::default() }, config);
    let rule = &config.rules.0[0];
    let least = "[[rule]]\nname = 'x'\npeer = { uid = 'self' }\nkeys = ['dashscope/*']\nkinds = ['virtual']\n";
    let least = &parse("least", least, &context()).unwrap().rules.0[0];
    assert_eq!((least.ttl, least.share, least.detach), (rule.ttl, rule.share, rule.detach));
    assert_eq!((least.uses, least.rate, &least.scope), (None, None, &Scope::default()));
    assert_eq!(rule.kinds, [Kind::Virtual, Kind::Upstream]);
    assert_eq!((&rule.peer[..], rule.detach), (&[Condition::Uid(1000)][..], Detach::Refused));
}

#[test]
fn no_field_is_missing_from_the_annotated_config() {
    let text = text("config/sixty.toml");
    let fields = format!("{:#?}", Config::default());
    let told = ["allow_loopback", "name", "peer", "keys", "kinds", "ttl", "uses", "rate", "share", "detached", "scope"];
    let lines = fields.lines().filter_map(|line| line.strip_prefix("        "));
    let options =
        lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(':')).map(|pair| pair.0);
    for field in options.filter(|field| *field != "loopback").chain(told) {
        assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{field} ="))), "{field}");
    }
}

#[test]
fn the_annotated_price_is_one() {
    let text = text("config/sixty.toml");
    let price = text.lines().skip_while(|line| *line != "# [[price]]").take_while(|line| line.starts_with("# "));
    let price: String = price.map(|line| format!("{}\n", &line[2..])).collect();
    let config = parse("price", &format!("{text}\n{price}"), &context()).unwrap();
    let usage = sixty::model::Usage { input: 1000, cached_input: 500, output: 100, ..Default::default() };
    assert_eq!(config.prices.cost("dashscope", "qwen-plus-latest", &usage), Some(200 + 20 + 120));
    assert_eq!(config.prices.cost("dashscope", "wan", &usage), None);
    assert_eq!(config.warnings, Faults::default());
}

#[test]
fn every_shipped_config_is_read_without_a_word() {
    for name in ["config/sixty.toml", "config/system.toml"] {
        assert_eq!(told(name, &text(name)).to_string(), "", "{name}");
    }
}

#[test]
fn every_wrong_config_is_told_as_its_snapshot_shows() {
    let mut differing = Vec::new();
    for name in wrong() {
        let file = format!("{name}.toml");
        let rendered = told(&file, &text(&format!("tests/cli/config/{file}"))).render(Paint::Plain) + "\n";
        let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/config/{name}.txt"));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&snapshot, &rendered).unwrap();
        } else if fs::read_to_string(&snapshot).ok().as_ref() != Some(&rendered) {
            differing.push(format!("{name}:\n{rendered}"));
        }
    }
    assert!(differing.is_empty(), "not as in the snapshots:\n{}", differing.join("\n"));
}

#[test]
fn every_fault_has_its_place_and_a_second_line() {
    let names = wrong();
    assert!(names.len() >= 30, "{}", names.len());
    for name in names {
        let file = format!("{name}.toml");
        let faults = told(&file, &text(&format!("tests/cli/config/{file}")));
        assert!(!faults.is_empty(), "{name} is not wrong");
        for fault in &faults.0 {
            let spot = fault.place.as_ref();
            assert!(spot.is_some() || fault.severity == Severity::Warning, "{name}: {fault:?}");
            assert!(!fault.advice.is_empty(), "{name}: {fault:?}");
            let place = spot.map(|spot| format!("--> {file}:{}:{}\n", spot.line, spot.column)).unwrap_or_default();
            assert!(faults.to_string().contains(&place), "{name}: {place}");
        }
    }
}

/// Each wrong config says in its first line where its first fault must be: `# LINE:COLUMN`, by a person's eye.
#[test]
fn the_place_is_where_a_person_would_point() {
    for name in wrong() {
        let text = text(&format!("tests/cli/config/{name}.toml"));
        let wanted = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        let faults = told(&name, &text);
        let spots = faults.0.iter().filter_map(|fault| fault.place.as_ref());
        let places: Vec<_> = spots.map(|spot| format!("{}:{}", spot.line, spot.column)).collect();
        assert_eq!(places.join(" "), wanted, "{name}");
    }
}

#[test]
fn no_snapshot_is_left_of_a_config_that_is_gone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (of, shown): (BTreeSet<_>, BTreeSet<_>) =
        (wrong().into_iter().collect(), files.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect());
    for path in shown {
        assert!(of.contains(path.file_stem().unwrap().to_str().unwrap()), "{}", path.display());
    }
}

#[test]
fn a_secret_in_a_config_is_not_shown_by_its_faults() {
    for line in ["[vault]\npassphrase = \"hunter2\"", "[vault]\nunlock = \"hunter2\"", "sk-hunter2hunter2hunter2"] {
        let faults = told("x", line);
        assert!(faults.0.iter().any(|fault| fault.severity == Severity::Error), "{line}");
        for shown in [faults.to_string(), serde_json::to_string(&faults).unwrap()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

#[test]
fn programs_are_told_the_same_as_people() {
    let faults = told("x.toml", "[daemon]\nwokrers = 2\n[[rule]]\n");
    let json = serde_json::to_value(&faults).unwrap();
    assert_eq!(json[0]["line"], 2);
    assert_eq!(json[0]["column"], 1);
    assert_eq!((&json[0]["file"], &json[0]["severity"]), (&"x.toml".into(), &"error".into()));
    assert_eq!(json[0]["message"], "[daemon] has no field `wokrers`");
    assert_eq!(json[0]["advice"], "did you mean `workers`?");
    assert_eq!(json.as_array().unwrap().len(), 5);
}

#[test]
fn a_file_is_refused_for_what_it_is_before_it_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("sixty.toml");
    let message = || load(&path).unwrap_err().0[0].message.clone();
    assert_eq!(message(), "there is no config");
    fs::write(&path, "[log]\nlevel = \"caf\u{e9}\"\n".replace('\u{e9}', "?")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(message(), "others can change this file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"[log]\nlevel = \"caf\xe9\"\n").unwrap();
    let faults = load(&path).unwrap_err();
    let spot = faults.0[0].place.clone().unwrap();
    assert_eq!((faults.0[0].message.as_str(), spot.line, spot.column), ("this is not UTF-8", 2, 13));
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(message(), "this file is too large for a config");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(message(), "this is no regular file");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_of_rubbish_is_told_soon_and_shortly() {
    let rubbish = "a\n".repeat(1 << 17);
    assert_eq!(told("x", &rubbish).0.len(), 101);
    assert!(told("x", &"[".repeat(1 << 20)).to_string().len() < 10_000);
    assert!(told("x", &"a=[".repeat(1000)).0.len() <= 101);
}
