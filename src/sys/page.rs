//! A page for one long-lived secret: memory that only this process's own code can read, or, where the kernel has none,
//! bytes sealed under a key that never lies in memory. It must never lend more than a closure's length.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::errno::Errno;
use zeroize::Zeroize;

use super::map::Area;
use super::shield::Shield;

/// What keeps the keys on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// memfd_secret(2): other processes, root's debugger reads and core dumps get nothing.
    SecretMemory,
    /// Sealed at rest, unsealed for each use into locked memory: a memory scan finds nothing, root's code can unseal.
    Shield,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The limit on locked memory is reached.
    #[error("no more memory may be locked; raise the limit: LimitMEMLOCK= in the unit, or ulimit -l")]
    Limit,
    /// The kernel refused.
    #[error("the kernel gives no memory for a secret: {0}")]
    Kernel(Errno),
    /// No randomness to seal with.
    #[error("the kernel gives no random bytes")]
    Random,
    /// More bytes than the page was made for.
    #[error("a secret of {size} bytes does not fit its page of {capacity}")]
    TooLong {
        /// Bytes that were to be stored.
        size: usize,
        /// Bytes that the page can hold.
        capacity: usize,
    },
}

impl From<Errno> for PageError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::Limit,
            other => Self::Kernel(other),
        }
    }
}

/// What protects the keys here; asked of the kernel once.
pub fn protection() -> Protection {
    static PROBED: OnceLock<Protection> = OnceLock::new();
    *PROBED.get_or_init(|| match Area::secret(1) {
        // Over the limit is not missing: `Page::new` will say so.
        Ok(_) | Err(Errno::EAGAIN) => Protection::SecretMemory,
        Err(_) => Protection::Shield,
    })
}

/// Memory for one long-lived secret. Shared by reference; wiped before it is given back.
pub struct Page {
    capacity: usize,
    store: RwLock<Store>,
}

enum Store {
    Secret { area: Area, len: usize },
    Shield(Option<Shield>),
}

impl Page {
    /// An empty page for up to `capacity` bytes.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn new(capacity: usize) -> Result<Self, PageError> {
        Self::protected(protection(), capacity)
    }

    /// A page that holds these bytes. The source stays as it is.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn holding(bytes: &[u8]) -> Result<Self, PageError> {
        let page = Self::new(bytes.len())?;
        page.store(bytes)?;
        Ok(page)
    }

    /// An empty page with a protection of the caller's choice; [`Page::new`] takes the best there is.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn protected(protection: Protection, capacity: usize) -> Result<Self, PageError> {
        let store = match protection {
            Protection::SecretMemory => Store::Secret { area: Area::secret(capacity)?, len: 0 },
            Protection::Shield => Store::Shield(None),
        };
        Ok(Self { capacity, store: RwLock::new(store) })
    }

    /// Puts these bytes in the place of what the page held.
    ///
    /// # Errors
    /// [`PageError::TooLong`]; under the shield whatever [`Page::new`] can say.
    pub fn store(&self, bytes: &[u8]) -> Result<(), PageError> {
        if bytes.len() > self.capacity {
            return Err(PageError::TooLong { size: bytes.len(), capacity: self.capacity });
        }
        self.fill(|room| {
            room[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        })
    }

    /// Lets `write` put a secret straight into the page: it gets `capacity` zero bytes and tells how many it used.
    ///
    /// # Errors
    /// Under the shield whatever [`Page::new`] can say; the page is empty then.
    pub fn fill(&self, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), PageError> {
        let mut store = self.write();
        store.wipe();
        match &mut *store {
            Store::Secret { area, len } => {
                let room = &mut area.bytes_mut()[..self.capacity];
                *len = write(room).min(self.capacity);
                room[*len..].zeroize();
            }
            Store::Shield(shield) => *shield = Some(Shield::over(self.capacity, write)?),
        }
        Ok(())
    }

    /// Lends the bytes for the length of one call; an empty slice when there are none.
    pub fn expose<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match &*self.read() {
            Store::Secret { area, len } => look(&area.bytes()[..*len]),
            Store::Shield(Some(shield)) => shield.expose(look),
            Store::Shield(None) => look(&[]),
        }
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        match &*self.read() {
            Store::Secret { len, .. } => *len,
            Store::Shield(shield) => shield.as_ref().map_or(0, Shield::len),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wipes the page: it is empty from here on, for every holder of a reference.
    pub fn wipe(&self) {
        self.write().wipe();
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn wipe(&mut self) {
        match self {
            Self::Secret { area, len } => {
                area.bytes_mut().zeroize();
                *len = 0;
            }
            Self::Shield(shield) => *shield = None,
        }
    }
}
