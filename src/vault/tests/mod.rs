//! The vault as its users see it: loans, locks, limits and passphrases; what is on the disk is in `disk`.

use super::{derive::tests::CHEAP, entry::tests::meta, *};
use crate::{
    clock::Winder,
    model::{Kind, Principal, Request, Scope, Ttl},
    policy::{Bearer, Detach, Rule, Rules, TtlRange, judge},
};
use std::{fs, time::Duration};
use tempfile::TempDir;

mod disk;
mod lock;

const LIMITS: Limits = Limits { workspaces_per_account: 10, keys_per_workspace: 20 };

pub(super) struct Home {
    dir: TempDir,
    clock: Clock,
    winder: Winder,
}

impl Home {
    pub(super) fn new() -> Self {
        let (clock, winder) = Clock::manual(1_700_000_000);
        let home = Self { dir: tempfile::tempdir().unwrap(), clock, winder };
        create_key_file(&home.path("key")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn key(&self) -> UnlockWith {
        UnlockWith::KeyFile(self.path("key"))
    }

    pub(super) async fn create(&self) -> Vault {
        Vault::create(self.path("vault.sealed"), self.clock.clone(), self.key(), Cost::default()).await.unwrap()
    }

    fn open(&self) -> Result<Vault, OpenError> {
        Vault::open(self.path("vault.sealed"), self.clock.clone())
    }

    /// What a fresh process finds.
    pub(super) async fn reopened(&self) -> Result<Vault, UnlockError> {
        let vault = self.open()?;
        vault.unlock(self.key(), Rollback::Refuse).await?;
        Ok(vault)
    }

    fn files(&self) -> (Vec<u8>, Vec<u8>) {
        (fs::read(self.path("vault.sealed")).unwrap(), fs::read(self.path("vault.head")).unwrap())
    }
}

pub(super) fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn permit(key: &str) -> Permit {
    let rule = Rule {
        name: "all".into(),
        peer: vec![],
        keys: vec!["**".parse().unwrap()],
        kinds: vec![Kind::Upstream],
        ttl: TtlRange { default: Ttl::DEFAULT, max: Ttl::DEFAULT },
        uses: None,
        rate: None,
        scope: Scope::default(),
        share: None,
        detach: Detach::Refused,
        risky: Default::default(),
        bearer: Bearer::NotEnough,
        recipients: Vec::new(),
        theft: Default::default(),
        approve: Default::default(),
        budget: Default::default(),
    };
    let principal = Principal {
        uid: 1,
        gid: 1,
        pid: 7,
        unit: None,
        cgroup: None,
        exe: None,
        exe_sha256: None,
        pid_ns: None,
        socket: "broker",
    };
    let request: Request = serde_json::from_str(&format!(r#"{{"key":"{key}"}}"#)).unwrap();
    judge(&Rules(vec![rule]), &principal, &request, crate::clock::Boottime::from_nanos(1)).ok().unwrap()
}

pub(super) async fn add(vault: &Vault, key: &str, bytes: &[u8]) -> Result<(), ChangeError> {
    vault.put(meta(key, None), Secret::copied(bytes), LIMITS).await.map(drop)
}

pub(super) fn lent(vault: &Vault, key: &str) -> Result<Vec<u8>, LendError> {
    vault.lend(&permit(key), <[u8]>::to_vec)
}

fn passphrase(words: &str) -> UnlockWith {
    UnlockWith::Passphrase(Secret::copied(words.as_bytes()))
}

#[tokio::test]
async fn a_key_comes_back_after_a_restart() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "dashscope/main", b"sk-one").await.unwrap();
    let before = vault.list().unwrap();
    let vault = home.reopened().await.unwrap();
    assert_eq!(vault.list().unwrap(), before);
    assert_eq!(lent(&vault, "dashscope/main").unwrap(), b"sk-one");
    assert_eq!(vault.lend_length(&permit("dashscope/main")), Ok(6));
    assert_eq!((before[0].meta.created, &before[0].meta.fingerprint), (1_700_000_000, &fingerprint(b"sk-one")));
    assert_eq!(lent(&vault, "dashscope/other"), Err(LendError::Unknown(name("dashscope/other"))));
}

#[tokio::test]
async fn lock_wipes_and_unlock_brings_all_back() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let page = Arc::clone(&vault.state().open.as_ref().unwrap().entries[&name("a")].key);
    vault.lock();
    assert!(vault.is_locked() && page.is_empty() && vault.generation().is_none());
    assert_eq!(vault.list(), Err(LendError::Locked));
    assert_eq!(lent(&vault, "a"), Err(LendError::Locked));
    assert!(matches!(add(&vault, "b", b"sk-two").await, Err(ChangeError::Lend(LendError::Locked))));
    vault.unlock(home.key(), Rollback::Refuse).await.unwrap();
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-one");
}

#[tokio::test]
async fn lock_waits_for_a_loan_and_no_loan_begins_after_it() {
    let home = Home::new();
    let vault = Arc::new(home.create().await);
    add(&vault, "a", b"sk-one").await.unwrap();
    let other = Arc::clone(&vault);
    let (locking, locked) = vault
        .lend(&permit("a"), |bytes| {
            let locking = std::thread::spawn(move || other.lock());
            while !vault.is_locked() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(bytes, b"sk-one", "wiped under a loan");
            (locking, lent(&vault, "a"))
        })
        .unwrap();
    assert_eq!(locked, Err(LendError::Locked));
    locking.join().unwrap();
    assert_eq!(lent(&vault, "a"), Err(LendError::Locked));
}

#[tokio::test]
async fn a_key_is_rotated_under_running_loans() {
    let home = Home::new();
    let vault = Arc::new(home.create().await);
    add(&vault, "a", b"sk-0000").await.unwrap();
    let rotate = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(vault.rotate(&name("a"), Secret::copied(b"sk-0001")))
    };
    vault
        .lend(&permit("a"), |old| {
            std::thread::scope(|scope| scope.spawn(rotate).join()).unwrap().unwrap();
            assert_eq!(old, b"sk-0000");
        })
        .unwrap();
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-0001");
    let reader = Arc::clone(&vault);
    let reading = std::thread::spawn(move || {
        let mut last = Vec::new();
        while last != b"sk-0020" {
            let next = lent(&reader, "a").expect("no loan fails under a rotation");
            assert!(next >= last, "an old key came back");
            last = next;
        }
    });
    for i in 2..=20 {
        vault.rotate(&name("a"), Secret::copied(format!("sk-{i:04}").as_bytes())).await.unwrap();
    }
    reading.join().unwrap();
    assert_eq!(vault.meta(&name("a")).unwrap().meta.rotated, Some(1_700_000_000));
    assert_eq!(lent(&home.reopened().await.unwrap(), "a").unwrap(), b"sk-0020");
}

