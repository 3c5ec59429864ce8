//! How a provider is called with a virtual key: from a call's method and path to where it goes and where the key stands.
//! The host never comes from the request, only from the recipe and the key's own address.

use super::{
    Dropped, Endpoint, Inject, Loopback, PlaceFault, Recipe,
    host::Host,
    inject::InjectShape,
    route::{CallPattern, RouteShape},
};
use crate::model::{CallPath, KeyMeta, Pattern, Place, Shape};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The gateway's half of a recipe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    inject: InjectShape,
    /// Put before every path.
    #[serde(default)]
    base: Base,
    #[serde(default)]
    route: Vec<RouteShape>,
    #[serde(default)]
    risky: Vec<CallPattern>,
    #[serde(default)]
    refused: Vec<CallPattern>,
    #[serde(default)]
    websocket: Vec<PatternText>,
    #[serde(default)]
    drop: Dropped,
}

/// Where a key's provider keeps it, and the values it brought along: a [`KeyMeta`] has both.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Account, workspace, region, endpoint.
    pub place: &'a Place,
    /// Of `--set`.
    pub set: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a KeyMeta> for Address<'a> {
    fn from(meta: &'a KeyMeta) -> Self {
        Self { place: &meta.place, set: &meta.set }
    }
}

/// What a call may do beyond costing money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// Nothing.
    Plain,
    /// It deletes, uploads, trains or starts work that goes on alone: a rule may want more for it.
    Risky,
    /// It would hand out another credential, which nobody could narrow or revoke: it is never passed on.
    Refused,
}

/// What becomes of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The path there, without query.
    pub path: String,
    /// Where the key stands.
    pub inject: Inject,
    /// How call, answer and errors are written.
    pub shape: Shape,
    /// The model that the path names, if it does.
    pub model: Option<String>,
    /// What it may do.
    pub risk: Risk,
    /// Whether it may become a websocket.
    pub websocket: bool,
    /// What it is not passed on with.
    pub drop: Dropped,
}

impl Recipe {
    /// How calls on a path are written; `none` where nobody knows.
    pub fn shape(&self, path: &CallPath) -> Shape {
        let fits = |route: &&RouteShape| route.path.fit(path.plain()).is_some();
        self.gateway.route.iter().find(fits).map(|route| route.shape).unwrap_or_default()
    }

    /// Where a call goes. Paths without a route of their own have shape `none`: whoever bounds models must refuse them.
    ///
    /// # Errors
    /// The operator's: the key's address is none that the provider has (any more).
    pub fn way(
        &self,
        method: &str,
        path: &CallPath,
        address: Address<'_>,
        loopback: Loopback,
    ) -> Result<Way, PlaceFault> {
        let gateway = &self.gateway;
        let found = gateway.route.iter().find_map(|route| Some((route, route.path.fit(path.plain())?)));
        let (route, fit) = found.unzip();
        let inject = route.and_then(|route| route.inject.as_ref()).unwrap_or(&gateway.inject);
        // A slash at the end names nothing else.
        let named = path.plain().trim_end_matches('/');
        Ok(Way {
            endpoint: self.served_by(route.and_then(|route| route.host.as_ref()), address, loopback)?,
            path: format!("{}{}", gateway.base.0, path.raw()),
            inject: self.placed(inject, address.set)?,
            shape: route.map(|route| route.shape).unwrap_or_default(),
            model: fit.and_then(|fit| fit.model).map(str::to_owned),
            risk: gateway.risk(method, &named.to_lowercase()),
            websocket: gateway.websocket.iter().any(|pattern| pattern.0.matches(named)),
            drop: gateway.drop.clone(),
        })
    }

    /// A route's own host, unless the key is kept somewhere else altogether.
    fn served_by(&self, host: Option<&Host>, address: Address<'_>, loopback: Loopback) -> Result<Endpoint, PlaceFault> {
        match host.filter(|_| address.place.endpoint.is_none()) {
            Some(host) => self.rendered(host, address.set).map(Endpoint::https),
            None => self.endpoint(address, loopback),
        }
    }
}

impl Gateway {
    fn risk(&self, method: &str, path: &str) -> Risk {
        let any = |patterns: &[CallPattern]| patterns.iter().any(|pattern| pattern.fits(method, path));
        match (any(&self.refused), any(&self.risky)) {
            (true, _) => Risk::Refused,
            (false, true) => Risk::Risky,
            (false, false) => Risk::Plain,
        }
    }

    fn injects(&self) -> impl Iterator<Item = &InjectShape> {
        let routes = self.route.iter().filter_map(|route| route.inject.as_ref());
        std::iter::once(&self.inject).chain(routes)
    }

    /// A header that is to be dropped although the key stands in it.
    pub(super) fn dropped_key(&self) -> Option<&str> {
        self.injects().filter_map(InjectShape::header).find(|header| self.drop.header(header))
    }

    /// Values of a key that the gateway's texts refer to.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        let injects = self.injects().filter_map(|inject| match inject {
            InjectShape::Set(name) => Some(name.as_str()),
            InjectShape::Fixed(_) => None,
        });
        injects.chain(self.route.iter().filter_map(|route| route.host.as_ref()?.placeholder()))
    }
}

