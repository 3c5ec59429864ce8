//! Every shipped provider against the table of what is known of them: hosts, place of the key, variables, shapes, usage.

use super::{tests::at, *};
use crate::model::{CallPath, Place, Shape};

/// Provider, host, header and prefix, a call, its shape.
const TABLE: [(&str, &str, &str, &str, Shape); 25] = [
    (
        "dashscope",
        "dashscope-intl.aliyuncs.com",
        "authorization: Bearer",
        "/compatible-mode/v1/chat/completions",
        Shape::OpenaiChat,
    ),
    (
        "dashscope",
        "dashscope-intl.aliyuncs.com",
        "authorization: Bearer",
        "/api/v1/services/aigc/text-generation/generation",
        Shape::DashscopeNative,
    ),
    (
        "dashscope",
        "dashscope-intl.aliyuncs.com",
        "authorization: Bearer",
        "/apps/anthropic/v1/messages",
        Shape::Anthropic,
    ),
    ("openai", "api.openai.com", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("openai", "api.openai.com", "authorization: Bearer", "/v1/responses", Shape::OpenaiResponses),
    ("openai", "api.openai.com", "authorization: Bearer", "/v1/models", Shape::None),
    ("anthropic", "api.anthropic.com", "x-api-key", "/v1/messages", Shape::Anthropic),
    (
        "gemini",
        "generativelanguage.googleapis.com",
        "x-goog-api-key",
        "/v1beta/models/m:generateContent",
        Shape::Gemini,
    ),
    (
        "gemini",
        "generativelanguage.googleapis.com",
        "x-goog-api-key",
        "/v1beta/models/m:streamGenerateContent",
        Shape::Gemini,
    ),
    ("mistral", "api.mistral.ai", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("deepseek", "api.deepseek.com", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("deepseek", "api.deepseek.com", "authorization: Bearer", "/chat/completions", Shape::OpenaiChat),
    ("deepseek", "api.deepseek.com", "authorization: Bearer", "/anthropic/v1/messages", Shape::Anthropic),
    ("openrouter", "openrouter.ai", "authorization: Bearer", "/api/v1/chat/completions", Shape::OpenaiChat),
    ("groq", "api.groq.com", "authorization: Bearer", "/openai/v1/chat/completions", Shape::OpenaiChat),
    ("xai", "api.x.ai", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("huggingface", "router.huggingface.co", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("huggingface", "huggingface.co", "authorization: Bearer", "/api/models/a/b", Shape::None),
    ("github", "api.github.com", "authorization: Bearer", "/repos/a/b", Shape::None),
    ("github", "github.com", "authorization: Basic x-access-token", "/a/b.git/info/refs", Shape::None),
    ("azure-openai", "mine.openai.azure.com", "api-key", "/openai/deployments/m/chat/completions", Shape::OpenaiChat),
    ("azure-openai", "mine.openai.azure.com", "api-key", "/openai/v1/responses", Shape::OpenaiResponses),
    ("generic", "api.example.com", "authorization: Bearer", "/v1/chat/completions", Shape::OpenaiChat),
    ("generic", "api.example.com", "authorization: Bearer", "/v1/messages", Shape::Anthropic),
    ("generic", "api.example.com", "authorization: Bearer", "/anything/else", Shape::None),
];

/// Provider, variables with the URL that a client is given, variables for the key, some that are unset.
type Variables =
    (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);

const VARIABLES: [Variables; 13] = [
    (
        "dashscope",
        &[
            ("DASHSCOPE_HTTP_BASE_URL", "http://g/dashscope/api/v1"),
            ("DASHSCOPE_WEBSOCKET_BASE_URL", "ws://g/dashscope/api-ws/v1/inference"),
        ],
        &["DASHSCOPE_API_KEY"],
        &["DASHSCOPE_API_KEY_FILE_PATH"],
    ),
    (
        "openai",
        &[("OPENAI_BASE_URL", "http://g/openai/v1")],
        &["OPENAI_API_KEY"],
        &["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"],
    ),
    (
        "anthropic",
        &[("ANTHROPIC_BASE_URL", "http://g/anthropic")],
        &["ANTHROPIC_API_KEY"],
        &["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"],
    ),
    ("gemini", &[("GOOGLE_GEMINI_BASE_URL", "http://g/gemini")], &["GEMINI_API_KEY", "GOOGLE_API_KEY"], &[]),
    ("mistral", &[], &["MISTRAL_API_KEY"], &["MISTRAL_SA_TOKEN_PATH"]),
    ("deepseek", &[], &["DEEPSEEK_API_KEY"], &[]),
    ("openrouter", &[], &["OPENROUTER_API_KEY"], &[]),
    ("groq", &[("GROQ_BASE_URL", "http://g/groq")], &["GROQ_API_KEY"], &[]),
    ("xai", &[], &["XAI_API_KEY"], &[]),
    (
        "huggingface",
        &[("HF_ENDPOINT", "http://g/huggingface"), ("HF_INFERENCE_ENDPOINT", "http://g/huggingface")],
        &["HF_TOKEN"],
        &["HF_TOKEN_PATH"],
    ),
    ("github", &[("GITHUB_API_URL", "http://g/github")], &["GH_TOKEN", "GITHUB_TOKEN"], &[]),
    (
        "azure-openai",
        &[("AZURE_OPENAI_ENDPOINT", "http://g/azure-openai")],
        &["AZURE_OPENAI_API_KEY"],
        &["AZURE_OPENAI_AD_TOKEN"],
    ),
    ("generic", &[("GENERIC_BASE_URL", "http://g/generic")], &["GENERIC_API_KEY"], &[]),
];

/// Guest, host, the URL that its client is given.
const GUESTS: [(&str, &str, &str, &str); 6] = [
    ("dashscope", "openai", "OPENAI_BASE_URL", "http://g/dashscope/compatible-mode/v1"),
    ("dashscope", "anthropic", "ANTHROPIC_BASE_URL", "http://g/dashscope/apps/anthropic"),
    ("deepseek", "openai", "OPENAI_BASE_URL", "http://g/deepseek/v1"),
    ("deepseek", "anthropic", "ANTHROPIC_BASE_URL", "http://g/deepseek/anthropic"),
    ("groq", "openai", "OPENAI_BASE_URL", "http://g/groq/openai/v1"),
    ("openrouter", "openai", "OPENAI_BASE_URL", "http://g/openrouter/api/v1"),
];

#[test]
fn every_call_goes_where_the_table_says_and_takes_its_key_there() {
    let all = Recipe::shipped().unwrap();
    for (provider, host, inject, path, shape) in TABLE {
        let endpoint = (provider == "generic").then(|| "https://api.example.com".to_owned());
        let place = Place { endpoint, ..Default::default() };
        let set = [("resource".to_owned(), "mine".to_owned())].into();
        let (path, address) = (CallPath::parse(path).unwrap(), Address { place: &place, set: &set });
        let way = all[provider].way("POST", &path, address, Loopback::Refused).unwrap();
        assert_eq!(way.endpoint.to_string(), format!("https://{host}"), "{provider} {path:?}");
        assert_eq!(way.path, path.raw());
        assert_eq!((way.inject, way.shape), (inject.parse().unwrap(), shape), "{provider} {path:?}");
    }
}

#[test]
fn every_provider_is_in_the_table_and_its_clients_find_the_gateway() {
    let all = Recipe::shipped().unwrap();
    assert_eq!(all.len(), VARIABLES.len());
    for (provider, bases, keys, unset) in VARIABLES {
        let client = &all[provider].client;
        let has = |list: &[Variable], name: &&str| list.iter().any(|variable| variable.as_str() == *name);
        for (name, url) in bases {
            let found = client.base.iter().find(|(variable, _)| variable.as_str() == *name);
            assert_eq!(found.unwrap().1.at("g", provider), *url);
        }
        assert!(keys.iter().all(|name| has(&client.key, name)) && keys.len() == client.key.len(), "{provider}");
        assert!(unset.iter().all(|name| has(&client.unset, name)), "{provider}");
    }
}

#[test]
fn clients_of_others_find_their_way() {
    let all = Recipe::shipped().unwrap();
    for (provider, of, variable, url) in GUESTS {
        let guest = all[provider].client.guest.iter().find(|guest| guest.of == of).unwrap();
        let base = guest.base.iter().find(|(name, _)| name.as_str() == variable).unwrap();
        assert_eq!(base.1.at("g", provider), url);
    }
    for (name, recipe) in &all {
        for guest in &recipe.client.guest {
            let own = &all[&guest.of].client;
            let of_theirs = |variable: &Variable| own.key.contains(variable) || own.unset.contains(variable);
            assert!(guest.key.iter().all(of_theirs) && !guest.key.is_empty(), "{name} {}", guest.of);
            assert!(guest.base.keys().all(|variable| own.base.contains_key(variable)), "{name} {}", guest.of);
        }
    }
}

#[test]
fn no_two_providers_claim_one_variable() {
    let all = Recipe::shipped().unwrap();
    let claimed: Vec<_> = all.values().flat_map(|recipe| recipe.client.base.keys().chain(&recipe.client.key)).collect();
    let distinct: std::collections::BTreeSet<_> = claimed.iter().collect();
    assert_eq!(claimed.len(), distinct.len());
}

#[test]
fn usage_stands_where_the_table_says() {
    let names = |shape: Shape| {
        let usage = shape.usage();
        (usage.at, usage.input, usage.output)
    };
    assert_eq!(
        names(Shape::OpenaiChat),
        (&["/usage", "/x_groq/usage"][..], &["/prompt_tokens"][..], &["/completion_tokens"][..])
    );
    assert_eq!(
        names(Shape::OpenaiResponses),
        (&["/usage", "/response/usage"][..], &["/input_tokens"][..], &["/output_tokens"][..])
    );
    assert_eq!(names(Shape::DashscopeNative), (&["/usage"][..], &["/input_tokens"][..], &["/output_tokens"][..]));
    assert_eq!(names(Shape::Anthropic).0, ["/usage", "/message/usage"]);
    assert!(Shape::Anthropic.usage().cached_input.contains(&"/cache_read_input_tokens"));
    assert_eq!(names(Shape::Gemini).0, ["/usageMetadata"]);
    assert!(Shape::Gemini.usage().reasoning.contains(&"/thoughtsTokenCount"));
}

#[test]
fn every_documented_region_of_model_studio_is_there() {
    let place = Place { region: Some("beijing".into()), ..Default::default() };
    assert_eq!(at("dashscope", &place, &[], Loopback::Refused).unwrap().host, "dashscope.aliyuncs.com");
}
