//! [`Secret`]: bytes that are moved, never copied by accident, shown only inside a closure, and wiped on drop.
//! It must never be printed, compared with `==`, serialised or quoted in an error.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::sys::page::{Page, PageError};

/// A key, a token or a passphrase.
///
/// It lives behind a pointer, so that moving it moves no secret byte. What can't be done with it:
///
/// ```compile_fail,E0599
/// let secret = sixty::secret::Secret::copied(b"x");
/// let twin = secret.clone();
/// ```
/// ```compile_fail,E0277
/// let secret = sixty::secret::Secret::copied(b"x");
/// println!("{secret:?}");
/// ```
/// ```compile_fail,E0277
/// let secret = sixty::secret::Secret::copied(b"x");
/// println!("{secret}");
/// ```
/// ```compile_fail,E0369
/// let (one, two) = (sixty::secret::Secret::copied(b"x"), sixty::secret::Secret::copied(b"x"));
/// let same = one == two;
/// ```
/// ```compile_fail,E0277
/// let secret = sixty::secret::Secret::copied(b"x");
/// let text = serde_json::to_string(&secret);
/// ```
/// What can:
/// ```
/// let secret = sixty::secret::Secret::copied(b"four");
/// assert_eq!(secret.expose(|bytes| bytes.len()), 4);
/// ```
pub struct Secret(Store);

enum Store {
    Heap(RwLock<Zeroizing<Box<[u8]>>>),
    Page(Page),
}

impl Secret {
    /// A short-lived secret on the heap: one allocation of the exact size, zeroed on drop. The source stays as it is.
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Store::Heap(RwLock::new(Zeroizing::new(Box::from(bytes)))))
    }

    /// Takes what a buffer holds and wipes the buffer, its spare capacity too.
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        let secret = Self::copied(&bytes);
        bytes.zeroize();
        secret
    }

    /// A long-lived secret, in a page that no other process and no core dump can read. The source stays as it is.
    ///
    /// # Errors
    /// The kernel gives no page: see [`PageError`].
    pub fn keep(bytes: &[u8]) -> Result<Self, PageError> {
        Page::holding(bytes).map(Self::from)
    }

    /// Lends the bytes for the length of one call. Nothing after [`Secret::wipe`]: an empty slice.
    pub fn expose<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match &self.0 {
            Store::Heap(bytes) => look(&bytes.read().unwrap_or_else(PoisonError::into_inner)),
            Store::Page(page) => page.expose(look),
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        match &self.0 {
            Store::Heap(bytes) => bytes.read().unwrap_or_else(PoisonError::into_inner).len(),
            Store::Page(page) => page.len(),
        }
    }

    /// Whether it has none: made so, or wiped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both hold the same bytes, in a time that tells their lengths at most.
    pub fn same_as(&self, other: &Self) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        // Always in the order of addresses: two threads that compare the same two can't wait for each other.
        let (first, second) = if std::ptr::from_ref(self) < other { (self, other) } else { (other, self) };
        first.expose(|one| second.expose(|two| one.ct_eq(two).into()))
    }

    /// Wipes the bytes now, for every holder of a reference: the secret is empty from here on.
    pub fn wipe(&self) {
        match &self.0 {
            Store::Heap(bytes) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                bytes.zeroize();
                *bytes = Zeroizing::new(Box::default());
            }
            Store::Page(page) => page.wipe(),
        }
    }
}

impl From<Page> for Secret {
    fn from(page: Page) -> Self {
        Self(Store::Page(page))
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    /// Takes what a wiped buffer holds.
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::from_vec(std::mem::take(&mut *bytes))
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    /// From a string. Parse from a slice: a reader's buffers keep copies.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The format's own words may quote what it found, such as a key written without quotation marks.
        deserializer.deserialize_str(Text).map_err(|_| serde::de::Error::custom("a secret must be a string"))
    }
}

struct Text;

impl serde::de::Visitor<'_> for Text {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string with a secret")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::copied(text.as_bytes()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::from_vec(text.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &[u8] = b"sk-not-a-real-key";

    fn both() -> [Secret; 2] {
        [Secret::copied(WORD), Secret::keep(WORD).unwrap()]
    }

    #[test]
    fn what_goes_in_is_lent() {
        for secret in both() {
            assert_eq!(secret.expose(<[u8]>::to_vec), WORD);
            assert_eq!(secret.len(), WORD.len());
        }
    }

    #[test]
    fn a_wiped_secret_is_empty_for_every_holder() {
        for secret in both() {
            secret.wipe();
            assert!(secret.is_empty());
            assert!(secret.expose(<[u8]>::is_empty));
        }
    }

    #[test]
    fn equal_bytes_are_the_same_wherever_they_lie() {
        let ([heap, page], other) = (both(), Secret::copied(b"sk-not-a-real-kez"));
        assert!(heap.same_as(&page) && page.same_as(&heap) && heap.same_as(&heap));
        assert!(!heap.same_as(&other) && !other.same_as(&page) && !heap.same_as(&Secret::copied(b"sk")));
    }

    #[test]
    fn a_secret_out_of_a_buffer_is_whole() {
        assert!(Secret::from_vec(WORD.to_vec()).same_as(&Secret::copied(WORD)));
        assert!(Secret::from(Zeroizing::new(WORD.to_vec())).same_as(&Secret::copied(WORD)));
    }

    #[test]
    fn json_gives_a_secret_with_and_without_escapes() {
        for text in [r#""sk-not-a-real-key""#, r#""sk\u002dnot-a-real-key""#] {
            let secret: Secret = serde_json::from_str(text).unwrap();
            assert!(secret.same_as(&Secret::copied(WORD)));
        }
    }

    #[test]
    fn an_error_never_quotes_what_should_have_been_a_secret() {
        for text in ["31337", "-31337.5", "[31337]", r#""31337\q""#, r#""31337"#] {
            let told = serde_json::from_str::<Secret>(text).err().unwrap().to_string();
            assert!(told.contains("a secret must be a string") && !told.contains("31337"), "{told}");
        }
    }
}
