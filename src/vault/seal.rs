//! Keys in memory to a sealed file and back; the layout is in `src/manual/vault-format.md`.
//! It must never hold a key's bytes outside a page: both ways work in place, in one.

use super::{
    derive::subkey,
    entry::{Entries, Entry},
    error::SaveError,
    header::{self, Header},
};
use crate::{
    model::KeyMeta,
    secret::Secret,
    sys::page::{Page, PageError},
};
use chacha20poly1305::{
    Tag, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, KeyInit},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The largest file, in bytes.
pub(super) const FILE_MAX: usize = 4 * 1024 * 1024;
const TAG: usize = 16;

/// What a vault file says.
pub(super) struct Contents {
    /// Counts the writes, beginning with 1.
    pub(super) generation: u64,
    pub(super) entries: Entries,
}

/// Why a file says nothing.
#[derive(Debug)]
pub(super) enum UnsealError {
    /// No header of ours.
    Header,
    /// The header's check value is not this key's.
    Key,
    /// The right key, but not what it sealed.
    Damaged,
    Page(PageError),
}

impl From<PageError> for UnsealError {
    fn from(fault: PageError) -> Self {
        Self::Page(fault)
    }
}

/// The metadata's JSON. The keys' bytes come after it, in the same order: serde never sees one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<Meta> {
    generation: u64,
    keys: Vec<Row<Meta>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<Meta> {
    length: usize,
    meta: Meta,
}

/// The value in the header that tells whether a root key is the vault's. `None` when the key was wiped.
pub(super) fn check_value(root: &Secret) -> Option<[u8; 16]> {
    subkey(root, "sixty vault v1 check", b"")?.first_chunk().copied()
}

/// The whole file for these keys.
pub(super) fn seal(root: &Secret, header: &Header, generation: u64, entries: &Entries) -> Result<Vec<u8>, SaveError> {
    if entries.values().any(|entry| entry.key.is_empty()) {
        return Err(SaveError::Gone);
    }
    let json = body(generation, entries)?;
    let length = 4 + json.len() + entries.values().map(|entry| entry.key.len()).sum::<usize>();
    if header::LEN + length + TAG > FILE_MAX {
        return Err(SaveError::TooLarge { max: FILE_MAX });
    }
    let cipher = cipher(root).ok_or(SaveError::Gone)?;
    let (head, mut file) = (header.bytes(), Vec::with_capacity(header::LEN + length + TAG));
    file.extend_from_slice(&head);
    let mut whole = false;
    Page::new(length)?.fill(|room| {
        let sealed = lay_out(room, &json, entries)
            .and_then(|()| cipher.encrypt_inout_detached(&XNonce::from(header.nonce), &head, (&mut *room).into()).ok());
        if let Some(tag) = sealed {
            file.extend_from_slice(room);
            file.extend_from_slice(&tag);
            whole = true;
        }
        0
    })?;
    if whole { Ok(file) } else { Err(SaveError::Gone) }
}

/// Reads a whole file with this root key.
pub(super) fn unseal(root: &Secret, file: &[u8]) -> Result<Contents, UnsealError> {
    let header = Header::read(file).map_err(|_| UnsealError::Header)?;
    let check = check_value(root).ok_or(UnsealError::Key)?;
    if !bool::from(check.ct_eq(&header.check)) {
        return Err(UnsealError::Key);
    }
    let (head, sealed) = file.split_at(header::LEN);
    let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(UnsealError::Damaged)?;
    let cipher = cipher(root).ok_or(UnsealError::Key)?;
    let page = Page::new(sealed.len())?;
    let (nonce, tag) = (XNonce::from(header.nonce), Tag::from(*tag));
    page.fill(|room| {
        room.copy_from_slice(sealed);
        cipher.decrypt_inout_detached(&nonce, head, (&mut *room).into(), &tag).map_or(0, |()| room.len())
    })?;
    page.expose(contents)
}

