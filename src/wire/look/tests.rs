//! What a look sees, against serde_json, and the bodies by which somebody could deceive it.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn look_in(shape: Shape, body: &[u8], size: usize) -> Result<Seen, LookFault> {
    let mut look = Look::new(shape);
    body.chunks(size).try_for_each(|piece| look.feed(piece))?;
    look.finish()
}

fn chat(body: &str) -> Result<Seen, LookFault> {
    look_in(Shape::OpenaiChat, body.as_bytes(), 4096)
}

/// Some member, or none.
fn maybe(name: &'static str, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::of(value.prop_map(move |value| (name.to_owned(), value)))
}

fn body() -> impl Strategy<Value = Value> {
    let nested = || {
        // What looks like a field that matters, deeper, is none.
        Just(json!([{"model": "inner", "stream": true, "max_tokens": 9, "stream_options": {"include_usage": false}}]))
    };
    let options = prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!({"include_usage": true})),
        Just(json!({"include_usage": false})),
        Just(json!({"include_usage": null})),
        Just(json!({"include_obfuscation": false})),
        Just(json!({"a": 1, "include_usage": false, "b": [1]})),
    ];
    let members = (
        maybe("model", "[ -~é\"\\\\]{0,20}".prop_map(Value::from)),
        maybe("stream", prop_oneof![any::<bool>().prop_map(Value::from), Just(Value::Null)]),
        maybe("max_tokens", any::<u32>().prop_map(Value::from)),
        maybe("max_completion_tokens", any::<u32>().prop_map(Value::from)),
        maybe("n", (1_u8..9).prop_map(Value::from)),
        maybe("stream_options", options),
        maybe("messages", nested()),
        maybe("é/*~", "\\PC{0,9}".prop_map(Value::from)),
    );
    members.prop_map(|(a, b, c, d, e, f, g, h)| Value::Object([a, b, c, d, e, f, g, h].into_iter().flatten().collect()))
}

proptest! {
    #[test]
    fn a_look_sees_what_serde_does(body in body(), pretty in any::<bool>(), size in 1_usize..50) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let seen = look_in(Shape::OpenaiChat, text.as_bytes(), size).unwrap();
        let number = |name: &str| body[name].as_u64();
        prop_assert_eq!(seen.models.first().map(String::as_str), body["model"].as_str());
        prop_assert_eq!(seen.stream, body["stream"] == true);
        prop_assert_eq!(seen.max_output, number("max_tokens").max(number("max_completion_tokens")));
        prop_assert_eq!(seen.answers, number("n").unwrap_or(1));
        let wanted = body["stream_options"]["include_usage"] == true;
        prop_assert_eq!(seen.wants_usage, wanted);
        prop_assert_eq!(seen.edit.is_some(), seen.stream && !wanted);
        if let Some(edit) = seen.edit {
            let changed = edit.apply(text.as_bytes());
            prop_assert_eq!(changed.len(), edit.length(text.len()));
            let mut expected = body;
            if expected["stream_options"].is_null() {
                expected["stream_options"] = json!({});
            }
            expected["stream_options"]["include_usage"] = true.into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), expected);
        }
    }
}