#[tokio::test]
async fn a_refused_key_is_not_lent_until_it_is_rotated_or_lifted() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let refused = vault.meta(&name("a")).unwrap().meta.fingerprint;
    vault.quarantine(&name("a"), &refused, "the provider says that it is no key").unwrap();
    assert_eq!(lent(&vault, "a"), Err(LendError::Quarantined(name("a"))));
    assert_eq!(vault.list().unwrap()[0].quarantine.as_ref().unwrap().since, 1_700_000_000);
    vault.lift(&name("a")).unwrap();
    assert!(lent(&vault, "a").is_ok());
    vault.quarantine(&name("a"), &refused, "again").unwrap();
    vault.rotate(&name("a"), Secret::copied(b"sk-two")).await.unwrap();
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-two");
    vault.quarantine(&name("a"), &refused, "late news of the old key").unwrap();
    assert!(lent(&vault, "a").is_ok(), "the new key paid for the old one");
}

#[tokio::test]
async fn a_quarantine_outlasts_a_lock_for_that_very_key_alone() {
    let home = Home::new();
    let vault = home.create().await;
    for twin in ["a", "b", "c"] {
        add(&vault, twin, b"sk-one").await.unwrap();
    }
    let refused = vault.meta(&name("a")).unwrap().meta.fingerprint;
    vault.quarantine(&name("a"), &refused, "the provider says that it is no key").unwrap();
    vault.lock();
    // News that come while it is locked: of a test that was under way, say.
    vault.quarantine(&name("c"), &refused, "the provider says that it is no key").unwrap();
    vault.unlock(home.key(), Rollback::Refuse).await.unwrap();
    assert_eq!(lent(&vault, "a"), Err(LendError::Quarantined(name("a"))));
    assert!(lent(&vault, "b").is_ok(), "the same bytes under another name");
    assert_eq!(lent(&vault, "c"), Err(LendError::Quarantined(name("c"))));
}

