//! Finds a secret in what a provider sends back, across the borders of pieces. It keeps no byte of the secret; of the stream
//! only how many bytes of the secret it now ends with, and what may be the beginning of a code of it.

use super::coded::{Coded, CodedGuard};
use memchr::memmem;
use zeroize::Zeroizing;

/// A search in one stream for one secret, which is lent anew for each piece.
#[derive(Debug, Default)]
pub struct EchoGuard {
    /// So many bytes of the secret are the stream's last ones.
    matched: usize,
    /// Bytes of the stream so far.
    passed: u64,
    /// None: the secret as it is, and nothing else.
    coded: Option<CodedGuard>,
}

/// What a piece showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// No secret so far. The last `hold` bytes of the stream are its beginning, or of a code of it: who holds them back
    /// until the next piece lets no part of it through, of a code no more than a few characters.
    None {
        /// Fewer than the secret has, or three times as many; 0 nearly always.
        hold: usize,
    },
    /// The secret, whole, or a code of it. Its first byte is at this offset of the stream, or is there already.
    At(u64),
}

impl EchoGuard {
    /// A search for its base64, hex and percent codes too.
    pub fn for_codes_too() -> Self {
        Self { coded: Some(CodedGuard::default()), ..Self::default() }
    }

    /// Searches the next piece. After [`Echo::At`] the stream is to be cut: the rest of the piece was not searched.
    /// Only the stream as the client will see it is searched; a compressed one must be unpacked first.
    pub fn search(&mut self, secret: &[u8], piece: &[u8]) -> Echo {
        if secret.is_empty() {
            return Echo::None { hold: 0 };
        }
        let begin = self.passed;
        let (plain, coded) =
            (self.as_it_is(secret, piece), self.coded.as_mut().map(|coded| coded.search(secret, piece)));
        match (plain, coded) {
            (Echo::None { hold }, Some(Coded::None(more))) => Echo::None { hold: hold.max(more) },
            (Echo::None { .. }, Some(Coded::At(at))) => Echo::At(begin + at as u64),
            (plain, _) => plain,
        }
    }

    fn as_it_is(&mut self, secret: &[u8], piece: &[u8]) -> Echo {
        let borders = borders(secret);
        // The secret was swapped for a shorter one meanwhile.
        self.matched = self.matched.min(secret.len() - 1);
        let begin = self.passed;
        self.passed += piece.len() as u64;
        let at_border = piece.len().min(secret.len() - 1);
        let found = match self.step(secret, &borders, &piece[..at_border]) {
            Some(end) => Some(begin + end as u64 - secret.len() as u64),
            None if at_border == piece.len() => None,
            // One that began in an earlier piece would have ended by now.
            None => match memmem::find(piece, secret) {
                Some(at) => Some(begin + at as u64),
                None => {
                    self.matched = 0;
                    self.step(secret, &borders, &piece[piece.len() - at_border..]);
                    None
                }
            },
        };
        match found {
            None => Echo::None { hold: self.matched },
            Some(at) => {
                self.matched = 0;
                Echo::At(at)
            }
        }
    }

    /// Takes the next bytes one by one, from what is matched so far. Gives the end of the secret in them.
    fn step(&mut self, secret: &[u8], borders: &[u16], bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            while self.matched > 0 && secret[self.matched] != *byte {
                self.matched = usize::from(borders[self.matched - 1]);
            }
            self.matched += usize::from(secret[self.matched] == *byte);
            if self.matched == secret.len() {
                return Some(at + 1);
            }
        }
        None
    }
}

/// Whether a header's value, or any other text that is there as a whole, has the secret in it.
pub fn echoes(secret: &[u8], text: &[u8]) -> bool {
    !secret.is_empty() && memmem::find(text, secret).is_some()
}

/// For each beginning of the secret, how long its longest end is that is a beginning too (Knuth, Morris, Pratt 1977).
fn borders(secret: &[u8]) -> Zeroizing<Vec<u16>> {
    let mut borders = Zeroizing::new(vec![0_u16; secret.len()]);
    let mut length = 0;
    for at in 1..secret.len().min(usize::from(u16::MAX)) {
        while length > 0 && secret[at] != secret[length] {
            length = usize::from(borders[length - 1]);
        }
        length += usize::from(secret[at] == secret[length]);
        borders[at] = u16::try_from(length).unwrap_or_default();
    }
    borders
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"sk-sk-sx-sk-sk-sy";

    /// Where it was found, and what went on with the held bytes kept back.
    fn run(secret: &[u8], stream: &[u8], size: usize) -> (Option<u64>, Vec<u8>) {
        let (mut guard, mut held, mut gone) = (EchoGuard::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            held.extend_from_slice(piece);
            match guard.search(secret, piece) {
                Echo::At(at) => return (Some(at), gone),
                Echo::None { hold } => gone.extend(held.drain(..held.len() - hold)),
            }
        }
        gone.append(&mut held);
        (None, gone)
    }

    proptest! {
        #[test]
        fn the_first_echo_is_found_however_it_is_cut(
            noise in prop::collection::vec(prop::sample::select(b"sk-xy".to_vec()), 0..60), put in any::<bool>(), size in 1_usize..70,
            at in any::<prop::sample::Index>(), secret in prop::collection::vec(prop::sample::select(b"sk-".to_vec()), 1..9),
        ) {
            let mut stream = noise;
            if put {
                let at = at.index(stream.len() + 1);
                stream.splice(at..at, secret.iter().copied());
            }
            let expected = stream.windows(secret.len()).position(|window| window == secret).map(|at| at as u64);
            let (found, gone) = run(&secret, &stream, size);
            prop_assert_eq!(found, expected);
            match found {
                None => prop_assert_eq!(gone, stream),
                // What was let through ends before the secret begins.
                Some(at) => prop_assert!(gone.len() as u64 <= at && stream.starts_with(&gone)),
            }
        }
    }

    #[test]
    fn a_secret_over_many_pieces_is_found_and_none_of_it_gets_through() {
        let stream = [b"before sk-sk-s ", SECRET, b" after"].concat();
        for size in 1..stream.len() {
            let (found, gone) = run(SECRET, &stream, size);
            assert_eq!(found, Some(15), "{size}");
            assert!(gone.len() <= 15);
        }
        assert_eq!(run(SECRET, b"sk-sk-sx-sk-sk-s", 3), (None, b"sk-sk-sx-sk-sk-s".to_vec()));
    }

    #[test]
    fn a_header_is_searched_as_a_whole() {
        assert!(echoes(SECRET, b"Bearer sk-sk-sx-sk-sk-sy") && !echoes(SECRET, b"Bearer sk-sk-sx-sk-sk-s"));
        assert!(!echoes(b"", b"anything") && !echoes(SECRET, b""));
    }

    #[test]
    fn a_secret_that_changes_meanwhile_is_no_fault() {
        let mut guard = EchoGuard::default();
        assert_eq!(guard.search(SECRET, b"sk-sk-sx-sk"), Echo::None { hold: 11 });
        assert_eq!(guard.search(b"sk-", b"x"), Echo::None { hold: 0 });
        assert_eq!(guard.search(b"", b"x"), Echo::None { hold: 0 });
    }

    #[test]
    fn a_guard_counts_on_after_what_it_found() {
        let mut guard = EchoGuard::default();
        assert_eq!(guard.search(b"key", b"a key"), Echo::At(2));
        assert_eq!(guard.search(b"key", b" key"), Echo::At(6));
    }
}