#[test]
fn each_shape_says_it_in_its_own_place() {
    let look = |shape, body: Value| look_in(shape, body.to_string().as_bytes(), 7).unwrap();
    let responses =
        look(Shape::OpenaiResponses, json!({"model": "m", "stream": true, "max_output_tokens": 5, "max_tokens": 9}));
    assert_eq!((responses.max_output, responses.stream, responses.edit), (Some(5), true, None));
    let anthropic = look(Shape::Anthropic, json!({"model": "m", "max_tokens": 5, "stream": true}));
    assert_eq!((anthropic.max_output, anthropic.models), (Some(5), vec!["m".to_owned()]));
    let gemini =
        look(Shape::Gemini, json!({"contents": [], "generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}));
    assert_eq!((gemini.max_output, gemini.answers), (Some(5), 2));
    let other = look(Shape::Gemini, json!({"generation_config": {"max_output_tokens": 6}}));
    assert_eq!(other.max_output, Some(6));
    let native =
        look(Shape::DashscopeNative, json!({"model": "qwen", "input": {}, "parameters": {"max_tokens": 5, "n": 3}}));
    assert_eq!((native.max_output, native.answers, native.models), (Some(5), 3, vec!["qwen".to_owned()]));
    assert_eq!(look(Shape::None, json!({"model": 7})), Seen { answers: 1, ..Seen::default() });
}

#[test]
fn every_model_that_may_serve_the_call_is_seen() {
    let seen = chat(r#"{"models":["a","b"],"model":"c"}"#).unwrap();
    assert_eq!(seen.models, ["a", "b", "c"]);
    assert_eq!(chat(&json!({"models": vec!["a"; 17]}).to_string()), Err(LookFault::TooLong));
    assert_eq!(chat(r#"{"models":"a"}"#), Err(LookFault::Kind("/models/*")));
    assert_eq!(chat(r#"{"models":{"0":"a"}}"#), Err(LookFault::Kind("/models/*")));
    assert_eq!(chat(r#"{"models":[["a"]]}"#), Err(LookFault::Kind("/models/*")));
    assert_eq!(chat(&json!({"model": "m".repeat(513)}).to_string()), Err(LookFault::TooLong));
}

#[test]
fn an_escaped_name_is_the_name() {
    let seen = chat(r#"{"mod\u0065l":"\u0061","\u0073tream":true}"#).unwrap();
    assert_eq!((seen.models, seen.stream), (vec!["a".to_owned()], true));
}

#[test]
fn what_two_readers_could_take_for_two_is_refused() {
    for body in [
        r#"{"model":"cheap","model":"dear"}"#,
        r#"{"model":"cheap","mod\u0065l":"dear"}"#,
        r#"{"model":"cheap","MODEL":"dear"}"#,
        r#"{"Model":"dear"}"#,
        "{\"\u{17f}tream\":true}",
        r#"{"stream":true,"stream":false}"#,
        r#"{"max_tokens":1,"max_tokens":1}"#,
        r#"{"stream_options":{},"stream_options":{}}"#,
        r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
        r#"{"models":["a"],"models":["b"]}"#,
    ] {
        assert!(matches!(chat(body), Err(LookFault::Ambiguous(_))), "{body}");
    }
    let gemini = r#"{"generationConfig":{"maxOutputTokens":1},"generationConfig":{"maxOutputTokens":9}}"#;
    assert!(matches!(look_in(Shape::Gemini, gemini.as_bytes(), 9), Err(LookFault::Ambiguous("/generationConfig"))));
}

#[test]
fn a_field_of_another_kind_is_refused() {
    for body in [
        r#"{"model":7}"#,
        r#"{"model":["a"]}"#,
        r#"{"model":{"a":"b"}}"#,
        r#"{"stream":"true"}"#,
        r#"{"stream":1}"#,
        r#"{"max_tokens":"9"}"#,
        r#"{"max_tokens":-1}"#,
        r#"{"max_tokens":[9]}"#,
        r#"{"max_tokens":true}"#,
        r#"{"n":"2"}"#,
        r#"{"stream_options":true}"#,
        r#"{"stream_options":[]}"#,
        r#"{"stream_options":{"include_usage":1}}"#,
    ] {
        assert!(matches!(chat(body), Err(LookFault::Kind(_))), "{body}");
    }
    assert_eq!(chat(r#"{"max_tokens":1e3}"#).unwrap().max_output, Some(1000));
    assert_eq!(chat(r#"{"max_tokens":10.5}"#).unwrap().max_output, Some(11));
    assert_eq!(chat(r#"{"max_tokens":1e99}"#).unwrap().max_output, Some(u64::MAX));
    assert_eq!(chat(r#"{"max_tokens":null,"model":null}"#).unwrap().max_output, None);
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["[]", "null", "7", "\"model\"", "true"] {
        assert_eq!(chat(body), Err(LookFault::NoObject), "{body}");
    }
    assert_eq!(chat(""), Err(LookFault::Short));
    assert_eq!(chat(r#"{"model":"a""#), Err(LookFault::Short));
    assert_eq!(chat(r#"{"model":"a"}{"model":"b"}"#), Err(LookFault::Syntax(13)));
    assert_eq!(chat(&format!("{{\"a\":{}", "[".repeat(200))), Err(LookFault::Deep));
    let utf16: Vec<u8> = r#"{"model":"a"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(matches!(look_in(Shape::OpenaiChat, &utf16, 9), Err(LookFault::Syntax(1))));
}

#[test]
fn the_edit_is_an_insertion_where_it_can_be() {
    let edited = |body: &str| {
        let edit = chat(body).unwrap().edit.unwrap();
        (edit.at.len(), String::from_utf8(edit.apply(body.as_bytes())).unwrap())
    };
    assert_eq!(
        edited(r#"{ "stream" : true } "#),
        (0, r#"{ "stream" : true ,"stream_options":{"include_usage":true}} "#.to_owned())
    );
    assert_eq!(
        edited(r#"{"stream_options":{ },"stream":true}"#),
        (0, r#"{"stream_options":{ "include_usage":true},"stream":true}"#.to_owned())
    );
    assert_eq!(
        edited(r#"{"stream_options":{"include_usage":false},"stream":true}"#),
        (5, r#"{"stream_options":{"include_usage":true},"stream":true}"#.to_owned())
    );
}
