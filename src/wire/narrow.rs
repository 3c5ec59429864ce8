//! Narrower keys: derived from a virtual key without asking anybody, by a chain of keyed hashes (HMAC-SHA-256) over what
//! each step takes away. The construction and its vectors are in the manual (`narrow`). Whoever has such a key can go on
//! narrowing it and cannot go back: each hash is the key of the next one and stands in the text alone.

use super::key::{self, PREFIX, Shape};
use crate::{
    model::{Mark, Narrowing, Node, NodeId, Object},
    secret::Secret,
    sys::scrub,
};
use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How large a narrower key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of its text.
    pub bytes: usize,
    /// How often it was narrowed.
    pub steps: usize,
}

impl Bounds {
    /// The most that any daemon can be told to take.
    pub const MOST: Self = Self { bytes: 8192, steps: 64 };
}

/// Why a text is no key to be narrowed, or cannot be narrowed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NarrowFault {
    /// It is none, or was cut.
    #[error("it is no virtual key, or it was cut or mistyped")]
    Damaged,
    /// It has more steps or bytes than the bounds.
    #[error("it was narrowed more often, or by more, than is allowed")]
    TooLarge,
}

/// A narrower key that was taken apart. Nothing of it is believed before it was verified.
pub struct Narrowed {
    mark: Mark,
    steps: Vec<Vec<u8>>,
    last: Hash,
}

/// One step of a key that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it takes away.
    pub narrowing: Narrowing,
    /// Its name.
    pub node: Node,
}

type Hash = Zeroizing<[u8; 32]>;
/// What the chain of one virtual key begins with: a secret, good for narrower keys alone.
pub type Seed = Zeroizing<[u8; 16]>;

const VERSION: u8 = 1;
const CHECK: usize = 6;

/// The seed of a virtual key.
pub fn seed(key: &[u8]) -> Seed {
    scrub::apart(|| {
        let hash =
            Zeroizing::new(<[u8; 32]>::from(Sha256::new_with_prefix(b"sixty seed 1\0").chain_update(key).finalize()));
        Zeroizing::new(std::array::from_fn(|at| hash[at]))
    })
}

/// The beginning of a digest.
pub fn mark(digest: &[u8; 32]) -> Mark {
    std::array::from_fn(|at| digest[at])
}

/// Derives a narrower key of a virtual key, or of one that was derived before.
///
/// # Errors
/// See [`NarrowFault`].
pub fn narrow(text: &[u8], by: &Narrowing) -> Result<(Secret, NodeId), NarrowFault> {
    let mut key = match key::shape(text) {
        Shape::Ours => {
            let mark = mark(&key::digest(text));
            Narrowed { mark, steps: Vec::new(), last: first(&seed(text), &mark) }
        }
        Shape::Narrowed => Narrowed::parse(text, &Bounds::MOST)?,
        Shape::Ticket | Shape::Damaged | Shape::Foreign => return Err(NarrowFault::Damaged),
    };
    let step = serde_json::to_vec(by).map_err(|_| NarrowFault::TooLarge)?;
    key.last = hashed(&*key.last, &step);
    key.steps.push(step);
    let id = NodeId { mark: key.mark, node: node(&key.last) };
    let text = key.text()?;
    match text.len() <= Bounds::MOST.bytes && key.steps.len() <= Bounds::MOST.steps {
        true => Ok((Secret::from(text), id)),
        false => Err(NarrowFault::TooLarge),
    }
}

impl Narrowed {
    /// Takes a text apart.
    ///
    /// # Errors
    /// See [`NarrowFault`].
    pub fn parse(text: &[u8], bounds: &Bounds) -> Result<Self, NarrowFault> {
        if text.len() > bounds.bytes {
            return Err(NarrowFault::TooLarge);
        }
        if key::shape(text) != Shape::Narrowed {
            return Err(NarrowFault::Damaged);
        }
        let body = unhexed(&text[PREFIX.len()..text.len() - CHECK]).ok_or(NarrowFault::Damaged)?;
        let key = Self::of(&body).ok_or(NarrowFault::Damaged)?;
        if key.steps.len() <= bounds.steps { Ok(key) } else { Err(NarrowFault::TooLarge) }
    }

    fn of(body: &[u8]) -> Option<Self> {
        let ([VERSION], rest) = body.split_first_chunk::<1>()? else { return None };
        let (mark, rest) = rest.split_first_chunk::<16>()?;
        let (mut rest, last) = rest.split_last_chunk::<32>()?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (step, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            steps.push(step.to_vec());
            rest = after;
        }
        (!steps.is_empty()).then(|| Self { mark: *mark, steps, last: Zeroizing::new(*last) })
    }