fn cipher(root: &Secret) -> Option<XChaCha20Poly1305> {
    let key = subkey(root, "sixty vault v1 seal", b"")?;
    XChaCha20Poly1305::new_from_slice(&key).ok()
}

fn body(generation: u64, entries: &Entries) -> Result<Vec<u8>, SaveError> {
    let keys = entries.values().map(|entry| Row { length: entry.key.len(), meta: &entry.meta }).collect();
    // Plain data with text keys: JSON can hold it all.
    serde_json::to_vec(&Body { generation, keys }).map_err(|_| SaveError::Gone)
}

/// Length, JSON, keys. `None` when a key no longer has the length it was measured with.
fn lay_out(room: &mut [u8], json: &[u8], entries: &Entries) -> Option<()> {
    let (length, room) = room.split_at_mut_checked(4)?;
    length.copy_from_slice(&u32::try_from(json.len()).ok()?.to_le_bytes());
    let (text, mut room) = room.split_at_mut_checked(json.len())?;
    text.copy_from_slice(json);
    for entry in entries.values() {
        room = entry.key.expose(|key| {
            let (place, rest) = room.split_at_mut_checked(key.len())?;
            place.copy_from_slice(key);
            Some(rest)
        })?;
    }
    room.is_empty().then_some(())
}

fn contents(plain: &[u8]) -> Result<Contents, UnsealError> {
    let (length, rest) = plain.split_first_chunk().ok_or(UnsealError::Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| UnsealError::Damaged)?;
    let (json, mut keys) = rest.split_at_checked(length).ok_or(UnsealError::Damaged)?;
    let body: Body<KeyMeta> = serde_json::from_slice(json).map_err(|_| UnsealError::Damaged)?;
    let mut entries = Entries::new();
    for row in body.keys {
        let (key, rest) = keys.split_at_checked(row.length).ok_or(UnsealError::Damaged)?;
        let entry = Entry::new(row.meta, key)?;
        if entries.insert(entry.meta.name.clone(), entry).is_some() {
            return Err(UnsealError::Damaged);
        }
        keys = rest;
    }
    if !keys.is_empty() {
        return Err(UnsealError::Damaged);
    }
    Ok(Contents { generation: body.generation, entries })
}

