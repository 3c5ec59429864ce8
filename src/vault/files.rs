//! Where the vault and its head lie, and how they are read and replaced.
//! It must never change a file in place, nor write the head before the vault it speaks of.

use super::{
    entry::Entries,
    error::{OpenError, SaveError},
    head,
    header::Header,
    seal,
};
use crate::{
    secret::Secret,
    sys::file::{self, FileError},
};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// `vault.sealed` and, beside it, `vault.head`.
#[derive(Debug, Clone)]
pub(super) struct Files {
    vault: PathBuf,
    head: PathBuf,
}

impl Files {
    pub(super) fn new(vault: PathBuf) -> Self {
        Self { head: vault.with_extension("head"), vault }
    }

    /// The vault file's bytes and its header.
    pub(super) fn read(&self) -> Result<(Zeroizing<Vec<u8>>, Header), OpenError> {
        let path = || self.vault.clone();
        let bytes = match file::read_private(&self.vault, seal::FILE_MAX) {
            Ok(bytes) => bytes,
            Err(FileError::Missing { .. }) if self.head.symlink_metadata().is_ok() => {
                return Err(OpenError::Lost { path: path() });
            }
            Err(FileError::Missing { .. }) => return Err(OpenError::Missing { path: path() }),
            Err(fault) => return Err(fault.into()),
        };
        match Header::read(&bytes) {
            Ok(header) => Ok((bytes, header)),
            Err(fault) => Err(OpenError::Header { path: path(), fault }),
        }
    }

    /// Refuses where a new vault would stand in an old one's place.
    pub(super) fn vacant(&self) -> Result<(), OpenError> {
        match [&self.vault, &self.head].into_iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(OpenError::Exists { path: path.clone() }),
            None => Ok(()),
        }
    }

    /// The head's bytes, if they can be a head's.
    pub(super) fn head(&self) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        match file::read_private(&self.head, head::LEN) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FileError::Missing { .. } | FileError::TooLarge { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Writes the vault, then its head.
    ///
    /// # Errors
    /// The vault was not written. A head that was not is no error: it is behind then, and the next one is not.
    pub(super) fn write(&self, sealed: &Sealed) -> Result<(), SaveError> {
        if let Some(vault) = &sealed.vault {
            file::replace(&self.vault, 0o600, vault)?;
        }
        self.write_head(&sealed.head, sealed.generation);
        Ok(())
    }

    fn write_head(&self, bytes: &[u8], generation: u64) {
        if let Err(fault) = file::replace(&self.head, 0o600, bytes) {
            tracing::warn!(%fault, generation, "the vault's head is behind: a rollback to it would not be noticed");
        }
    }
}

/// Both files' bytes, or the head's alone. Nothing in them is secret.
pub(super) struct Sealed {
    pub(super) generation: u64,
    vault: Option<Vec<u8>>,
    head: Vec<u8>,
}

impl Sealed {
    pub(super) fn new(root: &Secret, header: &Header, generation: u64, entries: &Entries) -> Result<Self, SaveError> {
        let mut header = *header;
        getrandom::fill(&mut header.nonce).map_err(|_| SaveError::Random)?;
        let vault = seal::seal(root, &header, generation, entries)?;
        Ok(Self { vault: Some(vault), ..Self::head(root, generation)? })
    }

    /// The head of a vault that is there.
    pub(super) fn head(root: &Secret, generation: u64) -> Result<Self, SaveError> {
        let head = head::written(root, generation).ok_or(SaveError::Gone)?;
        Ok(Self { generation, vault: None, head })
    }
}
