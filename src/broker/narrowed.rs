//! A key as the gateway was given it: a virtual key, or one that its holder derived from it. What a derived one takes away
//! is laid over what its lease gives; it can add nothing.

use super::{Inner, refuse::Stop};
use crate::{
    ledger::{Chain, Held},
    model::{Mark, Node, NodeId, Scope},
    wire::narrow::{Link, Narrowed},
};
use std::{borrow::Cow, time::Duration};

/// What stood in a request.
pub enum Presented {
    /// A virtual key, by its SHA-256.
    Key([u8; 32]),
    /// A narrower one.
    Narrowed(Narrowed),
}

/// All that the steps of a key take away. Nothing, of a virtual key as it was minted.
#[derive(Default)]
pub(super) struct Narrower {
    /// Every one must allow a call.
    pub(super) scopes: Vec<Scope>,
    /// Every one must have the provider.
    providers: Vec<Vec<String>>,
    /// What the ledger goes by.
    pub(super) chain: Chain,
    /// The key's own name, for the record.
    pub(super) id: Option<NodeId>,
}

impl Narrower {
    fn of(links: Vec<Link>, mark: &Mark, now: Now) -> Self {
        let last: Option<Node> = links.last().map(|link| link.node);
        let mut all = Self { id: last.map(|node| NodeId { mark: *mark, node }), ..Self::default() };
        for Link { narrowing, node } in links {
            all.scopes.extend(narrowing.scope);
            all.providers.extend(narrowing.providers);
            all.chain.steps.push((node, narrowing.uses.map(Into::into)));
            let until = narrowing.until.map(|until| now.0.plus(Duration::from_secs(until).saturating_sub(now.1)));
            all.chain.until = [all.chain.until, until].into_iter().flatten().min();
        }
        all
    }

    /// What a lease gives, with all this laid over it.
    pub(super) fn over<'a>(&self, given: &'a [Scope]) -> Cow<'a, [Scope]> {
        match self.scopes.is_empty() {
            true => Cow::Borrowed(given),
            false => Cow::Owned([given, &self.scopes[..]].concat()),
        }
    }

    /// Whether a provider may be called.
    pub(super) fn has(&self, provider: &str) -> bool {
        self.providers.iter().all(|list| list.iter().any(|name| name == provider))
    }
}

/// By both clocks: a step's end is told in Unix time.
type Now = (crate::clock::Boottime, Duration);

impl Inner {
    /// The lease of a key, and what the key takes away of it.
    pub(super) fn presented(&self, key: &Presented) -> Result<(Held, Narrower), Stop> {
        let narrowed = match key {
            Presented::Key(digest) => return Ok((self.ledger.held(digest)?, Narrower::default())),
            Presented::Narrowed(narrowed) => narrowed,
        };
        let held = self.ledger.marked(narrowed.mark())?;
        let links = self.issuer.verified(narrowed, &held.seal)?.ok_or(Stop::Forged)?;
        let (seconds, nanos) = self.clock.wall_nanos();
        let now = (self.clock.boot(), Duration::new(u64::try_from(seconds).unwrap_or(0), nanos));
        let narrower = Narrower::of(links, narrowed.mark(), now);
        self.ledger.stands(held.lease, &narrower.chain)?;
        Ok((held, narrower))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Boottime,
        model::{Budget, Narrowing},
        policy::{Granted, Risky, Use, pass},
    };
    use proptest::{option, prelude::*, sample::select};
    use std::num::NonZeroU32;

    fn list(words: &[&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
        let word = select(words.to_vec()).prop_map(str::to_owned);
        option::of(prop::collection::vec(word, 0..3))
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let (methods, paths) = (list(&["GET", "POST"]), list(&["/v1/*", "/v1/**", "/v1/a", "**"]));
        (methods, paths, list(&["m-*", "m-1", "x"])).prop_map(|(methods, paths, models)| Scope {
            methods,
            paths,
            models,
        })
    }

    fn narrowing() -> impl Strategy<Value = Narrowing> {
        let (uses, until) = (option::of(1_u32..9), option::of(900_u64..1100));
        (list(&["a", "b"]), option::of(scope()), uses, until).prop_map(|(providers, scope, uses, until)| Narrowing {
            providers,
            scope,
            uses: uses.and_then(NonZeroU32::new),
            until,
        })
    }

    fn of(steps: &[Narrowing]) -> Narrower {
        let link = |(at, narrowing): (usize, &Narrowing)| Link { narrowing: narrowing.clone(), node: [at as u8; 8] };
        Narrower::of(
            steps.iter().enumerate().map(link).collect(),
            &[7; 16],
            (Boottime::from_nanos(5), Duration::from_secs(1000)),
        )
    }

    /// Whether a key lets a call through, as `Holding` asks.
    fn lets(key: &Narrower, rule: &Scope, call: (&str, &str, &str)) -> bool {
        let (name, budget) = ("a/b".parse().unwrap(), Budget::default());
        let scopes = key.over(std::slice::from_ref(rule));
        let granted = Granted { key: &name, rule: "r", scopes: &scopes, risky: Risky::Allowed, budget: &budget };
        let (method, path, model) = call;
        let models = [model];
        let wanted = Use { method, path, models: &models, read: true, max_output: None, risky: false };
        pass(&granted, &wanted, Boottime::from_nanos(1)).is_ok()
    }

    proptest! {
        #[test]
        fn no_step_gives_what_the_steps_before_it_do_not(
            steps in prop::collection::vec(narrowing(), 1..5), cut in any::<prop::sample::Index>(), rule in scope(),
        ) {
            let parent = of(&steps[..cut.index(steps.len())]);
            let child = of(&steps);
            for provider in ["a", "b", "c"] {
                prop_assert!(!child.has(provider) || parent.has(provider));
            }
            for method in ["GET", "POST"] {
                for path in ["/v1/a", "/v1/b/c", "/x"] {
                    for model in ["m-1", "m-2", "x"] {
                        let call = (method, path, model);
                        prop_assert!(!lets(&child, &rule, call) || lets(&parent, &rule, call), "{call:?}");
                        prop_assert!(!lets(&child, &rule, call) || lets(&Narrower::default(), &rule, call), "{call:?}");
                    }
                }
            }
            prop_assert!(child.chain.steps.starts_with(&parent.chain.steps), "whatever bounds the parent bounds the child");
            let ends = parent.chain.until.is_none_or(|end| child.chain.until.is_some_and(|own| own <= end));
            prop_assert!(ends, "the child never outlives the parent");
        }
    }
}
