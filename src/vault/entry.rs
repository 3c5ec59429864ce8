//! One key in memory: what is known of it, and its bytes in a page of their own.
//! It must never hold a byte of a key anywhere else.

use crate::{
    model::{Fingerprint, KeyMeta, KeyName},
    recipe::Limits,
    secret::Secret,
    sys::{page::PageError, scrub},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::error::ChangeError;

/// The longest key, in bytes; recipes are stricter.
pub(super) const KEY_MAX: usize = 64 * 1024;

/// All keys, in the order of their names, so that equal vaults are equal plaintexts. A copy shares the pages.
pub(super) type Entries = BTreeMap<KeyName, Entry>;

/// One key. A copy shares its page.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) meta: KeyMeta,
    pub(super) key: Arc<Secret>,
    pub(super) quarantine: Option<Quarantine>,
    /// A decoy's SHA-256; of a key nobody keeps that.
    pub(super) trap: Option<Trap>,
}

/// What a decoy is known again by, wherever it is shown.
pub(super) type Trap = [u8; 32];

/// A key that its provider refused: not lent until it is lifted. Lives in memory only, locks outlasted: after a restart
/// the next mint finds it out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// Unix seconds.
    pub since: u64,
    /// For the operator; ours, never the provider's text.
    pub reason: String,
}

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// All that may be shown of it.
    #[serde(flatten)]
    pub meta: KeyMeta,
    /// Set when its provider refused it.
    pub quarantine: Option<Quarantine>,
    /// Whether it is a decoy: for those who set it, and in no list.
    #[serde(skip)]
    pub decoy: bool,
}

/// A key in a page of its own, of which no more is known than its fingerprint.
pub(super) struct Kept {
    pub(super) key: Arc<Secret>,
    fingerprint: Fingerprint,
}

impl Kept {
    pub(super) fn new(key: &[u8]) -> Result<Self, PageError> {
        Ok(Self { key: Arc::new(Secret::keep(key)?), fingerprint: fingerprint(key) })
    }

    /// The fingerprint is its own, whatever `meta` says.
    pub(super) fn entry(self, meta: KeyMeta) -> Entry {
        let trap = meta.decoy.then(|| self.key.expose(|key| Sha256::digest(key).into()));
        Entry { meta: KeyMeta { fingerprint: self.fingerprint, ..meta }, key: self.key, quarantine: None, trap }
    }
}

impl Entry {
    /// An entry with a page of its own; the fingerprint becomes that of `key`.
    pub(super) fn new(meta: KeyMeta, key: &[u8]) -> Result<Self, PageError> {
        Ok(Kept::new(key)?.entry(meta))
    }

    /// Its quarantine, for the time in which its name is not known.
    pub(super) fn quarantined(&self) -> Option<(Mark, Quarantine)> {
        Some((self.mark(), self.quarantine.clone()?))
    }

    pub(super) fn mark(&self) -> Mark {
        mark(&self.meta.name, &self.meta.fingerprint)
    }

    pub(super) fn listed(&self) -> Listed {
        let meta = KeyMeta { decoy: false, ..self.meta.clone() };
        Listed { meta, quarantine: self.quarantine.clone(), decoy: self.meta.decoy }
    }
}

/// What a key is known again by while its name is locked away.
pub(super) type Mark = [u8; 32];

/// Of the name too: the same bytes under another name may be good at another provider.
pub(super) fn mark(name: &KeyName, fingerprint: &Fingerprint) -> Mark {
    Sha256::digest(format!("{name}\0{}", fingerprint.0)).into()
}

/// The first 16 hex digits of the key's SHA-256: 64 bits, too few to find a random key by, enough to tell two apart.
pub fn fingerprint(key: &[u8]) -> Fingerprint {
    told(&scrub::apart(|| Sha256::digest(key)))
}

