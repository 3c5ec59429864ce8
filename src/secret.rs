//! Bytes that are wiped.
use zeroize::Zeroizing;

/// Secret bytes.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A copy.
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
    /// The only way in.
    pub fn expose<R>(&self, see: impl FnOnce(&[u8]) -> R) -> R {
        see(&self.0)
    }
}
