//! Spends one permit and gives one token: minted by the provider, or a virtual key of our own.
//! It never mints without a permit, and never gives a token that lives longer than was judged.

mod flight;
mod hold;
mod loan;
#[cfg(test)]
#[cfg(feature = "loom")]
mod orders;
mod probe;
mod relay;
mod seal;
mod upstream;

pub use probe::Proof;
pub use relay::Witness;
pub use seal::Seal;

use crate::{
    audit::Audit,
    clock::{Boottime, Clock},
    model::{KeyMeta, KeyName, Kind, Ttl},
    policy::Permit,
    recipe::{Class, Endpoint, Limits, Loopback, NotMinted, PlaceFault, Recipe},
    secret::Secret,
    sys::scrub,
    upstream::{Reached, Upstream},
    vault::{LendError, Listed, Vault},
    wire::{self, key::Form},
};
use flight::Flights;
use hold::{Holds, Payer};
use seal::Sealer;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// What the issuer needs to know.
#[derive(Debug, Clone)]
pub struct IssuerOptions {
    /// Whether keys may live at stand-ins on loopback.
    pub loopback: Loopback,
    /// How far the provider's clock may be behind ours before a token counts as dead on arrival.
    pub clock_tolerance: Duration,
    /// Mints of one key that may be under way at once.
    pub mints_per_key: usize,
    /// Where the gateway is reached, without a slash at its end: virtual keys are good there.
    pub gateway: String,
}

/// What the issuer is built of.
pub struct IssuerParts {
    /// Long-lived keys.
    pub vault: Arc<Vault>,
    /// The one client.
    pub upstream: Upstream,
    /// What is known of providers, by name.
    pub recipes: RwLock<Recipes>,
    /// Where a quarantine is put on record.
    pub audit: Audit,
    /// Time.
    pub clock: Clock,
}

/// Recipes by their providers' names. Who uses one goes on with it when others are put in their place.
pub type Recipes = BTreeMap<String, Arc<Recipe>>;

/// Recipes as the issuer keeps them.
pub fn shared(recipes: BTreeMap<String, Recipe>) -> Recipes {
    recipes.into_iter().map(|(name, recipe)| (name, Arc::new(recipe))).collect()
}

/// A token with its bounds.
pub struct Minted {
    /// The secret bytes.
    pub token: Secret,
    /// SHA-256 of a virtual key, by which it will be known again.
    pub digest: Option<[u8; 32]>,
    /// The sealed seed of a virtual key's narrower ones.
    pub seal: Seal,
    /// SHA-256 of a ticket; the token is one then.
    pub ticket: Option<[u8; 32]>,
    /// When it is over for us.
    pub deadline: Boottime,
    /// Unix seconds as the caller is told: never later than the provider's own.
    pub expires_at: u64,
    /// The key's provider.
    pub provider: String,
    /// Where to use it, by protocol.
    pub base_urls: Vec<(String, String)>,
}

/// What is given for a ticket.
pub struct Redeemed {
    /// The virtual key.
    pub token: Secret,
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// The sealed seed of its narrower ones.
    pub seal: Seal,
    /// The key's provider.
    pub provider: String,
    /// Where to use it, by protocol.
    pub base_urls: Vec<(String, String)>,
}

