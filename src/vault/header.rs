//! The first 84 bytes of a vault file: what must be known before it can be opened, and nothing that is secret.
//! It must never let a file ask for more memory or time than the bounds of [`Cost`].

/// Bytes of a header; the sealed part follows.
pub(super) const LEN: usize = 84;
/// Bytes of a salt.
pub(super) const SALT: usize = 16;
const MAGIC: [u8; 8] = *b"SIXTYVLT";
const VERSION: u8 = 1;

/// What a passphrase's guesser has to spend on each guess: Argon2id's three numbers, RFC 9106.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB: 8 for each lane up to [`Cost::MAX_MEMORY_KIB`].
    pub memory_kib: u32,
    /// Passes over the memory: 1 to [`Cost::MAX_PASSES`].
    pub passes: u32,
    /// Lanes: 1 to [`Cost::MAX_LANES`].
    pub lanes: u32,
}

impl Cost {
    /// 1 GiB.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// Passes a file may ask for.
    pub const MAX_PASSES: u32 = 16;
    /// Lanes a file may ask for.
    pub const MAX_LANES: u32 = 4;

    pub(super) fn within_bounds(self) -> bool {
        (1..=Self::MAX_PASSES).contains(&self.passes)
            && (1..=Self::MAX_LANES).contains(&self.lanes)
            && (8 * self.lanes..=Self::MAX_MEMORY_KIB).contains(&self.memory_kib)
    }
}

impl Default for Cost {
    /// 64 MiB, three passes, one lane: RFC 9106's second choice, with one lane because one core works on it.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// How the vault's key comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kdf {
    /// From a passphrase.
    Argon2id(Cost),
    /// From a file of random bytes: HKDF-SHA-256, RFC 5869.
    Hkdf,
}

/// Why a file can't be a vault that this version opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Other bytes at the start.
    #[error("this is not a vault file")]
    Foreign,
    /// A format of tomorrow.
    #[error("the vault has format {0}, this program reads format 1; use the newer program that wrote it")]
    Version(u8),
    /// Cut short, or the header's check sum is wrong.
    #[error("the vault's header is damaged; restore the file from a backup")]
    Damaged,
    /// More work than any vault of ours asks for.
    #[error("the vault asks for more memory or passes than allowed; it was not written by this program")]
    Cost,
}

/// A header, read and within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kdf: Kdf,
    pub(super) salt: [u8; SALT],
    /// Tells a wrong passphrase from damage.
    pub(super) check: [u8; 16],
    /// New with every write.
    pub(super) nonce: [u8; 24],
}

impl Header {
    /// Reads the header at the start of `file`.
    pub(super) fn read(file: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; LEN] = file.first_chunk().ok_or(HeaderError::Damaged)?;
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Foreign);
        }
        if bytes[8] != VERSION {
            return Err(HeaderError::Version(bytes[8]));
        }
        if crc32fast::hash(&bytes[..80]).to_le_bytes() != bytes[80..] || bytes[10..12] != [0, 0] {
            return Err(HeaderError::Damaged);
        }
        let number = |at| u32::from_le_bytes(array(bytes, at));
        let cost = Cost { memory_kib: number(12), passes: number(16), lanes: number(20) };
        let kdf = match bytes[9] {
            1 if cost.within_bounds() => Kdf::Argon2id(cost),
            1 => return Err(HeaderError::Cost),
            2 if bytes[12..24] == [0; 12] => Kdf::Hkdf,
            _ => return Err(HeaderError::Damaged),
        };
        Ok(Self { kdf, salt: array(bytes, 24), check: array(bytes, 40), nonce: array(bytes, 56) })
    }

    /// The header as it stands in the file; also the associated data of the seal.
    pub(super) fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = VERSION;
        match self.kdf {
            Kdf::Argon2id(cost) => {
                bytes[9] = 1;
                bytes[12..16].copy_from_slice(&cost.memory_kib.to_le_bytes());
                bytes[16..20].copy_from_slice(&cost.passes.to_le_bytes());
                bytes[20..24].copy_from_slice(&cost.lanes.to_le_bytes());
            }
            Kdf::Hkdf => bytes[9] = 2,
        }
        bytes[24..40].copy_from_slice(&self.salt);
        bytes[40..56].copy_from_slice(&self.check);
        bytes[56..80].copy_from_slice(&self.nonce);
        let sum = crc32fast::hash(&bytes[..80]);
        bytes[80..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

fn array<const N: usize>(bytes: &[u8; LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kdf: Kdf) -> Header {
        Header { kdf, salt: [1; SALT], check: [2; 16], nonce: [3; 24] }
    }

    fn summed(mut bytes: [u8; LEN]) -> [u8; LEN] {
        let sum = crc32fast::hash(&bytes[..80]);
        bytes[80..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_reads_back_as_written() {
        for kdf in [Kdf::Hkdf, Kdf::Argon2id(Cost::default())] {
            assert_eq!(Header::read(&header(kdf).bytes()), Ok(header(kdf)));
        }
    }

    #[test]
    fn a_hostile_file_cant_ask_for_a_tebibyte_or_a_year() {
        let bounds = [(12, u32::MAX), (12, 1 << 30), (12, Cost::MAX_MEMORY_KIB + 1), (12, 7), (12, 0)];
        for (at, number) in bounds.into_iter().chain([(16, 17), (16, 0), (16, u32::MAX), (20, 5), (20, 0)]) {
            let mut bytes = header(Kdf::Argon2id(Cost::default())).bytes();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert_eq!(Header::read(&summed(bytes)), Err(HeaderError::Cost), "{at} {number}");
        }
    }

    #[test]
    fn a_format_of_tomorrow_is_not_guessed_at() {
        let mut bytes = header(Kdf::Hkdf).bytes();
        bytes[8] = 2;
        assert_eq!(Header::read(&summed(bytes)), Err(HeaderError::Version(2)));
        for at in [9, 10, 11, 12, 23] {
            let mut bytes = header(Kdf::Hkdf).bytes();
            bytes[at] = 0xff;
            assert_eq!(Header::read(&summed(bytes)), Err(HeaderError::Damaged), "{at}");
        }
        assert_eq!(Header::read(b"-----BEGIN"), Err(HeaderError::Damaged));
        assert_eq!(Header::read(&[b'x'; 200]), Err(HeaderError::Foreign));
    }
}
