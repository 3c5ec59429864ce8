//! Virtual keys: `sixty_`, base62 of 256 random bits, and six digits of CRC-32, so that scanners find them and a typo
//! is told from a forgery. Only the SHA-256 of one is ever kept.

use crate::{secret::Secret, sys::scrub};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const PREFIX: &[u8] = b"sixty_";
const RANDOM: usize = 43;
const CHECK: usize = 6;
/// Bytes of a virtual key.
const LENGTH: usize = PREFIX.len() + RANDOM + CHECK;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What some text is, before anybody looks whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A virtual key whose check digits are right.
    Ours,
    /// Begins like one, but was mistyped or cut.
    Damaged,
    /// Something else.
    Foreign,
}

/// A new key and its digest.
pub fn generate() -> Result<(Secret, [u8; 32]), getrandom::Error> {
    let mut text = Zeroizing::new(Vec::with_capacity(LENGTH));
    let digest = scrub::apart(|| {
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *random)?;
        text.extend_from_slice(PREFIX);
        let mut number = Zeroizing::new(limbs(&random));
        digits(&mut *number, RANDOM, &mut text);
        let check = crc32fast::hash(&text);
        digits(&mut [check], CHECK, &mut text);
        Ok(Sha256::digest(&text[..]).into())
    })?;
    Ok((Secret::copied(&text), digest))
}

/// Tells a virtual key from a damaged one and from other text.
pub fn shape(text: &[u8]) -> Shape {
    if !text.starts_with(PREFIX) {
        return Shape::Foreign;
    }
    let Some((body, check)) = text.split_at_checked(LENGTH - CHECK).filter(|_| text.len() == LENGTH) else {
        return Shape::Damaged;
    };
    let mut wanted = Vec::with_capacity(CHECK);
    digits(&mut [crc32fast::hash(body)], CHECK, &mut wanted);
    if wanted == check { Shape::Ours } else { Shape::Damaged }
}

/// A big-endian number in 32-bit parts, the greatest first.
fn limbs(bytes: &[u8; 32]) -> [u32; 8] {
    std::array::from_fn(|n| bytes[4 * n..4 * n + 4].iter().fold(0, |limb, byte| limb << 8 | u32::from(*byte)))
}

/// Writes a number as so many base62 digits, least first; the number is zero afterwards.
fn digits(number: &mut [u32], count: usize, text: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 {
        // Five digits a pass: the greatest power of 62 that a limb's division can take.
        let mut rest = 0_u64;
        for limb in number.iter_mut() {
            let part = rest << 32 | u64::from(*limb);
            *limb = (part / FIVE_DIGITS) as u32;
            rest = part % FIVE_DIGITS;
        }
        for _ in 0..left.min(5) {
            text.push(LETTERS[(rest % 62) as usize]);
            rest /= 62;
        }
        left -= left.min(5);
    }
}

const FIVE_DIGITS: u64 = 62_u64.pow(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_check_digits_and_a_typo_is_told() {
        let (key, digest) = generate().unwrap();
        key.expose(|text| {
            assert_eq!((text.len(), shape(text)), (55, Shape::Ours));
            assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(text)));
            for at in 6..text.len() {
                let mut typo = text.to_vec();
                typo[at] = if typo[at] == b'7' { b'8' } else { b'7' };
                assert_eq!(shape(&typo), Shape::Damaged);
            }
            assert_eq!(shape(&text[..54]), Shape::Damaged);
        });
        assert_eq!(shape(b"sk-123"), Shape::Foreign);
    }

    #[test]
    fn all_256_bits_are_kept() {
        let mut text = Vec::new();
        digits(&mut limbs(&[255; 32]), RANDOM, &mut text);
        let back = text.iter().rev().fold(vec![0_u8; 33], |mut number, letter| {
            let mut carry = LETTERS.iter().position(|l| l == letter).unwrap() as u32;
            for byte in number.iter_mut().rev() {
                let part = u32::from(*byte) * 62 + carry;
                (*byte, carry) = (part as u8, part >> 8);
            }
            number
        });
        assert_eq!((back[0], &back[1..]), (0, &[255_u8; 32][..]));
    }
}
