//! From a passphrase or a key file to the vault's root key, and from that to a key for each purpose.
//! It must never leave a root key outside a page, nor work on a passphrase, or wait for a key file, on the loop's own thread.

use super::{
    error::UnlockError,
    header::{Cost, Kdf, SALT},
};
use crate::{
    secret::Secret,
    sys::{file, page::Page, scrub},
};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of every key here.
pub(super) const KEY: usize = 32;
/// The fewest bytes a key file may have.
const KEY_FILE_MIN: usize = 32;
const KEY_FILE_MAX: usize = 4096;

/// What opens a vault.
pub enum UnlockWith {
    /// Words that a person knows, as bytes; nothing is trimmed or normalised.
    Passphrase(Secret),
    /// A file of mode 0600 with 32 to 4096 random bytes; all its bytes count, a newline too.
    KeyFile(PathBuf),
    /// The same as a systemd credential, systemd.exec(5).
    Credential {
        /// `$CREDENTIALS_DIRECTORY`.
        directory: PathBuf,
        /// A file's name in it.
        name: String,
    },
}

/// Which of the two a vault wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// [`UnlockWith::Passphrase`]: somebody must type it.
    Passphrase,
    /// [`UnlockWith::KeyFile`] or [`UnlockWith::Credential`]: can be done at start.
    Key,
}

impl UnlockWith {
    /// Which of the two this is.
    pub fn means(&self) -> Means {
        match self {
            Self::Passphrase(_) => Means::Passphrase,
            Self::KeyFile(_) | Self::Credential { .. } => Means::Key,
        }
    }
}

impl Kdf {
    pub(super) fn means(self) -> Means {
        match self {
            Self::Argon2id(_) => Means::Passphrase,
            Self::Hkdf => Means::Key,
        }
    }
}

/// Makes a key file with 32 random bytes, mode 0600.
///
/// # Errors
/// There is a file already, or it can't be written.
pub fn create_key_file(path: &Path) -> Result<(), UnlockError> {
    if path.symlink_metadata().is_ok() {
        return Err(UnlockError::KeyFileExists { path: path.to_owned() });
    }
    let mut bytes = Zeroizing::new(vec![0; KEY]);
    getrandom::fill(&mut bytes).map_err(|_| UnlockError::Random)?;
    Ok(file::replace(path, 0o600, &bytes)?)
}

/// The root key, in a page of its own.
pub(super) async fn root(with: UnlockWith, kdf: Kdf, salt: [u8; SALT]) -> Result<Secret, UnlockError> {
    scrub::beside(move || derived(with, kdf, &salt)).await?
}

fn derived(with: UnlockWith, kdf: Kdf, salt: &[u8; SALT]) -> Result<Secret, UnlockError> {
    match (with, kdf) {
        (UnlockWith::Passphrase(words), Kdf::Argon2id(cost)) => from_passphrase(&words, cost, salt),
        (UnlockWith::KeyFile(path), Kdf::Hkdf) => from_key(&file::read_private(&path, KEY_FILE_MAX)?, salt),
        (UnlockWith::Credential { directory, name }, Kdf::Hkdf) => from_key(&credential(&directory, &name)?, salt),
        (_, kdf) => Err(UnlockError::Means { needs: kdf.means() }),
    }
}

/// The key for one purpose: HKDF-Expand with the label and the context as info. `None` when the root key was wiped.
pub(super) fn subkey(root: &Secret, label: &str, context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; KEY]);
    root.expose(|root| {
        let expander = Hkdf::<Sha256>::from_prk(root).ok()?;
        expander.expand_multi_info(&[label.as_bytes(), context], &mut key).ok()
    })?;
    Some(key)
}

fn from_passphrase(words: &Secret, cost: Cost, salt: &[u8; SALT]) -> Result<Secret, UnlockError> {
    if words.is_empty() {
        return Err(UnlockError::EmptyPassphrase);
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY)).map_err(|_| UnlockError::Memory)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    in_a_page(|room| words.expose(|words| argon.hash_password_into(words, salt, room)).is_ok())
}

fn from_key(bytes: &[u8], salt: &[u8; SALT]) -> Result<Secret, UnlockError> {
    if bytes.len() < KEY_FILE_MIN {
        return Err(UnlockError::ShortKey { found: bytes.len() });
    }
    in_a_page(|room| Hkdf::<Sha256>::new(Some(salt), bytes).expand(b"sixty vault v1 root", room).is_ok())
}