    fn text(&self) -> Result<Zeroizing<Vec<u8>>, NarrowFault> {
        let length = 1 + 16 + self.steps.iter().map(|step| 2 + step.len()).sum::<usize>() + 32;
        let mut body = Zeroizing::new(Vec::with_capacity(length));
        body.push(VERSION);
        body.extend_from_slice(&self.mark);
        for step in &self.steps {
            let length = u16::try_from(step.len()).map_err(|_| NarrowFault::TooLarge)?;
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(step);
        }
        body.extend_from_slice(&*self.last);
        let mut text = Zeroizing::new(Vec::with_capacity(PREFIX.len() + 2 * length + CHECK));
        text.extend_from_slice(PREFIX);
        body.iter().for_each(|byte| text.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
        key::check(&mut text);
        Ok(text)
    }

    /// By what its virtual key is found.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether it was derived from the virtual key with this seed, and by what. None also where a step says what this
    /// version does not understand.
    pub fn verified(&self, seed: &Seed) -> Option<Vec<Link>> {
        scrub::apart(|| {
            let mut hash = first(seed, &self.mark);
            let mut nodes = Vec::with_capacity(self.steps.len());
            for step in &self.steps {
                hash = hashed(&*hash, step);
                nodes.push(node(&hash));
            }
            if !bool::from(hash.ct_eq(&*self.last)) {
                return None;
            }
            let link = |(step, node): (&Vec<u8>, Node)| {
                serde_json::from_slice(step).ok().map(|Object(narrowing)| Link { narrowing, node })
            };
            self.steps.iter().zip(nodes).map(link).collect()
        })
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn first(seed: &Seed, mark: &Mark) -> Hash {
    hashed(&**seed, &[b"sixty narrowed 1\0", &mark[..]].concat())
}

/// HMAC-SHA-256.
pub(crate) fn hashed(key: &[u8], message: &[u8]) -> Hash {
    // A key of any length is one.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else { return Zeroizing::new([0; 32]) };
    Zeroizing::new(mac.chain_update(message).finalize().into_bytes().into())
}

fn node(hash: &Hash) -> Node {
    let digest = <[u8; 32]>::from(Sha256::new_with_prefix(b"sixty node 1\0").chain_update(**hash).finalize());
    std::array::from_fn(|at| digest[at])
}

/// One way of writing each byte: small letters.
fn unhexed(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |letter: u8| HEX.iter().position(|hex| *hex == letter);
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::{Form, generate};
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn made() -> (Secret, Seed) {
        let (key, _) = generate(Form::Key).unwrap();
        let seed = key.expose(seed);
        (key, seed)
    }

    fn text(secret: &Secret) -> Vec<u8> {
        secret.expose(<[u8]>::to_vec)
    }

    fn uses(uses: u32) -> Narrowing {
        Narrowing { uses: NonZeroU32::new(uses), ..Narrowing::default() }
    }

    fn verified(text: &[u8], seed: &Seed) -> Option<Vec<Link>> {
        Narrowed::parse(text, &Bounds::MOST).ok()?.verified(seed)
    }

    /// With check digits that are right.
    fn rechecked(mut text: Vec<u8>) -> Vec<u8> {
        text.truncate(text.len() - CHECK);
        key::check(&mut text);
        text
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        key: String,
        seed: String,
        steps: Vec<String>,
        ids: Vec<String>,
        narrowed: String,
    }

    #[test]
    fn the_manuals_vectors_are_what_is_made() {
        let page = include_str!("../manual/narrow.md");
        let json = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let vectors: Vec<Vector> = serde_json::from_str(json).unwrap();
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            assert_eq!(key::shape(vector.key.as_bytes()), Shape::Ours);
            let seed = seed(vector.key.as_bytes());
            assert_eq!(seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), vector.seed);
            let mut key = Secret::copied(vector.key.as_bytes());
            for (step, id) in vector.steps.iter().zip(&vector.ids) {
                let (next, told) = narrow(&text(&key), &serde_json::from_str(step).unwrap()).unwrap();
                assert_eq!(told.to_string(), *id);
                key = next;
            }
            assert_eq!(String::from_utf8(text(&key)).unwrap(), vector.narrowed);
            let links = verified(vector.narrowed.as_bytes(), &seed).unwrap();
            assert!(links.iter().map(|link| serde_json::to_string(&link.narrowing).unwrap()).eq(vector.steps));
        }
    }

    #[test]
    fn a_key_is_narrowed_again_and_again_and_keeps_every_step() {
        let (key, seed) = made();
        let (mut last, mut ids) = (text(&key), Vec::new());
        for count in [9, 5, 7] {
            let (next, id) = narrow(&last, &uses(count)).unwrap();
            assert_eq!(key::shape(&text(&next)), Shape::Narrowed);
            (last, ids) = (text(&next), [ids, vec![id.node]].concat());
        }
        let links = verified(&last, &seed).unwrap();
        let told: Vec<_> = links.iter().map(|link| (link.narrowing.uses.unwrap().get(), link.node)).collect();
        assert_eq!(told, [(9, ids[0]), (5, ids[1]), (7, ids[2])]);
        assert_eq!(verified(&last, &made().1), None, "another virtual key's seed");
    }

    #[test]
    fn no_step_is_left_out_changed_or_put_elsewhere() {
        let (key, seed) = made();
        let once = text(&narrow(&text(&key), &uses(1)).unwrap().0);
        let twice = text(&narrow(&once, &uses(2)).unwrap().0);
        let (mark, one, two) = (&twice[8..40], &twice[40..64], &twice[64..88]);
        assert!(verified(&twice, &seed).is_some());
        let hash = |text: &[u8]| text[text.len() - CHECK - 64..].to_vec();
        for steps in [vec![one], vec![two], vec![two, one], vec![one, one], vec![one, two, two], vec![]] {
            for last in [hash(&once), hash(&twice)] {
                let forged = [b"sixty_01", mark, &steps.concat(), &last].concat();
                let forged = rechecked(forged);
                assert!(forged == once || verified(&forged, &seed).is_none(), "{}", steps.len());
            }
        }
    }

    #[test]
    fn what_is_too_long_too_deep_or_no_key_is_refused() {
        let (key, _) = made();
        let once = text(&narrow(&text(&key), &uses(1)).unwrap().0);
        let parsed = |bytes, steps| Narrowed::parse(&once, &Bounds { bytes, steps }).err();
        assert_eq!((parsed(once.len(), 1), parsed(once.len() - 1, 1)), (None, Some(NarrowFault::TooLarge)));
        let twice = text(&narrow(&once, &uses(1)).unwrap().0);
        assert_eq!(Narrowed::parse(&twice, &Bounds { bytes: 8192, steps: 1 }).err(), Some(NarrowFault::TooLarge));
        let deep = (0..64).try_fold(text(&key), |last, _| narrow(&last, &uses(1)).map(|next| text(&next.0))).unwrap();
        assert_eq!(narrow(&deep, &uses(1)).err(), Some(NarrowFault::TooLarge));
        let wide = Narrowing { providers: Some(vec!["x".repeat(5000)]), ..Narrowing::default() };
        assert_eq!(narrow(&text(&key), &wide).err(), Some(NarrowFault::TooLarge));
        let (ticket, _) = generate(Form::Ticket).unwrap();
        for bad in
            [text(&ticket), b"sk-0123456789".to_vec(), once[..once.len() - 1].to_vec(), text(&key)[..54].to_vec()]
        {
            assert_eq!(narrow(&bad, &uses(1)).err(), Some(NarrowFault::Damaged));
        }
        let capital = rechecked([PREFIX, &once.to_ascii_uppercase()[PREFIX.len()..]].concat());
        assert_eq!(Narrowed::parse(&capital, &Bounds::MOST).err(), Some(NarrowFault::Damaged), "one spelling");
    }

    #[test]
    fn a_step_that_nobody_understands_makes_the_key_good_for_nothing() {
        let (key, seed) = made();
        let first_hash = first(&seed, &mark(&key.expose(key::digest)));
        for (step, good) in [(&b"{}"[..], true), (b"{\"budget\":1}", false), (b"[]", false), (b"x", false)] {
            let forged = Narrowed {
                mark: mark(&key.expose(key::digest)),
                steps: vec![step.to_vec()],
                last: hashed(&*first_hash, step),
            };
            let text = forged.text().unwrap();
            assert_eq!(verified(&text, &seed).is_some(), good, "{}", String::from_utf8_lossy(step));
        }
    }

    proptest! {
        #[test]
        fn one_changed_letter_is_no_key(at in any::<prop::sample::Index>(), letter in prop::sample::select(HEX.to_vec()), steps in 1_usize..4) {
            let (key, seed) = made();
            let last = (0..steps).fold(text(&key), |last, n| text(&narrow(&last, &uses(n as u32 + 1)).unwrap().0));
            let mut changed = last.clone();
            let at = PREFIX.len() + at.index(last.len() - PREFIX.len() - CHECK);
            changed[at] = letter;
            let changed = rechecked(changed);
            prop_assert_eq!(verified(&changed, &seed).is_some(), changed == last);
        }

        #[test]
        fn whatever_comes_is_taken_apart_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), hex in any::<bool>()) {
            let body: Vec<u8> = match hex {
                true => bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
                false => bytes,
            };
            let mut text = [PREFIX, &body].concat();
            key::check(&mut text);
            let _ = Narrowed::parse(&text, &Bounds::MOST).map(|key| key.verified(&Zeroizing::new([1; 16])));
        }
    }
}
