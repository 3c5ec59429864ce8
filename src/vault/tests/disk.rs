//! What lies on the disk: failed writes, kills, rollbacks, modes, and the manual's test vector.

use super::{
    super::{entry::Entries, header::Header, *},
    CHEAP, Home, add, lent, meta, name,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

#[tokio::test]
async fn a_failed_write_leaves_all_as_it_was() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let before = home.files();
    // A directory in the new file's place: it can be neither opened nor unlinked, by root neither.
    fs::create_dir(home.path("vault.sealed.new")).unwrap();
    assert!(matches!(add(&vault, "b", b"sk-two").await, Err(ChangeError::Save(SaveError::File(_)))));
    assert!(vault.rotate(&name("a"), Secret::copied(b"sk-three")).await.is_err());
    assert!(vault.remove(&name("a")).await.is_err());
    assert_eq!((vault.list().unwrap().len(), lent(&vault, "a").unwrap()), (1, b"sk-one".to_vec()));
    assert!(home.files() == before);
    fs::remove_dir(home.path("vault.sealed.new")).unwrap();
    add(&vault, "b", b"sk-two").await.unwrap();
    assert_eq!(home.reopened().await.unwrap().list().unwrap().len(), 2);
}

#[tokio::test]
async fn killed_at_any_point_the_old_or_the_new_vault_opens() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let (old, old_head) = home.files();
    add(&vault, "b", b"sk-two").await.unwrap();
    let (new, new_head) = home.files();
    // What a kill leaves: a piece of the new file beside the old, the new one without its head, a piece of a head.
    for piece in [0, 1, new.len() / 2, new.len()] {
        fs::write(home.path("vault.sealed"), &old).unwrap();
        fs::write(home.path("vault.head"), &old_head).unwrap();
        fs::write(home.path("vault.sealed.new"), &new[..piece]).unwrap();
        assert_eq!(home.reopened().await.unwrap().list().unwrap().len(), 1, "{piece}");
    }
    for piece in [0, 20, new_head.len()] {
        fs::write(home.path("vault.sealed"), &new).unwrap();
        fs::write(home.path("vault.head"), &old_head).unwrap();
        fs::write(home.path("vault.head.new"), &new_head[..piece]).unwrap();
        let vault = home.reopened().await.unwrap();
        assert_eq!(vault.list().unwrap().len(), 2, "{piece}");
        assert!(fs::read(home.path("vault.head")).unwrap() == new_head, "the head heals");
    }
    add(&home.reopened().await.unwrap(), "c", b"sk-three").await.unwrap();
    assert_eq!(home.reopened().await.unwrap().list().unwrap().len(), 3);
}

#[tokio::test]
async fn killed_between_the_first_vault_and_its_head_it_opens() {
    let home = Home::new();
    drop(home.create().await);
    fs::remove_file(home.path("vault.head")).unwrap();
    assert_eq!(home.reopened().await.unwrap().generation(), Some(1));
    assert!(home.path("vault.head").exists());
}

#[tokio::test]
async fn an_older_vault_in_the_place_of_the_newest_is_noticed() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let (old, _) = home.files();
    vault.remove(&name("a")).await.unwrap();
    drop(vault);
    fs::write(home.path("vault.sealed"), &old).unwrap();
    let vault = home.open().unwrap();
    let refused = vault.unlock(home.key(), Rollback::Refuse).await;
    assert!(matches!(refused, Err(UnlockError::RolledBack { found: 2, expected: 3 })));
    assert!(vault.is_locked());
    vault.unlock(home.key(), Rollback::Accept).await.unwrap();
    assert_eq!(vault.generation(), Some(4), "accepted above all numbers that are known");
    assert_eq!(lent(&home.reopened().await.unwrap(), "a").unwrap(), b"sk-one");
}

#[tokio::test]
async fn a_missing_or_foreign_head_is_noticed() {
    let (home, other) = (Home::new(), Home::new());
    add(&home.create().await, "a", b"sk-one").await.unwrap();
    add(&other.create().await, "a", b"sk-one").await.unwrap();
    fs::write(home.path("vault.head"), other.files().1).unwrap();
    fs::set_permissions(home.path("vault.head"), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(matches!(home.reopened().await, Err(UnlockError::HeadLost { found: 2 })));
    fs::remove_file(home.path("vault.head")).unwrap();
    assert!(matches!(home.reopened().await, Err(UnlockError::HeadLost { found: 2 })));
    home.open().unwrap().unlock(home.key(), Rollback::Accept).await.unwrap();
    assert_eq!(home.reopened().await.unwrap().generation(), Some(3));
}

#[tokio::test]
async fn a_lost_vault_is_told_from_none_and_neither_is_made_anew() {
    let home = Home::new();
    assert!(matches!(home.open(), Err(OpenError::Missing { .. })));
    drop(home.create().await);
    fs::remove_file(home.path("vault.sealed")).unwrap();
    assert!(matches!(home.open(), Err(OpenError::Lost { .. })));
    let again = Vault::create(home.path("vault.sealed"), home.clock.clone(), home.key(), CHEAP).await;
    assert!(matches!(again, Err(UnlockError::Open(OpenError::Exists { .. }))));
}

#[tokio::test]
async fn a_vault_that_others_may_read_is_not_opened() {
    let home = Home::new();
    drop(home.create().await);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home.path("vault.sealed")), mode(&home.path("vault.head"))), (0o600, 0o600));
    fs::set_permissions(home.path("vault.sealed"), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(home.open(), Err(OpenError::File(_))));
}

#[tokio::test]
async fn a_noted_use_is_written_by_flush_and_only_then() {
    let home = Home::new();
    let vault = home.create().await;
    add(&vault, "a", b"sk-one").await.unwrap();
    let before = home.files();
    vault.flush().await.unwrap();
    vault.note_use(&name("a"), 1_700_000_060).unwrap();
    assert!(home.files() == before);
    vault.flush().await.unwrap();
    let listed = home.reopened().await.unwrap().meta(&name("a")).unwrap();
    assert_eq!(listed.meta.last_used, Some(1_700_000_060));
}

#[test]
fn the_manuals_test_vector_is_what_the_program_writes() {
    let manual = include_str!("../../manual/vault-format.md");
    let (_, vector) = manual.split_once("<!-- vector -->").unwrap();
    let told = |label: &str| -> Vec<u8> {
        let (_, text) = vector.split_once(&format!("{label}:\n```text\n")).unwrap();
        let hex: String = text.split_once("```").unwrap().0.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let root = derive::tests::root_of_key(&told("key file"), &told("salt").try_into().unwrap());
    assert_eq!(root.expose(<[u8]>::to_vec), told("root key"));
    let header = Header {
        kdf: header::Kdf::Hkdf,
        salt: told("salt").try_into().unwrap(),
        check: seal::check_value(&root).unwrap(),
        nonce: told("nonce").try_into().unwrap(),
    };
    let main = KeyMeta { created: 1_744_080_369, ..meta("dashscope/main", Some("ws-1")) };
    let entry = Entry::new(main, b"sk-0123456789abcdef").unwrap();
    let entries = Entries::from([(entry.meta.name.clone(), entry)]);
    let file = seal::seal(&root, &header, 2, &entries).unwrap();
    let shown: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(file, told("vault.sealed"), "{shown}");
    assert_eq!(seal::unseal(&root, &file).unwrap().generation, 2);
    assert_eq!(head::written(&root, 2).unwrap(), told("vault.head"));
}
