//! Virtual keys: `sixty_`, base62 of 256 random bits, and six digits of CRC-32, so that scanners find them and a typo
//! is told from a forgery; and tickets, which are alike but for `sixty_ticket_`. No more than the SHA-256 of one is
//! ever kept, and what `narrow` says.

use crate::{secret::Secret, sys::scrub};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(super) const PREFIX: &[u8] = b"sixty_";
const TICKET: &[u8] = b"sixty_ticket_";
const RANDOM: usize = 43;
const CHECK: usize = 6;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A virtual key.
    Key,
    /// A ticket, which is redeemed for one.
    Ticket,
}

impl Form {
    fn prefix(self) -> &'static [u8] {
        match self {
            Form::Key => PREFIX,
            Form::Ticket => TICKET,
        }
    }
}

/// What some text is, before anybody looks whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A virtual key whose check digits are right.
    Ours,
    /// A key that was derived from a virtual key: see `narrow`.
    Narrowed,
    /// A ticket, which must be redeemed first.
    Ticket,
    /// Begins like one, but was mistyped or cut.
    Damaged,
    /// Something else.
    Foreign,
}

/// A new key or ticket, and its digest.
pub fn generate(form: Form) -> Result<(Secret, [u8; 32]), getrandom::Error> {
    let mut text = Zeroizing::new(Vec::with_capacity(form.prefix().len() + RANDOM + CHECK));
    let digest = scrub::apart(|| {
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *random)?;
        text.extend_from_slice(form.prefix());
        let mut number = Zeroizing::new(limbs(&random));
        digits(&mut *number, RANDOM, &mut text);
        check(&mut text);
        Ok(Sha256::digest(&text[..]).into())
    })?;
    Ok((Secret::copied(&text), digest))
}

/// By what a key or a ticket is known again.
pub fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Tells a virtual key from a ticket, a damaged one and other text.
pub fn shape(text: &[u8]) -> Shape {
    let (form, shape) = match text {
        _ if text.starts_with(TICKET) => (Form::Ticket, Shape::Ticket),
        _ if text.starts_with(PREFIX) => (Form::Key, Shape::Ours),
        _ => return Shape::Foreign,
    };
    let length = form.prefix().len() + RANDOM + CHECK;
    let shape = match form {
        _ if text.len() == length => shape,
        // Longer by far: a mark, a step and a hash in hex.
        Form::Key if text.len() > 2 * length => Shape::Narrowed,
        Form::Key | Form::Ticket => return Shape::Damaged,
    };
    let Some((body, told)) = text.split_at_checked(text.len() - CHECK) else { return Shape::Damaged };
    let mut wanted = Vec::with_capacity(CHECK);
    digits(&mut [crc32fast::hash(body)], CHECK, &mut wanted);
    if wanted == told { shape } else { Shape::Damaged }
}

/// Puts the check digits behind a text.
pub(super) fn check(text: &mut Vec<u8>) {
    let check = crc32fast::hash(text);
    digits(&mut [check], CHECK, text);
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
        let (key, digest) = generate(Form::Key).unwrap();
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
        let (ticket, digest) = generate(Form::Ticket).unwrap();
        ticket.expose(|text| {
            assert_eq!((text.len(), shape(text)), (62, Shape::Ticket));
            assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(text)));
            assert_eq!(shape(&text[..61]), Shape::Damaged);
            // Nobody makes a key of a ticket by cutting it, nor a ticket of a key.
            assert_eq!(shape(&[PREFIX, &text[TICKET.len()..]].concat()), Shape::Damaged);
        });
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
