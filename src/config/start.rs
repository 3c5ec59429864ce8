//! The config that `sixty init` writes. It never gives a key to anybody but the user who asked for it.

use super::paths::{Mode, Paths};

/// The text for a new config: a rule for this user; for the machine none, since its "self" is nobody's user.
pub fn default_text(mode: Mode, paths: &Paths) -> String {
    let unlock = quoted(&format!("file:{}", paths.vault_key.display()));
    let head = "# Written by `sixty init`. What is left out has its default: see `sixty manual`.\n";
    let vault = format!("\n[vault]\nunlock = {unlock}   # or \"passphrase\", typed into `sixty unlock`\n");
    let rule = match mode {
        Mode::User => RULE.to_owned(),
        Mode::System => format!("\n# No rule, no key: name who may have what.\n{}", commented(RULE)),
    };
    format!("{head}{vault}{rule}")
}

const RULE: &str = r#"
[[rule]]
name  = "my apps"
peer  = { uid = "self" }              # every program of this user; narrow it by exe, unit or exe_sha256
keys  = ["**"]                        # every key
kinds = ["upstream", "virtual"]       # the first is given to whom does not say
ttl   = { default = "60s", max = "60s" }
rate  = "60/min"
"#;

fn commented(text: &str) -> String {
    text.trim_start().lines().map(|line| format!("# {line}\n")).collect()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let letter = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        _ if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Bases, Context, Unlock, parse},
        model::Kind,
        policy::Condition,
        recipe::Recipe,
    };

    fn context() -> Context {
        Context { uid: 7, gid: 7, pid_ns: None, user: |_| None, group: |_| None, recipes: Recipe::shipped().unwrap() }
    }

    #[test]
    fn what_init_writes_is_read_without_a_word_even_from_an_odd_home() {
        let bases = Bases { config: "/c".into(), state: "/h/a \"b\\\n".into(), runtime: None };
        let paths = Paths::user(&bases, |_| None);
        let config = parse("sixty.toml", &default_text(Mode::User, &paths), &context()).unwrap();
        assert_eq!(config.warnings.to_string(), "");
        assert_eq!(config.vault.unlock, Unlock::File(paths.vault_key));
        assert_eq!(config.rules.0[0].peer, [Condition::Uid(7)]);
        assert_eq!(config.rules.0[0].kinds, [Kind::Upstream, Kind::Virtual]);
    }

    #[test]
    fn the_machines_first_config_gives_nobody_a_key() {
        let text = default_text(Mode::System, &Paths::system(|_| None));
        let config = parse("sixty.toml", &text, &context()).unwrap();
        assert!(config.rules.0.is_empty() && config.warnings.0.len() == 1);
    }
}
