//! Random bytes that are no secrets, such as ids and placeholders: fetched from the kernel many at a time.
//! It must never be asked for a key or a token: bytes lie here before they are used, and after.

use std::cell::RefCell;

/// How many bytes are fetched at a time: a system call costs more than the bytes do.
const STORE: usize = 1024;

thread_local! {
    /// Bytes of the kernel's, and how many of them are used.
    static STORED: RefCell<([u8; STORE], usize)> = const { RefCell::new(([0; STORE], STORE)) };
}

/// Fills `place`.
///
/// # Errors
/// The kernel gives none: getrandom(2).
pub fn fill(place: &mut [u8]) -> Result<(), getrandom::Error> {
    STORED.with_borrow_mut(|(bytes, used)| {
        if place.len() > STORE {
            return getrandom::fill(place);
        }
        if place.len() > STORE - *used {
            getrandom::fill(bytes)?;
            *used = 0;
        }
        place.copy_from_slice(&bytes[*used..*used + place.len()]);
        *used += place.len();
        Ok(())
    })
}

/// A random number.
///
/// # Errors
/// As [`fill`].
pub fn number() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice() {
        let mut numbers: Vec<u64> = (0..10_000).map(|_| number().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn every_length_is_filled() {
        for length in [1, 55, STORE - 1, STORE, STORE + 1] {
            let mut sum = vec![0_u8; length];
            for _ in 0..16 {
                let mut bytes = vec![0; length];
                fill(&mut bytes).unwrap();
                sum.iter_mut().zip(&bytes).for_each(|(sum, byte)| *sum |= byte);
            }
            assert!(sum.iter().all(|byte| *byte != 0), "a byte of {length} was zero sixteen times");
        }
    }
}
