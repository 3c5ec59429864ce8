//! The scanner against serde_json: same yes, same no, same values at the same places, however the text is cut.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// All items with their places, as text.
#[derive(Default, PartialEq, Debug)]
struct All(Vec<(String, String)>);

impl Sink for All {
    fn see(&mut self, place: &str, item: Item<'_>, at: usize) {
        self.0.push((place.to_owned(), format!("{item:?} {at}")));
    }
}

fn scanned<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<All, Broken> {
    let (mut scanner, mut all) = (Scanner::default(), All::default());
    for piece in pieces {
        scanner.feed(piece, &mut all)?;
    }
    scanner.finish(&mut all).map(|()| all)
}

/// What a scanner should tell of a value, offsets apart.
fn expected(value: &Value, place: &str, depth: usize, told: &mut Vec<(String, String)>) {
    let mut tell = |text: String| told.push((place.to_owned(), text));
    match value {
        Value::Null => tell("Null".into()),
        Value::Bool(flag) => tell(format!("Flag({flag})")),
        Value::Number(_) => tell("Number".into()),
        Value::String(text) => tell(format!("Text({:?}, {})", (text.len() <= 512).then_some(text), text.len())),
        Value::Array(items) => {
            tell("Open".into());
            items
                .iter()
                .filter(|_| depth < TOLD)
                .for_each(|item| expected(item, &format!("{place}/*"), depth + 1, told));
            told.push((place.to_owned(), format!("Close {{ empty: {}, object: false }}", items.is_empty())));
        }
        Value::Object(members) => {
            tell("Open".into());
            for (name, value) in members.iter().filter(|(name, _)| depth < TOLD && name.len() <= KEY) {
                let name = name.replace('~', "~0").replace('/', "~1").replace('*', "~2");
                told.push((format!("{place}/{name}"), "Key".into()));
                expected(value, &format!("{place}/{name}"), depth + 1, told);
            }
            told.push((place.to_owned(), format!("Close {{ empty: {}, object: true }}", members.is_empty())));
        }
    }
}

fn without_offsets(all: All) -> Vec<(String, String)> {
    let bare = |text: String| {
        let text = text.rsplit_once(' ').map_or(text.clone(), |(item, _)| item.to_owned());
        if text.starts_with("Number") { "Number".to_owned() } else { text }
    };
    all.0.into_iter().map(|(place, text)| (place, bare(text))).collect()
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[\"\\\\\u{0}-\u{20}äé😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(12, 64, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~*\"\\\\é]{0,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_is_told_at_its_place(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let mut told = Vec::new();
        expected(&value, "", 0, &mut told);
        prop_assert_eq!(without_offsets(scanned([text.as_bytes()]).unwrap()), told);
    }

    #[test]
    fn cuts_change_nothing(value in json(), size in 1_usize..9) {
        let text = value.to_string();
        prop_assert_eq!(scanned(text.as_bytes().chunks(size)), scanned([text.as_bytes()]));
    }

    #[test]
    fn yes_and_no_are_serdes(mut text in json().prop_map(|value| value.to_string().into_bytes()), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        let same = serde_json::from_slice::<Value>(&text).is_ok() == scanned([&text[..]]).is_ok();
        // serde_json refuses numbers beyond its range and half pairs, of which a byte can make one.
        prop_assert!(same || text.contains(&b'e') || text.contains(&b'E') || text.contains(&b'u'), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn noise_never_panics(text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0eE+-.tfn \x80\xc3\xed\xf4".to_vec()), 0..40)) {
        let _ = scanned(text.chunks(3));
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "tru",
        "truee",
        "1 2",
        "[1}",
        "{\"a\":1]",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "'a'",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "// x\n1",
        "\u{feff}1",
        "{\"\\ud800\":1}",
        "]",
        "}",
        ",",
    ] {
        assert!(scanned([text.as_bytes()]).is_err(), "{text}");
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
    }
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc3\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\"\xe0\x80\x80\"",
    ] {
        assert!(scanned([bytes]).is_err(), "{bytes:?}");
    }
}

#[test]
fn half_a_pair_in_a_text_is_replaced() {
    let told = |text: &str| scanned([text.as_bytes()]).unwrap().0[0].1.clone();
    assert_eq!(told(r#""\ud83d\ude00""#), "Text(Some(\"😀\"), 4) 14");
    assert_eq!(told(r#""a\ud83d""#), "Text(Some(\"a\u{fffd}\"), 4) 9");
    assert_eq!(told(r#""\ud83db""#), "Text(Some(\"\u{fffd}b\"), 4) 9");
    assert_eq!(told(r#""\ud83d\n""#), "Text(Some(\"\u{fffd}\\n\"), 4) 10");
    assert_eq!(told(r#""\ude00\ud83d\ud83d\ude00""#), "Text(Some(\"\u{fffd}\u{fffd}😀\"), 10) 26");
}

#[test]
fn depth_and_memory_are_bounded() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(scanned([deep(127).as_bytes()]).is_ok() && serde_json::from_str::<Value>(&deep(127)).is_ok());
    assert_eq!(scanned([deep(128).as_bytes()]), Err(Broken::Deep));
    assert!(serde_json::from_str::<Value>(&deep(128)).is_err());
    let long = format!("{{\"{}\":\"{}\"}}", "k".repeat(100_000), "v".repeat(100_000));
    let (mut scanner, mut all) = (Scanner::default(), All::default());
    scanner.feed(long.as_bytes(), &mut all).unwrap();
    assert!(scanner.place.capacity() < 1024 && scanner.state == State::End);
    assert_eq!(all.0.len(), 2, "a member of an absurd name is passed over");
    assert_eq!(scanned([format!("\"{}\"", "v".repeat(600)).as_bytes()]).unwrap().0[0].1, "Text(None, 600) 602");
}
