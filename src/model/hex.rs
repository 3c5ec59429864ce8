//! Sixteen lower-case hex digits of a number: ids are written several times a mint, and the formatter takes longer.

/// The digits.
pub(super) struct Hex([u8; 16]);

impl From<u64> for Hex {
    fn from(number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self(std::array::from_fn(|n| DIGITS[(number >> (60 - 4 * n) & 15) as usize]))
    }
}

impl Hex {
    /// The digits as text.
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("invariant: hex digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_of_the_formatter() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(Hex::from(number).as_str(), format!("{number:016x}"));
        }
    }
}
