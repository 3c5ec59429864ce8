//! Why an operator's act failed, by who can mend it. Told in full, since it is told to the owner; never a byte of a key.

use crate::{
    attest::AttestError,
    audit::AuditError,
    issuer::MintError,
    model::{ApprovalId, Code, KeyName, Malformed, Retry},
    recipe::{Class, KeyFault, NoLook, PlaceFault, SetFault},
    vault::{ChangeError, LendError, UnlockError},
};

use std::path::PathBuf;

/// Why an operator's act failed; told in full, since it is told to the owner.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Not the owner.
    #[error("the control socket is for the daemon's own user and root")]
    Stranger,
    /// A debugger reads along.
    #[error("a debugger is attached to the daemon; no key is taken in while it is")]
    Traced,
    /// Vault.
    #[error(transparent)]
    Lend(#[from] LendError),
    /// Vault.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Vault.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The vault is opened by a passphrase, and none was given.
    #[error("this vault is opened by a passphrase; type it at `sixty unlock`")]
    NeedsPassphrase,
    /// Recipe.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// Recipe.
    #[error(transparent)]
    Place(#[from] PlaceFault),
    /// Recipe.
    #[error(transparent)]
    Set(#[from] SetFault),
    /// Recipe.
    #[error(transparent)]
    Look(#[from] NoLook),
    /// Provider.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// Audit.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The new config is faulty; the old rules stay.
    #[error("the old rules stay in force: {0}")]
    Reload(String),
    /// Who asks ended, or changed its program meanwhile.
    #[error(transparent)]
    Peer(#[from] AttestError),
    /// Nothing waits by this name.
    #[error("nothing waits for approval as {0}: it was answered, taken back, or waited too long")]
    NoApproval(ApprovalId),
    /// A program asks, and whoever has the control socket is not asked.
    #[error("{0} asks for approval ([approval] ask): answer there; what waits can be denied here")]
    AskedElsewhere(PathBuf),
    /// A process would approve what it asks for itself.
    #[error("who asks cannot approve it, nor what it started: answer from somewhere else")]
    OwnApproval,
    /// A key in a decoy's place would never be lent, and its hash would be kept.
    #[error("{0} is a decoy and takes no key: remove it (`sixty decoy remove`), then add the key")]
    Decoy(KeyName),
    /// A selector with a value that it cannot have.
    #[error(transparent)]
    Selector(#[from] Malformed),
}

impl OperatorError {
    /// The code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Stranger | Self::Peer(_) | Self::OwnApproval | Self::AskedElsewhere(_) => Code::Denied,
            Self::Lend(LendError::Locked) | Self::NeedsPassphrase => Code::Locked,
            Self::Change(ChangeError::Lend(LendError::Locked)) => Code::Locked,
            Self::Mint(MintError::Key(LendError::Locked)) => Code::Locked,
            Self::Unlock(UnlockError::Wait { .. }) => Code::Busy,
            Self::Unlock(UnlockError::WrongPassphrase | UnlockError::WrongKey) => Code::Denied,
            Self::Traced | Self::Change(ChangeError::Save(_)) | Self::Audit(_) | Self::Unlock(_) => Code::Unavailable,
            Self::Mint(MintError::Throttled(_)) => Code::Busy,
            Self::Mint(MintError::Provider { .. } | MintError::Place(_) | MintError::NoProbe(_)) => Code::Malformed,
            Self::Mint(_) => Code::Upstream,
            _ => Code::Malformed,
        }
    }

    /// The HTTP status: the code's own, or one that says more.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoApproval(_)
            | Self::Lend(LendError::Unknown(_))
            | Self::Change(ChangeError::Lend(LendError::Unknown(_)))
            | Self::Mint(MintError::Key(LendError::Unknown(_))) => 404,
            Self::Change(
                ChangeError::Exists(_) | ChangeError::KeysFull { .. } | ChangeError::WorkspacesFull { .. },
            ) => 409,
            _ => self.code().status(),
        }
    }

    /// Seconds to wait first, where that is known.
    pub fn wait(&self) -> Option<u32> {
        match self {
            Self::Unlock(UnlockError::Wait { seconds }) => u32::try_from(*seconds).ok(),
            Self::Mint(MintError::Throttled(seconds)) => Some(*seconds),
            _ => None,
        }
    }

    /// What the provider's no means for the key, where it is the provider's.
    pub fn class(&self) -> Option<&'static str> {
        match self {
            Self::Mint(fault) => fault.class().map(Class::name),
            _ => None,
        }
    }

    /// Whether asking again can help, where the code alone does not tell.
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Self::Mint(fault) if fault.is_final() => Some(Retry::Never),
            Self::Unlock(
                UnlockError::RolledBack { .. }
                | UnlockError::HeadLost { .. }
                | UnlockError::Damaged
                | UnlockError::Means { .. },
            ) => Some(Retry::Never),
            _ => None,
        }
    }
}
