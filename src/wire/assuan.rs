//! What is said to a pinentry, and what it answers: the Assuan protocol ("Client requests" and "Server responses" of its
//! manual), all of a conversation at once. It must never take for a yes what was not asked for in full.

/// A question for a person.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is asked. More than [`DESCRIPTION`] bytes, as [`escaped`], are not shown at all.
    pub text: &'a str,
    /// The terminal that a pinentry without a window takes, and its type.
    pub terminal: Option<(&'a str, &'a str)>,
    /// Seconds until the window closes by itself.
    pub seconds: u64,
}

/// Bytes of a description: a line has 1000 with its command.
pub const DESCRIPTION: usize = 980;

/// The whole conversation; and which of the replies tell that the question was shown, and that it was answered with yes.
pub fn conversation(question: &Question<'_>) -> (String, [usize; 2]) {
    let mut lines = Vec::new();
    if let Some((name, kind)) = question.terminal {
        lines.extend([format!("OPTION ttyname={}", escaped(name)), format!("OPTION ttytype={}", escaped(kind))]);
    }
    lines.extend([format!("SETTIMEOUT {}", question.seconds), "SETTITLE sixty".into()]);
    lines.extend(["SETOK Allow".into(), "SETCANCEL Deny".into()]);
    // The greeting is a reply, too.
    let shown = lines.len() + 1;
    lines.extend([format!("SETDESC {}", escaped(question.text)), "CONFIRM".into(), "BYE".into()]);
    (lines.join("\n") + "\n", [shown, shown + 1])
}

/// Whether all of these replies are there and say OK; none where one of them is missing.
pub fn all_ok(said: &[u8], replies: [usize; 2]) -> Option<bool> {
    let all: Vec<bool> = said.split(|byte| *byte == b'\n').filter_map(reply).collect();
    let [shown, answered] = replies.map(|number| all.get(number).copied());
    Some(shown? && answered?)
}

/// Whether the window closed by itself, since nobody answered: GPG_ERR_TIMEOUT, whichever part of GnuPG says so.
pub fn nobody_answered(said: &[u8]) -> bool {
    const TIMEOUT: u32 = 62;
    const CODE: u32 = 0xffff;
    let code = |line: &str| line.strip_prefix("ERR ")?.split(' ').next()?.parse::<u32>().ok();
    said.split(|byte| *byte == b'\n')
        .filter_map(|line| code(str::from_utf8(line).ok()?))
        .any(|code| code & CODE == TIMEOUT)
}

/// Whether a line is a reply, and OK. All else (data, status, comments, half a line) is none.
fn reply(line: &[u8]) -> Option<bool> {
    let word = line.split(|byte| *byte == b' ').next();
    match word {
        Some(b"OK") => Some(true),
        Some(b"ERR") => Some(false),
        _ => None,
    }
}

/// A parameter of a command. What ends a line, and the sign of the escape itself, must be escaped; controls are, too.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '%' | '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("%{:02X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_command_of_its_own() {
        let text = "100%\nCONFIRM\r\nSETDESC harmless";
        let question = Question { text, terminal: Some(("/dev/pts/1\nBYE", "xterm")), seconds: 9 };
        let (said, replies) = conversation(&question);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], "OPTION ttyname=/dev/pts/1%0ABYE");
        assert_eq!(lines[6], "SETDESC 100%25%0ACONFIRM%0D%0ASETDESC harmless");
        assert_eq!(lines.iter().filter(|line| line.starts_with("CONFIRM")).count(), 1);
        assert_eq!(replies, [7, 8], "behind the greeting, one for each line");
    }

    #[test]
    fn only_a_question_that_was_shown_and_confirmed_is_a_yes() {
        let (shown, answered) = (1, 2);
        let told = |said: &str| all_ok(said.as_bytes(), [shown, answered]);
        assert_eq!(told("OK Pleased to meet you\nOK\nOK\nOK\n"), Some(true));
        assert_eq!(told("OK Pleased\nS BUTTON_INFO close\n# OK\nD OK\nOK\nERR 83886179 canceled\nOK\n"), Some(false));
        assert_eq!(told("OK Pleased\nERR 1 too long\nOK\nOK\n"), Some(false), "what was not shown was not approved");
        assert!(nobody_answered(b"OK Pleased\nOK\nERR 83886142 Timeout <Pinentry>\nOK\n"));
        assert!(!nobody_answered(b"OK Pleased\nOK\nERR 83886179 canceled\nOK 62\n"));
        for cut in ["", "OK Pleased\nOK\n", "OK\nOK\nOKAY\n"] {
            assert_eq!(told(cut), None, "{cut}");
        }
    }
}
