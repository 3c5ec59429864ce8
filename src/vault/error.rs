//! What can go wrong in the vault, by who is to blame. No error may quote a byte of a key, a passphrase or a key file.

use super::{derive::Means, header::HeaderError, state::Overtaken};
use crate::{
    model::KeyName,
    sys::{file::FileError, page::PageError},
};
use std::path::PathBuf;

/// Why a key is not lent, or not known. The operator's to mend, but for [`LendError::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LendError {
    /// Every key is wiped from memory.
    #[error("the vault is locked; sixty unlock opens it")]
    Locked,
    /// There is none of this name.
    #[error("there is no key `{0}`; sixty key list names those there are")]
    Unknown(KeyName),
    /// The provider refused it.
    #[error("key `{0}` is in quarantine: its provider refused it; sixty key test or rotate lifts that")]
    Quarantined(KeyName),
}

/// Why the vault stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Locked, or no such key.
    #[error(transparent)]
    Lend(#[from] LendError),
    /// The caller's: the name is taken.
    #[error("there is a key `{0}` already; sixty key rotate swaps it, remove makes room")]
    Exists(KeyName),
    /// The caller's: no key is empty or that long.
    #[error("a key has 1 to {max} bytes, this one has {found}")]
    Length {
        /// Its bytes.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// The operator's: the provider's limit of keys.
    #[error(
        "workspace `{workspace}` of {provider} account `{account}` has its {limit} keys; \
         remove one, or raise keys_per_workspace of {provider} in the config"
    )]
    KeysFull {
        /// The provider.
        provider: String,
        /// The account.
        account: String,
        /// The workspace.
        workspace: String,
        /// Keys a workspace.
        limit: usize,
    },
    /// The operator's: the provider's limit of workspaces.
    #[error(
        "{provider} account `{account}` has its {limit} workspaces; \
         use one of them, or raise workspaces_per_account of {provider} in the config"
    )]
    WorkspacesFull {
        /// The provider.
        provider: String,
        /// The account.
        account: String,
        /// Workspaces an account.
        limit: usize,
    },
    /// The machine's: not written.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Why the vault could not be written; it is then as it was, in memory and, as far as the disk tells, there too.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The disk.
    #[error("the vault can't be written: {0}")]
    File(#[from] FileError),
    /// The system gives no thread.
    #[error("there is no thread to write the vault with: {0}")]
    Thread(std::io::Error),
    /// Locked memory.
    #[error(transparent)]
    Page(#[from] PageError),
    /// No randomness.
    #[error("the kernel gives no random bytes")]
    Random,
    /// The file would be too big to be read again.
    #[error("the vault would have more than {max} bytes; remove keys first")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// A key or the vault's own was wiped, or could not be unsealed for lack of memory.
    #[error("a key could not be read from its page; lock and unlock the vault")]
    Gone,
}

/// Why a vault is not opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none yet.
    #[error("there is no vault at {path}; sixty init makes one")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Its head is there, so it was.
    #[error("the vault {path} is gone, but its head is there; restore it from a backup")]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// Never overwritten.
    #[error("there is a vault or its head at {path} already; it is not overwritten")]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// No vault of ours.
    #[error("{path}: {fault}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: HeaderError,
    },
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a vault stays locked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The caller's: too soon after a wrong passphrase.
    #[error("too many wrong passphrases; try again in {seconds} s")]
    Wait {
        /// Whole seconds, rounded up.
        seconds: u64,
    },
    /// The caller's.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The caller's.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The operator's: some other vault's key.
    #[error("the key file or credential is not the one this vault was sealed with")]
    WrongKey,
    /// The operator's.
    #[error("the vault is opened by {}", match needs { Means::Passphrase => "a passphrase: sixty unlock",
        Means::Key => "a key file or a credential; name it in the config" })]
    Means {
        /// What would open it.
        needs: Means,
    },
    /// The operator's: too short to be random enough.
    #[error("the key file has {found} bytes; at least 32 random ones are needed")]
    ShortKey {
        /// Its bytes.
        found: usize,
    },
    /// The operator's: a key that exists opens something.
    #[error("there is a file at {path} already; it is not overwritten")]
    KeyFileExists {
        /// The file.
        path: PathBuf,
    },
    /// The operator's: the name leads elsewhere.
    #[error("a credential's name is a plain file name without / and not beginning with a dot")]
    CredentialName,
    /// Somebody's: the right key, but not what it sealed.
    #[error("the vault is damaged or was changed by others; restore it from a backup")]
    Damaged,
    /// Somebody's: an older vault stands in the place of the newest.
    #[error(
        "the vault was rolled back: it is write {found}, the last was {expected}; \
         restore the newer file, or accept this one: `sixty unlock --accept-rollback`"
    )]
    RolledBack {
        /// The vault's generation.
        found: u64,
        /// The head's.
        expected: u64,
    },
    /// Somebody's: without its head an older vault could not be told from the newest.
    #[error(
        "the vault (write {found}) has lost its head file, or has another vault's; \
         restore vault.head, or accept the vault as it is: `sixty unlock --accept-rollback`"
    )]
    HeadLost {
        /// The vault's generation.
        found: u64,
    },
    /// No vault to unlock.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new start after an accepted rollback, or a new vault, could not be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A key file or credential could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Locked memory.
    #[error(transparent)]
    Page(#[from] PageError),
    /// No randomness.
    #[error("the kernel gives no random bytes")]
    Random,
    /// The operator's: a cost that no vault may have.
    #[error("a passphrase's cost has at least 8 KiB a lane and at most 1 GiB, 16 passes and 4 lanes")]
    Cost,
    /// Argon2id's memory.
    #[error("there is not enough memory to work on the passphrase")]
    Memory,
    /// A thread to work on it.
    #[error("there is no thread to open the vault on: {0}")]
    Thread(#[from] std::io::Error),
    /// Somebody's, who locked it after this unlock had begun.
    #[error("the vault was locked while it was being opened: it stays so; unlock it again")]
    Overtaken,
}

impl From<Overtaken> for LendError {
    fn from(Overtaken: Overtaken) -> Self {
        Self::Locked
    }
}

impl From<Overtaken> for ChangeError {
    fn from(overtaken: Overtaken) -> Self {
        Self::Lend(overtaken.into())
    }
}

impl From<Overtaken> for UnlockError {
    fn from(Overtaken: Overtaken) -> Self {
        Self::Overtaken
    }
}
