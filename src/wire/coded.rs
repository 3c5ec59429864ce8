//! Finds a secret that is written in another way: in base64, wherever among other bytes it stood, in hex, or with percent
//! signs. It looks at every byte only where enough of them in a row could be a code; the codes of the secret are made
//! there, for the length of one search, and wiped.

use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use memchr::{memchr, memmem};
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// Bytes of a secret that is looked for. Chance writes the code of a shorter one too; of a longer one, every piece of a
/// stream could be made to cost a lot.
const LENGTHS: RangeInclusive<usize> = 16..=1024;
/// Fewer characters at the end of a piece are no beginning of a code that is worth to be held back.
const LEAST: usize = 8;
/// Bits of the secret before the first character of base64 that has bits of it alone: after none, one or two other bytes.
const SKIPPED: [usize; 3] = [0, 4, 2];

/// A search in one stream.
#[derive(Debug, Default)]
pub(super) struct CodedGuard {
    /// What the stream ends with, as far as that could be part of a code.
    tail: Zeroizing<Vec<u8>>,
}

/// What a piece showed.
pub(super) enum Coded {
    /// No code; so many of the stream's last bytes may be the beginning of one.
    None(usize),
    /// A code: of the piece so many bytes stand before it. Of one that began in an earlier piece it is none.
    At(usize),
}

impl CodedGuard {
    /// Searches the next piece.
    pub(super) fn search(&mut self, secret: &[u8], piece: &[u8]) -> Coded {
        if !LENGTHS.contains(&secret.len()) {
            return Coded::None(0);
        }
        // No code is shorter than the secret, and none has more than three characters for a byte.
        let (least, most) = (secret.len(), 3 * secret.len());
        let lead = piece.iter().take(most).take_while(|byte| may_code(**byte)).count();
        if !self.tail.is_empty() && self.tail.len() + lead >= least {
            let border = Zeroizing::new([&self.tail[..], &piece[..lead]].concat());
            if find(secret, &border).is_some() {
                return Coded::At(0);
            }
        }
        if let Some(at) = has_run(piece, least).then(|| find(secret, piece)).flatten() {
            return Coded::At(at);
        }
        self.keep(piece, most - 1);
        Coded::None(if self.tail.len() < LEAST { 0 } else { begun(secret, &self.tail) })
    }

    /// Keeps at most so many bytes of what the stream now ends with.
    fn keep(&mut self, piece: &[u8], most: usize) {
        let run = piece.iter().rev().take(most).take_while(|byte| may_code(**byte)).count();
        if run < piece.len() {
            self.tail.clear();
        }
        let old = self.tail.len().saturating_sub(most - run);
        self.tail.drain(..old);
        self.tail.extend_from_slice(&piece[piece.len() - run..]);
    }
}

/// Whether a byte stands in base64 of either alphabet, in hex, or in what is written with percent signs (RFC 3986, 2.3).
fn may_code(byte: u8) -> bool {
    const CODE: [bool; 256] = {
        let (mut code, mut at) = ([false; 256], 0);
        while at < 256 {
            let byte = at as u8;
            code[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'%' | b'.' | b'~');
            at += 1;
        }
        code
    };
    CODE[usize::from(byte)]
}

/// Whether there are so many bytes in a row that may be a code. Elsewhere it looks at one of so many.
fn has_run(text: &[u8], least: usize) -> bool {
    let mut at = least - 1;
    while let Some(byte) = text.get(at) {
        if !may_code(*byte) {
            at += least;
            continue;
        }
        let before = text[at + 1 - least..at].iter().rev().take_while(|byte| may_code(**byte)).count();
        let after = text[at..].iter().take(least).take_while(|byte| may_code(**byte)).count();
        if before + after >= least {
            return true;
        }
        at += after + least;
    }
    false
}

/// Where the first code of the secret is found, or the first percent sign before one.
fn find(secret: &[u8], text: &[u8]) -> Option<usize> {
    let percent = || memchr(b'%', text).filter(|_| memmem::find(&unescaped(text).0, secret).is_some());
    codes(secret).filter_map(|code| memmem::find(text, &code)).min().or_else(percent)
}

/// How much of a text's end is the beginning of a code, at least [`LEAST`] characters; else 0.
fn begun(secret: &[u8], tail: &[u8]) -> usize {
    let ends = || (LEAST..=tail.len()).rev();
    let code =
        codes(secret).flat_map(|code| ends().find(|length| code.starts_with(&tail[tail.len() - length..]))).max();
    let percent = memchr(b'%', tail).and_then(|_| {
        let (plain, places) = unescaped(tail);
        let from = (0..plain.len()).find(|from| secret.starts_with(&plain[*from..]))?;
        Some(tail.len() - places[from]).filter(|length| *length >= LEAST)
    });
    code.max(percent).unwrap_or(0)
}

/// The secret in base64 of both alphabets at every place, and in hex of both cases.
fn codes(secret: &[u8]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let base64 = SKIPPED.into_iter().flat_map(|skip| [&STANDARD, &URL_SAFE].map(|alphabet| (skip, alphabet)));
    let base64 = base64.map(move |(skip, alphabet)| in_base64(secret, skip, alphabet));
    base64.chain([b"0123456789abcdef", b"0123456789ABCDEF"].map(|digits| in_hex(secret, digits)))
}