/// Nothing, or a path without a slash at its end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
struct Base(String);

impl TryFrom<String> for Base {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |text: &str| CallPath::parse(text).is_ok_and(|path| path.plain() == text && !text.ends_with('/'));
        if text.is_empty() || fits(&text) {
            Ok(Self(text))
        } else {
            Err("a base is a plain path without a slash at its end")
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct PatternText(Pattern);

impl TryFrom<String> for PatternText {
    type Error = crate::model::Malformed;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::named, *};

    fn way(provider: &str, method: &str, path: &str, place: &Place) -> Way {
        let set = [("resource".to_owned(), "mine".to_owned())].into();
        let path = CallPath::parse(path).unwrap();
        named(provider).way(method, &path, Address { place, set: &set }, Loopback::Allowed).unwrap()
    }

    fn plain(provider: &str, path: &str) -> Way {
        way(provider, "POST", path, &Place::default())
    }

    #[test]
    fn a_call_goes_to_the_recipes_host_with_its_own_path() {
        let found = plain("openai", "/v1/chat/completions");
        assert_eq!(found.endpoint.to_string(), "https://api.openai.com");
        assert_eq!((found.path.as_str(), found.shape), ("/v1/chat/completions", Shape::OpenaiChat));
        assert_eq!((found.risk, found.websocket, found.model), (Risk::Plain, false, None));
        assert_eq!(plain("azure-openai", "/openai/v1/responses").endpoint.to_string(), "https://mine.openai.azure.com");
    }

    #[test]
    fn a_routes_own_host_and_place_of_the_key_count() {
        assert_eq!(plain("huggingface", "/v1/chat/completions").endpoint.host, "router.huggingface.co");
        assert_eq!(plain("huggingface", "/api/whoami-v2").endpoint.host, "huggingface.co");
        let local = Place { endpoint: Some("http://127.0.0.1:9".into()), ..Default::default() };
        let found = way("huggingface", "POST", "/v1/chat/completions", &local);
        assert_eq!(found.endpoint.to_string(), "http://127.0.0.1:9", "a stand-in serves every route");
        assert_eq!(plain("gemini", "/v1beta/openai/chat/completions").inject.prefix, "Bearer ");
        assert_eq!(plain("gemini", "/v1beta/models/x:generateContent").inject.header, "x-goog-api-key");
    }

    #[test]
    fn a_path_may_name_the_model() {
        let model = |provider, path| plain(provider, path).model;
        assert_eq!(model("gemini", "/v1beta/models/gemini-3-pro:streamGenerateContent"), Some("gemini-3-pro".into()));
        assert_eq!(model("gemini", "/v1beta/models/gemini%2D3:generateContent"), Some("gemini-3".into()));
        assert_eq!(model("azure-openai", "/openai/deployments/d1/chat/completions"), Some("d1".into()));
    }

    #[test]
    fn what_deletes_is_risky_and_what_hands_out_keys_is_refused() {
        let risk = |provider: &str, method: &str, path: &str| way(provider, method, path, &Place::default()).risk;
        for provider in Recipe::shipped().unwrap().into_keys().filter(|name| name != "generic") {
            assert_eq!(risk(&provider, "DELETE", "/any/thing"), Risk::Risky, "{provider}");
        }
        assert_eq!(risk("openai", "POST", "/v1/files"), Risk::Risky);
        assert_eq!(risk("openai", "POST", "/v1/%66ILES"), Risk::Risky);
        assert_eq!(risk("azure-openai", "GET", "/OpenAI/Files"), Risk::Risky);
        assert_eq!(risk("dashscope", "POST", "/api/v1/tokens"), Risk::Refused);
        assert_eq!(risk("dashscope", "POST", "/api/v1/tokens/"), Risk::Refused);
        assert_eq!(risk("openai", "POST", "/v1/realtime/client_secrets"), Risk::Refused);
        assert_eq!(risk("gemini", "POST", "/batch/v1beta"), Risk::Refused, "calls that nobody judges");
        assert_eq!(risk("github", "DELETE", "/user/keys/1"), Risk::Refused, "the stricter word counts");
    }

    #[test]
    fn no_shipped_provider_lets_a_call_choose_another_account() {
        for (provider, header) in [
            ("openai", "openai-organization"),
            ("openai", "openai-project"),
            ("dashscope", "x-dashscope-workspace"),
            ("gemini", "x-goog-user-project"),
            ("anthropic", "anthropic-workspace-id"),
            ("huggingface", "x-hf-bill-to"),
        ] {
            let drops = |provider| named(provider).gateway.drop.header(header);
            assert!(drops(provider) && drops("generic"), "{provider}: {header}");
        }
        assert!(plain("gemini", "/v1beta/models").drop.parameter("$userproject"), "a call's way knows it");
    }

    #[test]
    fn websockets_open_on_their_paths_alone() {
        assert!(
            plain("dashscope", "/api-ws/v1/inference").websocket
                && plain("dashscope", "/api-ws/v1/inference/").websocket
        );
        assert!(plain("openai", "/v1/realtime").websocket && !plain("openai", "/v1/chat/completions").websocket);
    }
}