/// Why there is no token, sorted by who is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The operator's: locked, unknown, quarantined.
    #[error(transparent)]
    Key(#[from] LendError),
    /// The operator's: the key's place is none that the provider has (any more).
    #[error(transparent)]
    Place(#[from] PlaceFault),
    /// The caller's: the provider's keys are good for virtual ones alone.
    #[error(transparent)]
    NotMinted(#[from] NotMinted),
    /// The operator's: nothing tells whether a key of this provider is good.
    #[error(
        "the recipe of {0} names no [probe], a call to test a key with: its first use through the gateway will tell"
    )]
    NoProbe(String),
    /// The operator's: nobody knows the provider.
    #[error("there is no provider `{name}`; there is {known}")]
    Provider {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The operator's: money.
    #[error("the provider will not serve this account until it is paid or its limit is raised ({0})")]
    Billing(String),
    /// The provider's: too often; seconds to wait.
    #[error("the provider throttles this key; next try in {0} s")]
    Throttled(u32),
    /// The provider's: the key is good, but may not.
    #[error("the key is good, but its provider does not allow it this: {0}")]
    Forbidden(String),
    /// The provider's: it said no.
    #[error("the provider refused: {0}")]
    Rejected(String),
    /// The provider's, or the network's: it never heard of the call.
    #[error("not reached: {0}")]
    Unreached(String),
    /// The provider's: no answer, or none that is understood.
    #[error("no usable answer: {0}")]
    Call(String),
    /// The provider's, or our clock's.
    #[error("the token was over when it came: the provider's clock and ours differ by {0} s or more")]
    DeadOnArrival(u64),
    /// The provider gave less than the caller needs.
    #[error("the token has {left} s left and the caller needs {needed}")]
    TooShort {
        /// Seconds left.
        left: u64,
        /// Seconds needed.
        needed: u32,
    },
    /// Ours: the kernel gave no random numbers.
    #[error("no random numbers")]
    Random,
}

impl MintError {
    /// What the provider's no or silence means for the key, where it is the provider's.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Key(LendError::Quarantined(_)) => Some(Class::BadSecret),
            Self::Billing(_) => Some(Class::Billing),
            Self::Forbidden(_) => Some(Class::Denied),
            Self::Throttled(_) => Some(Class::Throttled),
            Self::Rejected(_) => Some(Class::BadRequest),
            Self::Unreached(_) | Self::Call(_) => Some(Class::Transient),
            Self::DeadOnArrival(_) | Self::TooShort { .. } => Some(Class::Broken),
            Self::Key(_)
            | Self::Place(_)
            | Self::NotMinted(_)
            | Self::NoProbe(_)
            | Self::Provider { .. }
            | Self::Random => None,
        }
    }

    /// Whether the same request fails again until a person has mended something.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Billing(_) | Self::Forbidden(_) | Self::NotMinted(_) | Self::Key(LendError::Quarantined(_))
        )
    }
}

/// Mints. Clones are the same issuer.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    parts: IssuerParts,
    options: IssuerOptions,
    flights: Flights,
    holds: Holds,
    sealer: Sealer,
}

impl Issuer {
    /// An issuer over a vault and a client.
    pub fn new(parts: IssuerParts, options: IssuerOptions) -> Self {
        let holds = Holds::new(options.mints_per_key);
        Self(Arc::new(Inner { parts, options, flights: Flights::default(), holds, sealer: Sealer::default() }))
    }

    /// Spends a permit.
    pub async fn mint(&self, permit: Permit) -> Result<Minted, MintError> {
        match permit.kind() {
            Kind::Virtual => self.mint_virtual(&permit),
            // Apart: a virtual mint, which waits for nobody, does not carry its room.
            Kind::Upstream => Box::pin(scrub::part(self.mint_upstream(permit))).await,
        }
    }

