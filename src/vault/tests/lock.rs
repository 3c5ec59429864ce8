//! A lock in the middle of whatever takes time: it wins, and no page outlives it.

use super::{super::*, CHEAP, Home, LIMITS, add, lent, meta, passphrase};
use std::{fs, future::Future, pin::pin, sync::Weak, task::Poll};

/// Drives `work` and locks the vault where it has waited for the `nth` time, if it waits so often. What came of it.
async fn locked_at<T>(vault: &Vault, nth: usize, work: impl Future<Output = T>) -> (T, bool) {
    let (mut work, mut waits) = (pin!(work), 0);
    let done = std::future::poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        waits += 1;
        if polled.is_pending() && waits == nth {
            let pages = vault.state().pages.clone();
            vault.lock();
            let alive = |page: &Weak<Secret>| page.upgrade().is_some_and(|page| !page.is_empty());
            assert!(!pages.iter().any(alive), "a page is alive after the lock of wait {nth}");
        }
        polled
    });
    let done = done.await;
    (done, waits > nth)
}

/// A vault whose head lags behind, as a crash leaves it: the unlock writes, too.
async fn crashed(home: &Home, with: UnlockWith) -> Vault {
    let made = Vault::create(home.path("vault.sealed"), home.clock.clone(), with, CHEAP).await.unwrap();
    let head = fs::read(home.path("vault.head")).unwrap();
    add(&made, "a", b"sk-one").await.unwrap();
    fs::write(home.path("vault.head"), head).unwrap();
    home.open().unwrap()
}

#[tokio::test]
async fn a_lock_wins_over_an_unlock_wherever_that_is() {
    for with in [|_: &Home| passphrase("right"), Home::key] {
        // For the header, its key, the files and the head. A thread that is quick is not waited for: then once more.
        for nth in 1..=4 {
            let mut tries = 0..100;
            while tries.next().is_some() && !wins(with, nth).await {}
            assert!(!tries.is_empty(), "it never waited for the {nth}th time");
        }
    }
}

/// Whether the unlock waited so often; if so, the lock won.
async fn wins(with: fn(&Home) -> UnlockWith, nth: usize) -> bool {
    let home = Home::new();
    let vault = crashed(&home, with(&home)).await;
    let (opened, locked) = locked_at(&vault, nth, vault.unlock(with(&home), Rollback::Refuse)).await;
    if locked {
        assert!(matches!(opened, Err(UnlockError::Overtaken)), "{nth}: {opened:?}");
        assert!(vault.is_locked(), "{nth}");
        home.winder.advance(std::time::Duration::from_secs(10));
        vault.unlock(with(&home), Rollback::Refuse).await.unwrap();
    } else {
        opened.unwrap();
    }
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-one");
    locked
}

#[tokio::test]
async fn a_change_that_waits_for_its_turn_comes_to_nothing_though_the_vault_is_open_again() {
    let home = Home::new();
    let vault = home.create().await;
    let turn = vault.writing.clone().lock_owned().await;
    let mut adding = pin!(locked_at(&vault, 1, vault.put(meta("b", None), Secret::copied(b"sk-two"), LIMITS)));
    let mut unlocking = pin!(vault.unlock(home.key(), Rollback::Refuse));
    std::future::poll_fn(|context| {
        assert!(adding.as_mut().poll(context).is_pending() && unlocking.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(turn);
    let (added, unlocked) = tokio::join!(adding, unlocking);
    unlocked.unwrap();
    assert!(matches!(added, (Err(ChangeError::Lend(LendError::Locked)), true)), "{added:?}");
    assert!(vault.list().unwrap().is_empty());
}
