//! A change on its way to the disk: sealed already, written by a thread of its own, and counted in memory once it is
//! durable. Loans go on meanwhile. It must never see a key, nor be given up half way because its caller left.

use super::{ChangeError, SaveError, Since, State, Vault, entry::Entries, files::Files, files::Sealed};
use crate::sys::scrub;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// The right to write: one at a time, so that no file is older than the one before it.
pub(super) type Turn = OwnedMutexGuard<()>;

/// What is written, and what is then so.
struct Write {
    files: Files,
    sealed: Sealed,
    entries: Entries,
    /// Whether it brings uses that were noted.
    used: bool,
    state: Arc<Mutex<State>>,
    _turn: Turn,
}

impl Vault {
    /// Edits a copy, writes it, and only then puts it in the place of what was: nothing is ever half done. Gives what
    /// the edit gave, and the number of the write.
    pub(super) async fn change<R>(
        &self,
        since: Since,
        edit: impl FnOnce(&mut Entries) -> Result<R, ChangeError>,
    ) -> Result<(R, u64), ChangeError> {
        let turn = self.writing.clone().lock_owned().await;
        let (made, write) = self.begin(turn, since, edit)?;
        let generation = write.sealed.generation;
        write.durable().await?;
        Ok((made, generation))
    }

    /// Writes the noted uses, if there are any, after what is being written: at the end.
    ///
    /// # Errors
    /// It can't be written.
    pub async fn flush(&self) -> Result<(), ChangeError> {
        let since = self.now();
        let turn = self.writing.clone().lock_owned().await;
        match self.is_used().then(|| self.begin(turn, since, |_| Ok(()))) {
            Some(begun) => Ok(begun?.1.durable().await?),
            None => Ok(()),
        }
    }

    /// The same, not waiting for the disk: before a lock, which a slow one must not hold up. Where it is being written to,
    /// the uses since then are lost.
    ///
    /// # Errors
    /// It can't be sealed, or there is no thread.
    pub fn flush_unawaited(&self) -> Result<(), ChangeError> {
        match self.writing.clone().try_lock_owned() {
            Ok(turn) if self.is_used() => Ok(self.begin(turn, self.now(), |_| Ok(()))?.1.unawaited()?),
            _ => Ok(()),
        }
    }

    fn is_used(&self) -> bool {
        self.state().open.as_ref().is_some_and(|open| open.used)
    }

    fn begin<R>(
        &self,
        turn: Turn,
        since: Since,
        edit: impl FnOnce(&mut Entries) -> Result<R, ChangeError>,
    ) -> Result<(R, Write), ChangeError> {
        let mut state = self.state();
        state.stands(since)?;
        let open = state.open.as_mut().ok_or(super::LendError::Locked)?;
        let mut entries = open.entries.clone();
        let made = edit(&mut entries)?;
        // A number that was tried is spent: a write that failed at its very end may still be on the disk.
        open.generation += 1;
        let sealed = Sealed::new(&open.root, &open.header, open.generation, &entries)?;
        let used = std::mem::take(&mut open.used);
        let (files, state) = (self.files.clone(), self.state.clone());
        Ok((made, Write { files, sealed, entries, used, state, _turn: turn }))
    }
}

impl Write {
    /// Comes back when it is on the disk. It gets there, or fails, whether or not anybody waits.
    async fn durable(self) -> Result<(), SaveError> {
        scrub::beside(move || self.finish()).await.map_err(SaveError::Thread)?
    }

    fn unawaited(self) -> Result<(), SaveError> {
        let written = scrub::thread(move || {
            if let Err(fault) = self.finish() {
                tracing::warn!(%fault, "the last uses of keys are not kept");
            }
        });
        written.map(drop).map_err(SaveError::Thread)
    }