    /// The recipe of a provider.
    pub fn recipe(&self, provider: &str) -> Result<Arc<Recipe>, MintError> {
        let recipes = self.0.parts.recipes.read().unwrap_or_else(PoisonError::into_inner);
        recipes.get(provider).cloned().ok_or_else(|| MintError::Provider {
            name: provider.to_owned(),
            known: recipes.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// All recipes of now.
    pub fn recipes(&self) -> Recipes {
        self.0.parts.recipes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other recipes in the place of all: after a reload.
    pub fn adopt(&self, recipes: Recipes) {
        *self.0.parts.recipes.write().unwrap_or_else(PoisonError::into_inner) = recipes;
    }

    /// Whether stand-ins on loopback are allowed, for the check of a new key's place.
    pub fn loopback(&self) -> Loopback {
        self.0.options.loopback
    }

    /// Whether a key's place may be connected to.
    ///
    /// # Errors
    /// Its port is not among those that the config allows.
    pub fn may_reach(&self, endpoint: &Endpoint) -> Result<(), PlaceFault> {
        match self.0.parts.upstream.dials(endpoint.port) {
            true => Ok(()),
            false => Err(PlaceFault::Endpoint("its port is not among `ports` under [upstream]")),
        }
    }

    /// How many keys a provider allows.
    pub fn limits(&self, provider: &str) -> Result<Limits, MintError> {
        self.recipe(provider).map(|recipe| recipe.limits)
    }

    /// How asking each endpoint went.
    pub fn reached(&self) -> BTreeMap<String, Reached> {
        self.0.parts.upstream.reached()
    }

    /// Drops every token that is kept to be shared and every connection that is kept ready: after a lock, a reload,
    /// a rotation or a removal.
    pub fn forget(&self) {
        self.0.flights.forget();
        self.0.holds.forget();
        self.0.parts.upstream.cool();
    }

    /// Drops the tokens that are kept to be shared: of a key, or all. Calls that are under way are not kept either.
    pub fn forget_shared(&self, key: Option<&KeyName>) {
        match key {
            Some(key) => self.0.flights.forget_key(key),
            None => self.0.flights.forget(),
        }
    }

    /// Lets a key whose account rests be tried at once: its owner wants to know.
    pub fn rouse(&self, key: &KeyMeta) {
        self.0.holds.rouse(&Payer::of(key));
    }

    /// What is known of a key that may be used now.
    pub fn lent(&self, key: &KeyName) -> Result<Listed, LendError> {
        let listed = self.0.parts.vault.meta(key)?;
        match listed.quarantine {
            _ if listed.decoy => Err(LendError::Unknown(key.clone())),
            None => Ok(listed),
            Some(_) => Err(LendError::Quarantined(key.clone())),
        }
    }

    /// A virtual key for a lease that has none yet, with its digest; and what whoever uses it must know of its key.
    pub fn key(&self, key: &KeyName) -> Result<Redeemed, MintError> {
        let provider = self.lent(key)?.meta.provider;
        let base_urls = self.base_urls(&provider)?;
        let (token, digest) = wire::key::generate(Form::Key).map_err(|_| MintError::Random)?;
        let seal = self.sealed(&token, &digest)?;
        Ok(Redeemed { token, digest, seal, provider, base_urls })
    }

    fn sealed(&self, token: &Secret, digest: &[u8; 32]) -> Result<Seal, MintError> {
        let seed = token.expose(wire::narrow::seed);
        Ok(*self.0.sealer.masked(&self.0.parts.vault, &wire::narrow::mark(digest), &seed)?)
    }

    /// Where virtual keys of a provider are used, by protocol.
    fn base_urls(&self, provider: &str) -> Result<Vec<(String, String)>, MintError> {
        let gateway = &self.0.options.gateway;
        Ok(self.recipe(provider)?.base_urls(&format!("{gateway}/{provider}")))
    }

    fn mint_virtual(&self, permit: &Permit) -> Result<Minted, MintError> {
        let provider = self.0.parts.vault.provider(permit)?;
        let base_urls = self.base_urls(&provider)?;
        let form = if permit.ticket() { Form::Ticket } else { Form::Key };
        let (token, digest) = wire::key::generate(form).map_err(|_| MintError::Random)?;
        Ok(Minted {
            digest: Some(digest).filter(|_| form == Form::Key),
            seal: self.sealed(&token, &digest)?,
            ticket: Some(digest).filter(|_| form == Form::Ticket),
            token,
            deadline: permit.judged().plus(permit.ttl().duration()),
            expires_at: self.0.parts.clock.wall() + u64::from(permit.ttl().seconds()),
            provider,
            base_urls,
        })
    }
}

/// The end of a token's life: by our boot-time clock, and in Unix seconds as the caller is told.
///
/// `began` is when the request was sent, so that the time it took counts against the token.
fn bound(
    ttl: Ttl,
    provider_end: u64,
    began: (Boottime, u64),
    tolerance: Duration,
) -> Result<(Boottime, u64), MintError> {
    let (boot, wall) = began;
    let asked = wall + u64::from(ttl.seconds());
    let provider_left = provider_end.saturating_add(tolerance.as_secs()).saturating_sub(wall);
    if provider_left == 0 {
        return Err(MintError::DeadOnArrival(wall - provider_end));
    }
    let life = ttl.duration().min(Duration::from_secs(provider_left));
    Ok((boot.plus(life), asked.min(provider_end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(ttl: &str, provider_end: u64) -> Result<(Duration, u64), MintError> {
        let boot = Boottime::from_nanos(5);
        let told = bound(ttl.parse().unwrap(), provider_end, (boot, 1000), Duration::from_secs(2))?;
        Ok((told.0.since(boot), told.1))
    }

    #[test]
    fn a_token_never_lives_longer_than_asked_nor_than_the_provider_says() {
        let seconds = Duration::from_secs;
        assert_eq!(bounded("60s", 1060), Ok((seconds(60), 1060)));
        assert_eq!(bounded("60s", 9999), Ok((seconds(60), 1060)));
        assert_eq!(bounded("60s", 1030), Ok((seconds(32), 1030)));
        assert_eq!(bounded("60s", 1059), Ok((seconds(60), 1059)), "a second of skew is within the tolerance");
        assert_eq!(bounded("1s", 1000), Ok((seconds(1), 1000)));
        assert_eq!(bounded("60s", 998), Err(MintError::DeadOnArrival(2)));
        assert!(bounded("60s", 1).is_err());
    }
}
