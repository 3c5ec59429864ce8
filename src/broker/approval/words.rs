//! A question in the words that a program shows a person. What the asking process chose itself is quoted, made harmless and
//! cut: no part of it may push another out of sight, nor read like ours.

use super::Waiting;
use crate::{
    attest::{Kin, Portrait},
    model::{cut, plain},
};

/// Bytes of one value.
const VALUE: usize = 96;
/// Bytes of what a yes gives, in all.
const GIVES: usize = 220;
/// Generations above the process.
const ABOVE: usize = 2;

/// The question, of at most `most` bytes.
pub(super) fn words(waiting: &Waiting, most: usize) -> String {
    let Waiting { key, rule, remembered, asks, caller, .. } = waiting;
    let until = if *remembered { "until it ends" } else { "this once" };
    let gives: Vec<_> = asks.iter().map(|given| format!("{} {}", given.what, shown(&given.how))).collect();
    let mut lines = vec![
        format!("Let this process have {key}, {until}?"),
        String::new(),
        line("it runs", &caller.processes.first().map(program).unwrap_or_default()),
    ];
    lines.extend(facts(caller));
    lines.push(line("by rule", &shown(rule)));
    lines.push(line("it gets", &cut(&gives.join("; "), GIVES)));
    whole(&lines, most)
}

fn facts(caller: &Portrait) -> Vec<String> {
    let Portrait { uid, unit, directory, exe_sha256, processes, .. } = caller;
    let above = processes.iter().skip(1).take(ABOVE).map(|kin| line("started by", &program(kin)));
    let fact = |name, value: &Option<String>| value.as_ref().map(|value| line(name, &shown(value)));
    let command = processes.first().and_then(|kin| kin.command.as_ref());
    let all = [
        command.map(|command| line("as", &format!("\"{}\"", shown(command)))),
        Some(line("sha256", exe_sha256.as_deref().unwrap_or("not known"))),
        Some(line("user", &uid.to_string())),
        fact("in", directory),
        fact("unit", unit),
    ];
    all.into_iter().flatten().chain(above).collect()
}

fn program(kin: &Kin) -> String {
    let name = kin.name.as_deref().unwrap_or("?");
    let exe = kin.exe.as_deref().map_or_else(|| format!("a program at no path here, called {}", shown(name)), shown);
    format!("{exe} ({})", kin.pid)
}

fn line(name: &str, value: &str) -> String {
    format!("{name}: {value}")
}

/// Text of others. Some dialogs take `<` and `&` for markup.
fn shown(text: &str) -> String {
    let close: Vec<_> = text.split_whitespace().collect();
    let marked = |text: String, sign: char| text.replace(sign, &sign.escape_unicode().to_string());
    cut(&['<', '>', '&'].into_iter().fold(plain(&close.join(" ")), marked), VALUE)
}

/// As many lines as there is room for; that some are missing is said.
fn whole(lines: &[String], most: usize) -> String {
    const MORE: &str = "… (`sixty approve` shows all)";
    let mut text = String::new();
    for line in lines {
        // A line's end may take three bytes where it is escaped.
        if text.len() + 2 * text.matches('\n').count() + line.len() + 3 + MORE.len() > most {
            return text + MORE;
        }
        text += line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ApprovalId, policy::Given, wire::assuan};

    fn kin(text: &str) -> Kin {
        Kin { pid: u32::MAX, uid: Some(0), exe: Some(text.into()), name: Some(text.into()), command: Some(text.into()) }
    }

    fn waiting(text: &str) -> Waiting {
        Waiting {
            id: ApprovalId(1),
            key: "dashscope/main".parse().unwrap(),
            rule: "mine".into(),
            remembered: true,
            callers: 1,
            expires_in: 9,
            asks: vec![Given { what: "scope.paths", how: text.into() }; 9],
            caller: Portrait {
                uid: 7,
                unit: Some(text.into()),
                directory: Some(text.into()),
                exe_sha256: Some("a".repeat(64)),
                processes: vec![kin(text); 9],
                beside: Vec::new(),
            },
        }
    }

    #[test]
    fn no_text_of_the_process_pushes_ours_out_of_sight_or_reads_like_it() {
        for hostile in ["\n\nkey: other\n", "\u{1b}[2J<b>x</b>&amp;\u{202e}", "%0ACONFIRM", "x", &"é".repeat(900)] {
            let text = words(&waiting(hostile), assuan::DESCRIPTION);
            assert!(assuan::escaped(&text).len() <= assuan::DESCRIPTION, "{}: {text}", text.len());
            assert!(text.starts_with("Let this process have dashscope/main, until it ends?\n\nit runs: "), "{text}");
            assert!(text.contains("\nsha256: aaaa") && text.contains("\nuser: 7\n"), "{text}");
            assert!(!text.contains(['<', '>', '&', '\u{1b}', '\u{202e}']), "{text}");
            assert!(!text.lines().any(|line| line.starts_with("key:")), "{text}");
        }
    }

    #[test]
    fn what_is_cut_keeps_its_ends() {
        assert_eq!(cut("/very/long/path/to/a/program", 16), "/very/…rogram");
        assert_eq!(shown(&"é".repeat(90)).chars().filter(|letter| *letter == '…').count(), 1);
    }
}