    fn finish(self) -> Result<(), SaveError> {
        let written = self.files.write(&self.sealed);
        // Locked meanwhile: the next unlock reads what was written.
        if let Some(open) = self.state.lock().unwrap_or_else(PoisonError::into_inner).open.as_mut() {
            match written {
                Ok(()) => open.become_of(self.entries),
                Err(_) => open.used |= self.used,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Home, add, lent, name},
        *,
    };
    use crate::{
        secret::Secret,
        vault::{Rollback, entry::tests::meta},
    };
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::Poll,
    };

    /// Polls once: far enough to wait.
    async fn begun<F: Future + Unpin>(work: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match Pin::new(&mut *work).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn with_key(home: &Home) -> Vault {
        let vault = home.create().await;
        add(&vault, "a", b"sk-one").await.unwrap();
        vault
    }

    /// A write in the middle: sealed, and not on the disk yet.
    async fn writing(vault: &Vault) -> Write {
        let turn = vault.writing.clone().lock_owned().await;
        vault.begin(turn, vault.now(), |_| Ok(())).unwrap().1
    }

    #[tokio::test]
    async fn what_becomes_of_a_key_while_the_vault_is_written_is_not_lost() {
        let home = Home::new();
        let vault = with_key(&home).await;
        let write = writing(&vault).await;
        let refused = vault.meta(&name("a")).unwrap().meta.fingerprint;
        vault.note_use(&name("a"), 1_700_000_060).unwrap();
        vault.quarantine(&name("a"), &refused, "no").unwrap();
        write.durable().await.unwrap();
        let known = vault.meta(&name("a")).unwrap();
        assert_eq!((known.meta.last_used, known.quarantine.is_some()), (Some(1_700_000_060), true));
        vault.flush().await.unwrap();
        assert_eq!(home.reopened().await.unwrap().meta(&name("a")).unwrap().meta.last_used, Some(1_700_000_060));
    }

    #[tokio::test]
    async fn loans_go_on_and_changes_wait_while_one_is_written() {
        let home = Home::new();
        let vault = with_key(&home).await;
        let write = writing(&vault).await;
        let mut adding = pin!(add(&vault, "b", b"sk-two"));
        assert!(begun(&mut adding).await.is_none());
        assert_eq!(lent(&vault, "a").unwrap(), b"sk-one");
        vault.note_use(&name("a"), 1_700_000_060).unwrap();
        vault.flush_unawaited().unwrap();
        assert_eq!(vault.list().unwrap().len(), 1, "told only when it is durable");
        write.durable().await.unwrap();
        adding.await.unwrap();
        assert_eq!(vault.list().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_lock_wipes_the_key_of_a_change_that_is_being_written_and_the_write_goes_on_from_sealed_bytes() {
        let home = Home::new();
        let vault = with_key(&home).await;
        let (since, kept) = vault.kept(Secret::copied(b"sk-two")).unwrap();
        let (turn, page) = (vault.writing.clone().lock_owned().await, kept.key.clone());
        let entry = kept.entry(meta("b", None));
        let add = |entries: &mut Entries| {
            entries.insert(name("b"), entry);
            Ok(())
        };
        let write = vault.begin(turn, since, add).unwrap().1;
        vault.lock();
        assert!(page.is_empty());
        write.durable().await.unwrap();
        vault.unlock(home.key(), Rollback::Refuse).await.unwrap();
        assert_eq!((lent(&vault, "a").unwrap(), lent(&vault, "b").unwrap()), (b"sk-one".into(), b"sk-two".into()));
    }

    #[tokio::test]
    async fn a_change_whose_caller_left_is_whole_and_one_met_by_a_lock_is_there_at_the_unlock() {
        let home = Home::new();
        let vault = with_key(&home).await;
        {
            let mut adding = pin!(add(&vault, "b", b"sk-two"));
            assert!(begun(&mut adding).await.is_none());
        }
        vault.lock();
        vault.unlock(home.key(), Rollback::Refuse).await.unwrap();
        assert_eq!(lent(&vault, "b").unwrap(), b"sk-two");
        add(&vault, "c", b"sk-three").await.unwrap();
        assert_eq!(home.reopened().await.unwrap().list().unwrap().len(), 3);
    }
}
