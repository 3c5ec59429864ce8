//! The forms in which a secret can lie in memory: as it is, or encoded as programs encode.
//!
//! It must never leave a form unwiped: each is as good as the secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

use super::huffman;

/// How a copy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Byte for byte.
    Raw,
    /// Hexadecimal, small letters.
    Hex,
    /// Hexadecimal, capitals.
    HexCapitals,
    /// Base64 (RFC 4648 §4) of which the first so many bytes of the secret fall into an earlier group.
    Base64(u8),
    /// The same with the URL-safe letters (RFC 4648 §5).
    Base64Url(u8),
    /// Each byte followed by a zero; finds the big-endian kind as well, but for its ends.
    Utf16,
    /// Each byte as `%XX`.
    Percent,
    /// Each byte as `%xx`.
    PercentSmall,
    /// Last byte first.
    Reversed,
    /// Each byte with all its bits turned.
    Inverted,
    /// The Huffman code of HPACK (RFC 7541) of which the first so many bits fall into an earlier byte.
    Huffman(u8),
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => out.write_str("raw"),
            Self::Hex => out.write_str("hex"),
            Self::HexCapitals => out.write_str("HEX"),
            Self::Base64(skipped) => write!(out, "base64+{skipped}"),
            Self::Base64Url(skipped) => write!(out, "base64url+{skipped}"),
            Self::Utf16 => out.write_str("utf16"),
            Self::Percent => out.write_str("percent"),
            Self::PercentSmall => out.write_str("percent-small"),
            Self::Reversed => out.write_str("reversed"),
            Self::Inverted => out.write_str("inverted"),
            Self::Huffman(skipped) => write!(out, "huffman+{skipped}"),
        }
    }
}

/// Which forms to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forms {
    /// The bytes alone.
    Raw,
    /// Every [`Form`].
    #[default]
    All,
}

/// A written-out form; wiped when dropped.
pub(super) type Written = Zeroizing<Vec<u8>>;

/// The secret in each of these forms; one that equals an earlier one is left out.
pub(super) fn written(secret: &[u8], forms: Forms) -> Vec<(Form, Written)> {
    let mut all = vec![(Form::Raw, Zeroizing::new(secret.to_vec()))];
    if forms == Forms::Raw {
        return all;
    }
    let each = |write: &dyn Fn(u8) -> Vec<u8>| Zeroizing::new(secret.iter().flat_map(|&byte| write(byte)).collect());
    let mut rest = vec![
        (Form::Hex, each(&|byte| hex(byte, b"0123456789abcdef").to_vec())),
        (Form::HexCapitals, each(&|byte| hex(byte, b"0123456789ABCDEF").to_vec())),
        (Form::Utf16, each(&|byte| vec![byte, 0])),
        (Form::Percent, each(&|byte| percent(byte, b"0123456789ABCDEF"))),
        (Form::PercentSmall, each(&|byte| percent(byte, b"0123456789abcdef"))),
        (Form::Reversed, Zeroizing::new(secret.iter().rev().copied().collect())),
        (Form::Inverted, each(&|byte| vec![!byte])),
    ];
    for skipped in 0..3 {
        let part = &secret[usize::from(skipped).min(secret.len())..];
        let part = &part[..part.len() / 3 * 3];
        rest.push((Form::Base64(skipped), base64(part, &STANDARD)));
        rest.push((Form::Base64Url(skipped), base64(part, &URL_SAFE)));
    }
    rest.extend((0..8).map(|skipped| (Form::Huffman(skipped), huffman::code(secret, skipped))));
    for (form, text) in rest {
        if !all.iter().any(|(_, earlier)| *earlier == text) {
            all.push((form, text));
        }
    }
    all
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

fn percent(byte: u8, digits: &[u8; 16]) -> Vec<u8> {
    let [high, low] = hex(byte, digits);
    vec![b'%', high, low]
}

fn base64(part: &[u8], engine: &base64::engine::GeneralPurpose) -> Written {
    let mut text = Zeroizing::new(vec![0; part.len() / 3 * 4]);
    let length = engine.encode_slice(part, &mut text).expect("invariant: whole groups of three need no more");
    text.truncate(length);
    text
}