#[tokio::test]
async fn a_removed_key_is_gone_and_its_page_wiped() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let page = Arc::downgrade(&vault.state().open.as_ref().unwrap().entries[&name("a")].key);
    vault.remove(&name("a")).await.unwrap();
    assert!(page.upgrade().is_none(), "somebody holds on to a removed key");
    assert_eq!(lent(&vault, "a"), Err(LendError::Unknown(name("a"))));
    assert!(matches!(vault.remove(&name("a")).await, Err(ChangeError::Lend(LendError::Unknown(_)))));
    assert!(home.reopened().await.unwrap().list().unwrap().is_empty());
}

#[tokio::test]
async fn what_can_be_no_key_is_refused_and_changes_nothing() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let before = home.files();
    assert!(matches!(add(&vault, "a", b"sk-two").await, Err(ChangeError::Exists(_))));
    assert!(matches!(add(&vault, "b", b"").await, Err(ChangeError::Length { found: 0, .. })));
    assert!(matches!(add(&vault, "b", &[b'x'; KEY_MAX + 1]).await, Err(ChangeError::Length { .. })));
    assert!(matches!(vault.rotate(&name("a"), Secret::copied(b"")).await, Err(ChangeError::Length { .. })));
    let none = Limits { keys_per_workspace: 1, ..LIMITS };
    let full = vault.put(meta("b", None), Secret::copied(b"sk-two"), none).await;
    assert!(matches!(full, Err(ChangeError::KeysFull { limit: 1, .. })));
    assert!(home.files() == before);
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-one");
}

#[tokio::test]
async fn wrong_passphrases_are_heard_ever_more_slowly() {
    let home = Home::new();
    let path = home.path("vault.sealed");
    let vault = Vault::create(path, home.clock.clone(), passphrase("right"), CHEAP).await.unwrap();
    add(&vault, "a", b"sk-one").await.unwrap();
    vault.lock();
    for millis in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
        let wrong = vault.unlock(passphrase("wrong"), Rollback::Refuse).await;
        assert!(matches!(wrong, Err(UnlockError::WrongPassphrase)));
        home.winder.advance(Duration::from_millis(millis - 1));
        let soon = vault.unlock(passphrase("right"), Rollback::Refuse).await;
        assert!(matches!(soon, Err(UnlockError::Wait { seconds: 1 })), "{millis}");
        home.winder.advance(Duration::from_millis(1));
    }
    vault.unlock(passphrase("right"), Rollback::Refuse).await.unwrap();
    vault.lock();
    let wrong = vault.unlock(passphrase("wrong"), Rollback::Refuse).await;
    assert!(matches!(wrong, Err(UnlockError::WrongPassphrase)));
    home.winder.advance(Duration::from_millis(250));
    vault.unlock(passphrase("right"), Rollback::Refuse).await.unwrap();
    assert_eq!(lent(&vault, "a").unwrap(), b"sk-one");
}

#[tokio::test]
async fn the_right_passphrase_and_damage_are_told_apart() {
    let home = Home::new();
    let path = home.path("vault.sealed");
    drop(Vault::create(path.clone(), home.clock.clone(), passphrase("right"), CHEAP).await.unwrap());
    let mut file = fs::read(&path).unwrap();
    *file.last_mut().unwrap() ^= 1;
    fs::write(&path, &file).unwrap();
    let vault = home.open().unwrap();
    assert_eq!(vault.means().unwrap(), Means::Passphrase);
    let damaged = vault.unlock(passphrase("right"), Rollback::Refuse).await;
    assert!(matches!(damaged, Err(UnlockError::Damaged)));
    let wrong = vault.unlock(passphrase("wrong"), Rollback::Refuse).await;
    assert!(matches!(wrong, Err(UnlockError::WrongPassphrase)), "damage behind the right one counts no guess");
}

#[tokio::test]
async fn another_key_file_opens_nothing() {
    let home = Home::new();
    drop(home.create().await);
    create_key_file(&home.path("other")).unwrap();
    let vault = home.open().unwrap();
    let wrong = vault.unlock(UnlockWith::KeyFile(home.path("other")), Rollback::Refuse).await;
    assert!(matches!(wrong, Err(UnlockError::WrongKey)));
    let words = vault.unlock(passphrase("words"), Rollback::Refuse).await;
    assert!(matches!(words, Err(UnlockError::Means { needs: Means::Key })));
}

#[tokio::test]
async fn the_vault_may_be_shared_by_tasks_and_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn sent<T: Send>(work: T) -> T {
        work
    }
    let home = Home::new();
    let made = Vault::create(home.path("vault.sealed"), home.clock.clone(), home.key(), CHEAP);
    let vault = Arc::new(sent(made).await.unwrap());
    shared(&vault);
    sent(vault.unlock(home.key(), Rollback::Refuse)).await.unwrap();
}
