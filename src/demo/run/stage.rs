//! What stands on the stage: the private folder, the stand-in, the broker, and what the demo has got from it so far.
//! It must never be left standing: dropping it ends the broker and the stand-in, and removes the folder.

use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::scan::Needle;
use super::super::studio::Studio;
use super::backstage::Backstage;
use super::caller::{Caller, Minted};
use super::folder::Folder;
use super::launch::Launched;
use super::step::{StepError, random_part, system};
use crate::clock::Clock;
use crate::secret::Secret;

/// The key that the rule gives.
pub(super) const KEY: &str = "demo/main";
/// Tokens that each of its virtual keys may use: enough for a few calls, and not for the talkative model.
pub(super) const BUDGET: u32 = 6000;
/// The key that no rule gives.
pub(super) const OTHER_KEY: &str = "private/other";
/// The broker's log in the folder.
pub(super) const LOG: &str = "daemon.log";

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random letters in a made-up key: 190 bits.
const RANDOM: usize = 32;

/// The stage. Its parts end in the order in which they stand here.
pub(super) struct Stage {
    pub(super) launched: Option<Launched>,
    pub(super) caller: Caller,
    pub(super) backstage: Backstage,
    pub(super) folder: Folder,
    pub(super) clock: Clock,
    /// The made-up long-lived key.
    pub(super) key: Secret,
    /// The end of the rule's name: random, no secret, and so in the broker's memory for the scan to find.
    pub(super) marker: String,
    /// Every secret that the broker has handled.
    pub(super) needles: Vec<Needle>,
    /// The 60-second token, and the virtual key.
    pub(super) minute: Option<Minted>,
    pub(super) own: Option<Minted>,
}

impl Stage {
    /// Makes the folder and starts the stand-in; the broker is the story's.
    ///
    /// # Errors
    /// No folder, no port on loopback, no randomness.
    pub(super) fn new() -> Result<Self, StepError> {
        let clock = Clock::system();
        let folder = Folder::new().map_err(system("no place for a private folder (set TMPDIR to a short path)"))?;
        let ca_file = folder.path("ca.pem");
        let backstage = Backstage::start(ca_file.clone(), clock.clone())?;
        let sockets = (folder.path("broker.sock"), folder.path("control.sock"));
        let caller = Caller::new(sockets.0, sockets.1, backstage.studio.address(), &ca_file)?;
        let marker = made_up_key()?.expose(|bytes| String::from_utf8_lossy(random_part(bytes)).into_owned());
        Ok(Self {
            launched: None,
            caller,
            backstage,
            folder,
            clock,
            key: made_up_key()?,
            marker,
            needles: Vec::new(),
            minute: None,
            own: None,
        })
    }

    /// The only rule's name.
    pub(super) fn rule(&self) -> String {
        format!("demo {}", self.marker)
    }

    /// The stand-in.
    pub(super) fn studio(&self) -> &Studio {
        &self.backstage.studio
    }

    /// A file in the folder.
    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path(name)
    }

    /// Remembers a secret that the scans are to look for.
    pub(super) fn look_for(&mut self, name: &str, secret: &Secret) {
        self.needles.push(secret.expose(|bytes| Needle::new(name, random_part(bytes))));
    }

    /// Asks for a lease and remembers its token.
    pub(super) fn mint(&mut self, name: &str, wish: &serde_json::Value) -> Result<Minted, StepError> {
        let minted = self.caller.mint(wish)?;
        self.look_for(name, &minted.token);
        Ok(minted)
    }

    /// Whether the broker still runs.
    pub(super) fn serves(&mut self) -> bool {
        self.launched.as_mut().is_some_and(|broker| broker.ended().is_none())
    }

    /// Whether somebody wants it to end.
    pub(super) fn interrupted(&mut self) -> bool {
        self.backstage.interrupted()
    }

    /// Stays until somebody wants it to end, or the broker ends by itself.
    pub(super) fn linger(&mut self) {
        while self.serves() && self.backstage.pause(Duration::from_millis(300)).is_ok() {}
    }
}

/// `sk-` and random letters: what the provider's keys look like.
pub(super) fn made_up_key() -> Result<Secret, StepError> {
    let mut random = Zeroizing::new([0_u8; RANDOM]);
    getrandom::fill(&mut *random).map_err(|fault| StepError::System("no randomness", std::io::Error::other(fault)))?;
    let mut key = Vec::with_capacity(3 + RANDOM);
    key.extend_from_slice(b"sk-");
    key.extend(random.iter().map(|&byte| LETTERS[usize::from(byte) % LETTERS.len()]));
    Ok(Secret::from_vec(key))
}

/// A path as a TOML string: JSON's escapes are TOML's too.
pub(super) fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
