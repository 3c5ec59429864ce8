//! A page for one long-lived secret: memory that only this process's own code can read, or, where the kernel has none,
//! bytes sealed under a key that never lies in memory. It must never lend more than a closure's length.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::errno::Errno;
use zeroize::Zeroize;

use super::map::Area;
use super::scrub;
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
                *len = scrub::apart(|| write(room)).min(self.capacity);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const WORD: &[u8] = b"sk-not-a-real-key";

    /// One page of each kind that this kernel has; the shield can be had everywhere.
    fn pages() -> Vec<Page> {
        let mut kinds = vec![Protection::Shield];
        if protection() == Protection::SecretMemory {
            kinds.push(Protection::SecretMemory);
        }
        kinds.into_iter().map(|kind| Page::protected(kind, 4000).unwrap()).collect()
    }

    #[test]
    fn a_page_lends_what_it_was_given_and_nothing_after_a_wipe() {
        for page in pages() {
            assert!(page.is_empty());
            page.store(WORD).unwrap();
            assert_eq!((page.expose(<[u8]>::to_vec), page.len()), (WORD.to_vec(), WORD.len()));
            page.wipe();
            assert!(page.is_empty() && page.expose(<[u8]>::is_empty));
        }
    }

    #[test]
    fn a_shorter_secret_leaves_nothing_of_a_longer_one() {
        for page in pages() {
            page.store(WORD).unwrap();
            page.store(b"short").unwrap();
            assert_eq!(page.expose(<[u8]>::to_vec), b"short");
            page.fill(|room| {
                assert!(room.iter().all(|byte| *byte == 0), "what was there is wiped before");
                room.fill(7);
                3
            })
            .unwrap();
            assert_eq!(page.expose(<[u8]>::to_vec), [7; 3]);
        }
    }

    #[test]
    fn too_long_a_secret_is_refused_and_the_old_one_stays() {
        for page in pages() {
            page.store(WORD).unwrap();
            assert!(matches!(page.store(&[0; 4001]), Err(PageError::TooLong { size: 4001, capacity: 4000 })));
            assert_eq!(page.len(), WORD.len());
        }
    }

    #[test]
    fn a_panic_while_looking_does_not_lock_the_key_away() {
        for page in pages() {
            page.store(WORD).unwrap();
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                page.expose(|_| std::panic::resume_unwind(Box::new(())));
            }));
            assert!(looked.is_err());
            assert_eq!(page.len(), WORD.len());
            page.wipe();
            assert!(page.is_empty());
        }
    }

    #[test]
    fn many_threads_may_look_at_once() {
        for page in pages() {
            page.store(WORD).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..50).for_each(|_| page.expose(|bytes| assert_eq!(bytes, WORD))));
                }
            });
        }
    }

    #[test]
    fn secret_memory_can_not_be_read_from_outside() {
        let (memory, mut copy) = (std::fs::File::open("/proc/self/mem").unwrap(), [0; 4]);
        for page in pages() {
            page.store(WORD).unwrap();
            let read = page.expose(|bytes| memory.read_exact_at(&mut copy, bytes.as_ptr() as u64));
            match *page.read() {
                Store::Secret { .. } => assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO)),
                Store::Shield(_) => assert!(read.is_ok(), "the test can read what is not secret memory"),
            }
        }
    }

    #[test]
    fn the_shield_keeps_no_plain_byte_at_rest() {
        let page = Page::protected(Protection::Shield, WORD.len()).unwrap();
        page.store(WORD).unwrap();
        let Store::Shield(Some(shield)) = &*page.read() else { panic!("a shield was asked for") };
        assert!(!shield.at_rest().windows(4).any(|part| WORD.windows(4).any(|word| word == part)));
    }

    #[test]
    fn a_page_is_kept_from_children_and_dumps() {
        for page in pages() {
            page.store(WORD).unwrap();
            let flags = page.expose(|bytes| flags_of(bytes.as_ptr() as usize));
            assert!(flags.contains(&"dc".to_owned()), "copied at fork: {flags:?}");
            assert!(flags.contains(&"dd".to_owned()), "dumped: {flags:?}");
        }
    }

    /// `VmFlags` of the mapping that holds this address: proc_pid_smaps(5).
    fn flags_of(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((from, to)) = range {
                let bound = |text| usize::from_str_radix(text, 16);
                here = bound(from).is_ok_and(|from| from <= address) && bound(to).is_ok_and(|to| address < to);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| here) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}