/// All characters of base64 whose bits are the secret's alone, when so many of its first bits are left out.
fn in_base64(secret: &[u8], skip: usize, alphabet: &Alphabet) -> Zeroizing<Vec<u8>> {
    let letters = alphabet.as_str().as_bytes();
    let letter = |number: usize| {
        let at = skip + 6 * number;
        let two = [secret[at / 8], secret.get(at / 8 + 1).copied().unwrap_or_default()];
        letters[usize::from(u16::from_be_bytes(two) >> (10 - at % 8) & 63)]
    };
    Zeroizing::new((0..(8 * secret.len() - skip) / 6).map(letter).collect())
}

fn in_hex(secret: &[u8], digits: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let digit = |at: usize| digits[usize::from(secret[at / 2] >> (4 * (1 - at % 2)) & 15)];
    Zeroizing::new((0..2 * secret.len()).map(digit).collect())
}

/// A text with what is written with percent signs read, and where each byte of it was written; what is no whole one of them
/// at its end is left out.
fn unescaped(text: &[u8]) -> (Zeroizing<Vec<u8>>, Vec<usize>) {
    let (mut plain, mut places) = (Zeroizing::new(Vec::with_capacity(text.len())), Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(first) = text.get(at) {
        let digit = |after: usize| text.get(at + after).and_then(|byte| char::from(*byte).to_digit(16));
        let (byte, length) = match (first, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => ((16 * high + low) as u8, 3),
            (b'%', ..) if text.len() - at < 3 => break,
            (other, ..) => (*other, 1),
        };
        plain.push(byte);
        places.push(at);
        at += length;
    }
    (plain, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose as engines};
    use proptest::prelude::*;

    /// Every way to write it that is to be found.
    fn written(secret: &[u8], way: u8, before: &[u8], after: &[u8]) -> String {
        let among = [before, secret, after].concat();
        let hex = |case: fn(u8) -> String| secret.iter().map(|byte| case(*byte)).collect::<String>();
        match way {
            0 => engines::STANDARD.encode(among),
            1 => engines::URL_SAFE_NO_PAD.encode(among),
            2 => hex(|byte| format!("{byte:02x}")),
            3 => hex(|byte| format!("{byte:02X}")),
            4 => hex(|byte| format!("%{byte:02x}")),
            _ => {
                hex(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
            }
        }
    }

    /// What went on before it was found, with the held bytes kept back; all of it where nothing was.
    fn run(secret: &[u8], stream: &[u8], size: usize) -> (bool, Vec<u8>) {
        let (mut guard, mut held, mut gone) = (CodedGuard::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            held.extend_from_slice(piece);
            match guard.search(secret, piece) {
                Coded::At(_) => return (true, gone),
                Coded::None(hold) => gone.extend(held.drain(..held.len().saturating_sub(hold))),
            }
        }
        gone.append(&mut held);
        (false, gone)
    }

    proptest! {
        #[test]
        fn a_secret_in_another_writing_is_found_however_it_is_cut(
            secret in "sk-[a-zA-Z0-9/+_-]{16,40}[-:=]", way in 0_u8..6, size in 1_usize..200, quoted in any::<bool>(),
            before in prop::collection::vec(any::<u8>(), 0..9), after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let code = written(secret.as_bytes(), way, &before, &after);
            let quote = if quoted { "\"" } else { "" };
            let stream = format!("some words, and {quote}{code}{quote} behind them");
            let (found, gone) = run(secret.as_bytes(), stream.as_bytes(), size);
            prop_assert!(found, "{stream}");
            // What comes before the secret's own bits is nobody's; of what follows less is let through than is held.
            let most = "some words, and \"".len() + (before.len() + 2).div_ceil(3) * 4 + LEAST;
            prop_assert!(gone.len() <= most, "{} of {stream:?}", String::from_utf8_lossy(&gone));
        }

        #[test]
        fn what_is_no_code_of_it_passes_whole(
            stream in "[a-zA-Z0-9+/_%. \n-]{0,400}", size in 1_usize..99, secret in "sk-[a-z0-9]{20}",
        ) {
            prop_assert_eq!(run(secret.as_bytes(), stream.as_bytes(), size), (false, stream.into_bytes()));
        }

        #[test]
        fn a_run_is_seen_wherever_it_stands(words in prop::collection::vec("[a-zA-Z0-9%]{0,30}", 0..9), least in 16_usize..40) {
            let text = words.join(" ");
            let expected = words.iter().any(|word| word.len() >= least);
            prop_assert_eq!(has_run(text.as_bytes(), least), expected, "{}", text);
        }
    }

    #[test]
    fn what_chance_writes_too_is_not_looked_for_nor_what_costs_too_much() {
        assert!(!run(b"sk-short", b"736b2d73686f7274", 99).0);
        let coded = |length| written(&vec![b'k'; length], 0, b"", b"");
        assert!(
            run(&[b'k'; 1024], coded(1024).as_bytes(), 9999).0 && !run(&[b'k'; 1025], coded(1025).as_bytes(), 9999).0
        );
    }
}
