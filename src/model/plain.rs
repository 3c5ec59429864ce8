//! Text from elsewhere made harmless for people's eyes. It must never let a letter through that steers a terminal, ends a
//! line, turns text around or cannot be seen.

/// The text with such letters written out as `\u{..}`.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) { out.extend(letter.escape_unicode()) } else { out.push(letter) }
    }
    out
}

/// Text of at most so many bytes, four at least. The middle is left out: of a path its beginning and its end tell most.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = most.saturating_sub('…'.len_utf8()) / 2;
    let (first, last) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    format!("{}…{}", &text[..first], &text[last..])
}

/// Controls, and what Unicode has for turning text around, ending lines and joining letters unseen: all that is
/// `Default_Ignorable_Code_Point` in its DerivedCoreProperties.txt, and the few that are blank or invisible beside.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_called_escape_sequence_does_not_clear_the_screen() {
        assert_eq!(plain("/tmp/\u{1b}[2J\u{9b}x\u{202e}"), "/tmp/\\u{1b}[2J\\u{9b}x\\u{202e}");
        assert_eq!(plain("a\u{2028}b\u{200b}\n"), "a\\u{2028}b\\u{200b}\\u{a}");
        assert_eq!(plain("büro 东京"), "büro 东京");
        for unseen in ['\u{61c}', '\u{3164}', '\u{2800}', '\u{fe0f}', '\u{e0041}'] {
            assert_eq!(plain(&format!("a{unseen}b")), format!("a{}b", unseen.escape_unicode()));
        }
    }
    #[test]
    fn no_text_outgrows_its_bound_or_loses_its_ends() {
        assert_eq!((cut("ää", 4), cut("aäb", 3)), ("ää".into(), "…".into()));
        for most in 4..40 {
            assert!(cut(&"äb".repeat(40), most).len() <= most, "{most}");
        }
        let path = cut(&format!("/home/{}/agent", "x/".repeat(99)), 40);
        assert!(path.starts_with("/home/") && path.ends_with("/agent"), "{path}");
    }
}