/// Reads a file's header, and the rest of it as if it had been opened.
#[cfg(fuzzing)]
pub fn fuzz(file: &[u8]) {
    let _ = Header::read(file);
    if let Some(plain) = file.get(header::LEN..) {
        let _ = contents(plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{entry::tests::meta, header::Kdf};

    fn root() -> Secret {
        Secret::copied(&[9; 32])
    }

    fn header() -> Header {
        Header { kdf: Kdf::Hkdf, salt: [1; 16], check: check_value(&root()).unwrap(), nonce: [3; 24] }
    }

    fn entries(keys: &[(&str, &[u8])]) -> Entries {
        keys.iter()
            .map(|(name, key)| (name.parse().unwrap(), Entry::new(meta(name, Some("ws-1")), key).unwrap()))
            .collect()
    }

    fn shown(contents: &Contents) -> Vec<(KeyMeta, Vec<u8>)> {
        contents.entries.values().map(|entry| (entry.meta.clone(), entry.key.expose(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn what_is_sealed_comes_back_to_the_byte() {
        let long = vec![0xff; 5000];
        let none: &[(&str, &[u8])] = &[];
        for keys in [none, &[("a", b"sk-one")], &[("a", b"\0\xff\n"), ("b/c", &long), ("d", b"x")]] {
            let before = Contents { generation: 7, entries: entries(keys) };
            let file = seal(&root(), &header(), 7, &before.entries).unwrap();
            let after = unseal(&root(), &file).unwrap();
            assert_eq!((after.generation, shown(&after)), (7, shown(&before)));
        }
    }

    #[test]
    fn neither_a_key_nor_a_name_is_readable_in_the_file() {
        let file = seal(&root(), &header(), 1, &entries(&[("dashscope/main", b"sk-0123456789")])).unwrap();
        for word in [&b"dashscope"[..], b"sk-0123", b"ws-1", b"generation"] {
            assert!(!file.windows(word.len()).any(|part| part == word));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let file = seal(&root(), &header(), 1, &entries(&[("a", b"sk-one")])).unwrap();
        for at in 0..file.len() {
            let mut bent = file.clone();
            bent[at] ^= 1 << (at % 8);
            assert!(unseal(&root(), &bent).is_err(), "byte {at}");
            assert!(unseal(&root(), &file[..at]).is_err(), "cut at {at}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(matches!(unseal(&root(), &longer), Err(UnsealError::Damaged)));
    }

    #[test]
    fn a_header_is_bound_to_what_it_opens() {
        let file = seal(&root(), &header(), 1, &entries(&[("a", b"sk-one")])).unwrap();
        let mut other = file.clone();
        // A header that is whole in itself, with another salt: only the seal can tell.
        other[..header::LEN].copy_from_slice(&Header { salt: [2; 16], ..header() }.bytes());
        assert!(matches!(unseal(&root(), &other), Err(UnsealError::Damaged)));
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let mut file = seal(&root(), &header(), 1, &entries(&[("a", b"sk-one")])).unwrap();
        assert!(matches!(unseal(&Secret::copied(&[8; 32]), &file), Err(UnsealError::Key)));
        file[header::LEN] ^= 1;
        assert!(matches!(unseal(&root(), &file), Err(UnsealError::Damaged)));
    }

    #[test]
    fn a_plaintext_that_lies_about_its_lengths_is_damaged() {
        let laid = |json: &str, keys: &[u8]| {
            let mut plain = u32::try_from(json.len()).unwrap().to_le_bytes().to_vec();
            plain.extend_from_slice(json.as_bytes());
            plain.extend_from_slice(keys);
            contents(&plain).is_ok()
        };
        let row = |name: &str, length: u64| {
            let meta = serde_json::to_string(&meta(name, None)).unwrap();
            format!(r#"{{"length":{length},"meta":{meta}}}"#)
        };
        let body = |rows: &[String]| format!(r#"{{"generation":1,"keys":[{}]}}"#, rows.join(","));
        assert!(laid(&body(&[row("a", 2), row("b", 1)]), b"abc"));
        assert!(!laid(&body(&[row("a", 2), row("b", 2)]), b"abc"), "too few bytes");
        assert!(!laid(&body(&[row("a", 2)]), b"abc"), "too many bytes");
        assert!(!laid(&body(&[row("a", u64::MAX), row("b", 4)]), b"abc"), "lengths that wrap");
        assert!(!laid(&body(&[row("a", 1), row("a", 2)]), b"abc"), "one name twice");
        assert!(!laid("{}", b""));
        for plain in [&b""[..], b"\0\0\0", b"\xff\xff\xff\xff", b"\x05\0\0\0{}"] {
            assert!(contents(plain).is_err());
        }
    }

    #[test]
    fn a_wiped_key_is_never_sealed_as_an_empty_one() {
        let entries = entries(&[("a", b"sk-one")]);
        let wiped = root();
        wiped.wipe();
        assert!(matches!(seal(&wiped, &header(), 1, &entries), Err(SaveError::Gone)));
        entries.values().for_each(|entry| entry.key.wipe());
        assert!(matches!(seal(&root(), &header(), 1, &entries), Err(SaveError::Gone)));
    }

    #[test]
    fn a_vault_too_big_to_be_read_again_is_not_written() {
        let long = vec![b'x'; 64 * 1024];
        let names: Vec<_> = (0..65).map(|i| format!("k{i}")).collect();
        let keys: Vec<_> = names.iter().map(|name| (name.as_str(), &long[..])).collect();
        assert!(matches!(seal(&root(), &header(), 1, &entries(&keys)), Err(SaveError::TooLarge { .. })));
    }
}
