//! The head: a second small file that remembers the number of the last write, so that an older vault is noticed.
//! It must never be believed without its MAC, which only the vault's own key makes.

use super::{derive::subkey, error::UnlockError};
use crate::secret::Secret;
use subtle::ConstantTimeEq;

/// Bytes of a head file.
pub(super) const LEN: usize = 48;
const MAGIC: [u8; 8] = *b"SIXTYHED";

/// What the head file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none, or it is not this vault's.
    Lost,
    /// The number of the last write.
    At(u64),
}

impl Head {
    /// The last number that it knows of; 0 is before the first.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Lost => 0,
            Self::At(number) => number,
        }
    }
}

/// The head file's bytes. `None` when the root key was wiped.
pub(super) fn written(root: &Secret, generation: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&mac(root, generation)?);
    Some(bytes)
}

/// Reads a head file.
pub(super) fn read(root: &Secret, bytes: &[u8]) -> Head {
    let whole = bytes.len() == LEN && bytes.starts_with(&MAGIC);
    let number = bytes.get(8..16).and_then(|number| number.first_chunk()).map(|number| u64::from_le_bytes(*number));
    match number {
        Some(number) if whole && mac(root, number).is_some_and(|mac| mac.ct_eq(&bytes[16..]).into()) => {
            Head::At(number)
        }
        _ => Head::Lost,
    }
}

/// Whether a vault of this number may follow this head. Newer is fine: a crash between the two writes leaves that.
pub(super) fn judge(found: u64, head: Head) -> Result<(), UnlockError> {
    match head {
        Head::At(expected) if found < expected => Err(UnlockError::RolledBack { found, expected }),
        // Only the first write can have been cut off before there ever was a head.
        Head::Lost if found > 1 => Err(UnlockError::HeadLost { found }),
        Head::At(_) | Head::Lost => Ok(()),
    }
}

/// HKDF-Expand is one HMAC here: `HMAC(root, label ‖ generation ‖ 1)`.
fn mac(root: &Secret, generation: u64) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    subkey(root, "sixty vault v1 head", &generation.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_a_forged_one_is_lost() {
        let root = Secret::copied(&[1; 32]);
        let bytes = written(&root, 41).unwrap();
        assert_eq!(read(&root, &bytes), Head::At(41));
        assert_eq!(read(&Secret::copied(&[2; 32]), &bytes), Head::Lost);
        for at in 0..LEN {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert_eq!(read(&root, &bent), Head::Lost, "{at}");
            assert_eq!(read(&root, &bytes[..at]), Head::Lost, "{at}");
        }
    }

    #[test]
    fn older_is_noticed_and_newer_heals() {
        assert!(matches!(judge(4, Head::At(5)), Err(UnlockError::RolledBack { found: 4, expected: 5 })));
        assert!(matches!(judge(2, Head::Lost), Err(UnlockError::HeadLost { found: 2 })));
        assert!(judge(1, Head::Lost).is_ok());
        assert!(judge(5, Head::At(5)).is_ok() && judge(9, Head::At(5)).is_ok());
    }
}