/// The same of a SHA-256.
pub(super) fn told(hash: &[u8]) -> Fingerprint {
    Fingerprint(hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a provider still has room for this key. A key without an account or workspace is in the one called
/// `default`, whichever the provider means by that.
pub(super) fn room_for(meta: &KeyMeta, entries: &Entries, limits: Limits) -> Result<(), ChangeError> {
    if meta.decoy {
        return Ok(());
    }
    let (provider, account, workspace) = seat(meta);
    let mut workspaces = BTreeSet::new();
    let mut keys = 0;
    // No provider knows of a decoy.
    for entry in entries.values().filter(|entry| !entry.meta.decoy) {
        let (its_provider, its_account, its_workspace) = seat(&entry.meta);
        if (its_provider, its_account) == (provider, account) {
            workspaces.insert(its_workspace);
            keys += usize::from(its_workspace == workspace);
        }
    }
    let (provider, account) = (provider.to_owned(), account.to_owned());
    if keys >= limits.keys_per_workspace {
        let (workspace, limit) = (workspace.to_owned(), limits.keys_per_workspace);
        return Err(ChangeError::KeysFull { provider, account, workspace, limit });
    }
    if !workspaces.contains(workspace) && workspaces.len() >= limits.workspaces_per_account {
        return Err(ChangeError::WorkspacesFull { provider, account, limit: limits.workspaces_per_account });
    }
    Ok(())
}

fn seat(meta: &KeyMeta) -> (&str, &str, &str) {
    fn named(name: &Option<String>) -> &str {
        name.as_deref().unwrap_or("default")
    }
    (&meta.provider, named(&meta.place.account), named(&meta.place.workspace))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Place;

    pub(in crate::vault) fn meta(name: &str, workspace: Option<&str>) -> KeyMeta {
        KeyMeta {
            name: name.parse().unwrap(),
            provider: "dashscope".into(),
            place: Place { workspace: workspace.map(Into::into), ..Place::default() },
            owner: None,
            created: 0,
            rotated: None,
            last_used: None,
            fingerprint: Fingerprint(String::new()),
            set: BTreeMap::new(),
            decoy: false,
        }
    }

    fn entries(metas: impl IntoIterator<Item = KeyMeta>) -> Entries {
        metas.into_iter().map(|meta| (meta.name.clone(), Entry::new(meta, b"sk-1").unwrap())).collect()
    }

    const LIMITS: Limits = Limits { workspaces_per_account: 10, keys_per_workspace: 20 };

    #[test]
    fn the_21st_key_is_told_which_limit_it_meets() {
        let full = entries((0..20).map(|i| meta(&format!("dashscope/k{i}"), Some("ws-a"))));
        let told = room_for(&meta("dashscope/k20", Some("ws-a")), &full, LIMITS).unwrap_err();
        assert!(matches!(told, ChangeError::KeysFull { limit: 20, .. }));
        let text = told.to_string();
        assert!(text.contains("`ws-a`") && text.contains("20 keys") && text.contains("keys_per_workspace"), "{text}");
        assert!(room_for(&meta("dashscope/k20", Some("ws-b")), &full, LIMITS).is_ok());
        assert!(room_for(&meta("dashscope/k20", None), &full, LIMITS).is_ok());
        let raised = Limits { keys_per_workspace: 21, ..LIMITS };
        assert!(room_for(&meta("dashscope/k20", Some("ws-a")), &full, raised).is_ok());
        let elsewhere = KeyMeta { provider: "openai".into(), ..meta("openai/k", Some("ws-a")) };
        assert!(room_for(&elsewhere, &full, LIMITS).is_ok());
    }

    #[test]
    fn the_11th_workspace_is_told_which_limit_it_meets() {
        let full = entries((0..10).map(|i| meta(&format!("dashscope/k{i}"), Some(&format!("ws-{i}")))));
        let told = room_for(&meta("dashscope/next", Some("ws-10")), &full, LIMITS).unwrap_err();
        assert!(matches!(told, ChangeError::WorkspacesFull { limit: 10, .. }));
        assert!(told.to_string().contains("workspaces_per_account"));
        assert!(room_for(&meta("dashscope/next", Some("ws-9")), &full, LIMITS).is_ok());
        let mut other = meta("dashscope/next", Some("ws-10"));
        other.place.account = Some("second".into());
        assert!(room_for(&other, &full, LIMITS).is_ok());
    }

    #[test]
    fn a_fingerprint_is_sixteen_digits_of_the_hash() {
        // sha256("abc"), FIPS 180-4.
        assert_eq!(fingerprint(b"abc").0, "ba7816bf8f01cfea");
    }
}
