//! The Huffman code of HPACK for printable ASCII: how HTTP/2 writes a header's value.
//!
//! It must never decode: it only says what a coded secret would look like.

use zeroize::Zeroizing;

use super::form::Written;

/// Code and its length in bits for each byte from 32 to 126 (RFC 7541 appendix B).
const CODES: [(u32, u8); 95] = [
    (0x14, 6),
    (0x3f8, 10),
    (0x3f9, 10),
    (0xffa, 12),
    (0x1ff9, 13),
    (0x15, 6),
    (0xf8, 8),
    (0x7fa, 11),
    (0x3fa, 10),
    (0x3fb, 10),
    (0xf9, 8),
    (0x7fb, 11),
    (0xfa, 8),
    (0x16, 6),
    (0x17, 6),
    (0x18, 6),
    (0x0, 5),
    (0x1, 5),
    (0x2, 5),
    (0x19, 6),
    (0x1a, 6),
    (0x1b, 6),
    (0x1c, 6),
    (0x1d, 6),
    (0x1e, 6),
    (0x1f, 6),
    (0x5c, 7),
    (0xfb, 8),
    (0x7ffc, 15),
    (0x20, 6),
    (0xffb, 12),
    (0x3fc, 10),
    (0x1ffa, 13),
    (0x21, 6),
    (0x5d, 7),
    (0x5e, 7),
    (0x5f, 7),
    (0x60, 7),
    (0x61, 7),
    (0x62, 7),
    (0x63, 7),
    (0x64, 7),
    (0x65, 7),
    (0x66, 7),
    (0x67, 7),
    (0x68, 7),
    (0x69, 7),
    (0x6a, 7),
    (0x6b, 7),
    (0x6c, 7),
    (0x6d, 7),
    (0x6e, 7),
    (0x6f, 7),
    (0x70, 7),
    (0x71, 7),
    (0x72, 7),
    (0xfc, 8),
    (0x73, 7),
    (0xfd, 8),
    (0x1ffb, 13),
    (0x7fff0, 19),
    (0x1ffc, 13),
    (0x3ffc, 14),
    (0x22, 6),
    (0x7ffd, 15),
    (0x3, 5),
    (0x23, 6),
    (0x4, 5),
    (0x24, 6),
    (0x5, 5),
    (0x25, 6),
    (0x26, 6),
    (0x27, 6),
    (0x6, 5),
    (0x74, 7),
    (0x75, 7),
    (0x28, 6),
    (0x29, 6),
    (0x2a, 6),
    (0x7, 5),
    (0x2b, 6),
    (0x76, 7),
    (0x2c, 6),
    (0x8, 5),
    (0x9, 5),
    (0x2d, 6),
    (0x77, 7),
    (0x78, 7),
    (0x79, 7),
    (0x7a, 7),
    (0x7b, 7),
    (0x7ffe, 15),
    (0x7fc, 11),
    (0x3ffd, 14),
    (0x1ffd, 13),
];

/// The whole bytes of the code of `secret` without its first `skipped` bits; empty when a byte is not printable ASCII.
pub(super) fn code(secret: &[u8], skipped: u8) -> Written {
    let mut bytes = Zeroizing::new(Vec::with_capacity(secret.len() * 4));
    let (mut bits, mut count, mut skip) = (0_u64, 0_u8, skipped);
    for &byte in secret {
        let Some(&(code, length)) = byte.checked_sub(32).and_then(|place| CODES.get(usize::from(place))) else {
            bytes.clear();
            return bytes;
        };
        let dropped = skip.min(length);
        skip -= dropped;
        let kept = length - dropped;
        bits = (bits << kept) | (u64::from(code) & ((1 << kept) - 1));
        count += kept;
        while count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_the_rfc() {
        // RFC 7541 §C.4.1; the last byte of the example is padding.
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4];
        assert_eq!(*code(b"www.example.com", 0), example);
    }

    #[test]
    fn a_shifted_code_is_the_same_bits_begun_later() {
        let number = |bytes: &[u8]| bytes.iter().take(8).fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let (whole, shifted) = (code(b"www.example.com", 0), code(b"www.example.com", 3));
        assert_eq!(number(&shifted) >> 3, number(&whole) << 3 >> 3);
    }
}
