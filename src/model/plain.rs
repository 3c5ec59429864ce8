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

/// Controls, and what Unicode has for turning text around, ending lines and joining letters unseen.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
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
    }
}