/// A key that `make` writes straight into its page.
fn in_a_page(make: impl FnOnce(&mut [u8]) -> bool) -> Result<Secret, UnlockError> {
    let page = Page::new(KEY)?;
    page.fill(|room| if make(room) { KEY } else { 0 })?;
    if page.is_empty() { Err(UnlockError::Memory) } else { Ok(page.into()) }
}

fn credential(directory: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(UnlockError::CredentialName);
    }
    // Not `read_private`: systemd lets the service's user in by an ACL, whose mask shows as group bits (0440).
    // The directory is the service's alone; nobody else may write the file, and that is checked.
    Ok(file::read_config(&directory.join(name), KEY_FILE_MAX).map(Zeroizing::new)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(in crate::vault) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    pub(in crate::vault) fn root_of_key(bytes: &[u8], salt: &[u8; SALT]) -> Secret {
        from_key(bytes, salt).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn shown(secret: &Secret) -> String {
        secret.expose(hex)
    }

    /// RFC 9106 has no vector without a secret and associated data; this one is of the reference program `argon2`.
    #[test]
    fn a_passphrase_gives_the_key_that_the_reference_program_gives() {
        let cost = Cost { memory_kib: 64, passes: 2, lanes: 1 };
        let root = from_passphrase(&Secret::copied(b"correct horse"), cost, b"0123456789abcdef").unwrap();
        assert_eq!(shown(&root), "74fb6b1d311ac0bb4c891f7efd79680245d9f84b72ad8f9bbe61c86e2b9f864d");
    }

    #[test]
    fn keys_of_two_purposes_have_nothing_in_common() {
        let root = from_key(&[7; 32], &[1; SALT]).unwrap();
        let seal = subkey(&root, "one", b"").unwrap();
        assert_ne!(seal, subkey(&root, "two", b"").unwrap());
        assert_ne!(seal, subkey(&root, "one", b"1").unwrap());
        assert_ne!(shown(&root), shown(&from_key(&[7; 32], &[2; SALT]).unwrap()));
        root.wipe();
        assert!(subkey(&root, "one", b"").is_none());
    }

    #[tokio::test]
    async fn a_key_file_must_be_private_and_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_key_file(&path).unwrap();
        assert!(matches!(create_key_file(&path), Err(UnlockError::KeyFileExists { .. })));
        let with = || UnlockWith::KeyFile(path.clone());
        assert!(root(with(), Kdf::Hkdf, [0; SALT]).await.is_ok());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(root(with(), Kdf::Hkdf, [0; SALT]).await, Err(UnlockError::File(_))));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0; 31]).unwrap();
        let short = root(with(), Kdf::Hkdf, [0; SALT]).await;
        assert!(matches!(short, Err(UnlockError::ShortKey { found: 31 })));
    }

    #[tokio::test]
    async fn a_credential_opens_as_systemd_leaves_it_and_never_outside_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault-key");
        create_key_file(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
        let with = |name: &str| UnlockWith::Credential { directory: dir.path().to_owned(), name: name.into() };
        assert!(root(with("vault-key"), Kdf::Hkdf, [0; SALT]).await.is_ok());
        for name in ["", "..", "../vault-key", "/etc/passwd"] {
            let found = root(with(name), Kdf::Hkdf, [0; SALT]).await;
            assert!(matches!(found, Err(UnlockError::CredentialName)), "{name}");
        }
    }

    #[tokio::test]
    async fn a_passphrase_is_no_key_and_a_key_no_passphrase() {
        let words = UnlockWith::Passphrase(Secret::copied(b"words"));
        assert!(matches!(root(words, Kdf::Hkdf, [0; SALT]).await, Err(UnlockError::Means { needs: Means::Key })));
        let file = root(UnlockWith::KeyFile("/nowhere".into()), Kdf::Argon2id(CHEAP), [0; SALT]).await;
        assert!(matches!(file, Err(UnlockError::Means { needs: Means::Passphrase })));
        let none = UnlockWith::Passphrase(Secret::copied(b""));
        assert!(matches!(root(none, Kdf::Argon2id(CHEAP), [0; SALT]).await, Err(UnlockError::EmptyPassphrase)));
    }
}
