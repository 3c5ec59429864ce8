//! Answers as each provider writes them, whole and cut anywhere.

use super::*;
use proptest::prelude::*;

fn read<'b>(shape: Shape, framing: Framing, pieces: impl IntoIterator<Item = &'b [u8]>) -> Option<Usage> {
    let mut reader = UsageReader::new(shape, framing);
    pieces.into_iter().for_each(|piece| reader.feed(piece));
    reader.finish()
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input, output, total: input + output, ..Usage::default() }
}

/// Events, one a line.
fn sse(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

const CHAT: &str = r#"{"id":"c","choices":[{"message":{"content":"usage: {\"prompt_tokens\":9}"}}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
const RESPONSES: &str = r#"{"object":"response","output":[{"content":[{"text":"hi"}]}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":7},"total_tokens":123}}"#;
const ANTHROPIC: &str = r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":5,"service_tier":"standard"}}"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":10,"thoughtsTokenCount":100,"cachedContentTokenCount":2,"totalTokenCount":118}}"#;
const DASHSCOPE: &str = r#"{"output":{"text":"x","finish_reason":"stop"},"usage":{"input_tokens":7,"output_tokens":9,"total_tokens":16},"request_id":"r"}"#;

#[test]
fn each_shape_tells_its_usage_in_one_body() {
    let json = |shape, body: &str| read(shape, Framing::Json, [body.as_bytes()]).unwrap();
    let usage = Usage { cached_input: 4, reasoning: 3, ..tokens(19, 10) };
    assert_eq!(json(Shape::OpenaiChat, CHAT), usage);
    assert_eq!(json(Shape::OpenaiResponses, RESPONSES), Usage { cached_input: 6, reasoning: 7, ..tokens(36, 87) });
    assert_eq!(json(Shape::Anthropic, ANTHROPIC), Usage { cached_input: 30, cache_write: 20, ..tokens(60, 5) });
    assert_eq!(json(Shape::Gemini, GEMINI), Usage { cached_input: 2, reasoning: 100, ..tokens(8, 110) });
    assert_eq!(json(Shape::DashscopeNative, DASHSCOPE), tokens(7, 9));
    assert_eq!(read(Shape::None, Framing::Json, [CHAT.as_bytes()]), None);
}

#[test]
fn each_copy_of_openai_has_its_own_words() {
    let chat = |body: &str| read(Shape::OpenaiChat, Framing::Json, [body.as_bytes()]).unwrap();
    let deepseek = r#"{"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_cache_hit_tokens":6,"prompt_cache_miss_tokens":4}}"#;
    assert_eq!(chat(deepseek), Usage { cached_input: 6, ..tokens(10, 2) });
    let openrouter = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":0.00014,"cost_details":{"cost":9}}}"#;
    assert_eq!(chat(openrouter), Usage { cost_micros: Some(140), ..tokens(1, 2) });
    let xai = r#"{"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":151,"completion_tokens_details":{"reasoning_tokens":110}}}"#;
    assert_eq!(chat(xai), Usage { reasoning: 110, ..tokens(32, 119) });
    assert_eq!(
        chat(r#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#),
        tokens(8, 0)
    );
    assert_eq!(chat(r#"{"usage":{"total_tokens":8}}"#), tokens(8, 0));
}

#[test]
fn each_stream_tells_its_usage_where_its_provider_puts_it() {
    let stream = |shape, events: &[&str]| read(shape, Framing::Sse, [sse(events).as_bytes()]).unwrap();
    let chat = [
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
        "[DONE]",
    ];
    assert_eq!(stream(Shape::OpenaiChat, &chat), tokens(3, 4));
    let groq = [
        r#"{"choices":[{"delta":{}}],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"queue_time":0.1}}}"#,
    ];
    assert_eq!(stream(Shape::OpenaiChat, &groq), tokens(3, 4));
    let responses = [
        r#"{"type":"response.created","response":{"usage":null}}"#,
        r#"{"type":"response.output_text.delta","delta":"hi"}"#,
        r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}}"#,
    ];
    assert_eq!(stream(Shape::OpenaiResponses, &responses), tokens(3, 4));
    let gemini = [
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8}}"#,
        r#"{"candidates":[],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":5,"totalTokenCount":13}}"#,
    ];
    assert_eq!(stream(Shape::Gemini, &gemini), tokens(8, 5));
    let dashscope = [
        r#"{"output":{"text":"a"},"usage":{"input_tokens":7,"output_tokens":1,"total_tokens":8}}"#,
        r#"{"output":{"text":"ab"},"usage":{"input_tokens":7,"output_tokens":9,"total_tokens":16}}"#,
    ];
    assert_eq!(stream(Shape::DashscopeNative, &dashscope), tokens(7, 9));
}

const MESSAGES: [&str; 5] = [
    r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":5,"output_tokens":1}}}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello wide world"}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#,
    r#"{"type":"message_stop"}"#,
];

#[test]
fn anthropics_counts_are_cumulative() {
    let whole = read(Shape::Anthropic, Framing::Sse, [sse(&MESSAGES).as_bytes()]);
    assert_eq!(whole, Some(Usage { cached_input: 5, ..tokens(15, 15) }));
    let cut = read(Shape::Anthropic, Framing::Sse, [sse(&MESSAGES[..3]).as_bytes()]);
    assert_eq!(cut, Some(Usage { cached_input: 5, ..tokens(15, 1) }), "what was counted before the cut");
}

#[test]
fn output_is_estimated_between_the_providers_own_counts() {
    let mut reader = UsageReader::new(Shape::Anthropic, Framing::Sse);
    let mut so_far = Vec::new();
    for event in MESSAGES {
        reader.feed(sse(&[event]).as_bytes());
        so_far.push(reader.output_so_far());
    }
    assert_eq!(so_far, [1, 1, 5, 15, 15]);
    let mut reader = UsageReader::new(Shape::OpenaiChat, Framing::Sse);
    reader.feed(br#"data: {"id":"long-long-long","choices":[{"delta":{"content":"four","tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}"#);
    assert_eq!(reader.output_so_far(), 3, "eleven bytes, before the event is over");
}

#[test]
fn what_is_not_understood_is_unknown_and_hurts_nobody() {
    for body in [
        "",
        "{",
        "<html>",
        "null",
        "[]",
        r#"{"usage":{}}"#,
        r#"{"usage":null}"#,
        r#"{"usage":{"prompt_tokens":"7"}}"#,
        r#"{"usage":{"prompt_tokens":-7}}"#,
        r#"{"usage":{"prompt_tokens":7}"#,
        r#"{"usage":7}"#,
        r#"{"usage":[{"prompt_tokens":7}]}"#,
    ] {
        assert_eq!(read(Shape::OpenaiChat, Framing::Json, [body.as_bytes()]), None, "{body}");
    }
    let stream =
        "data: {broken\n\ndata: {\"usage\":{\"prompt_tokens\":3}}\n\ndata: {\"usage\":{\"prompt_tokens\":99}\n\n";
    assert_eq!(read(Shape::OpenaiChat, Framing::Sse, [stream.as_bytes()]), Some(tokens(3, 0)));
    let vast = r#"{"usage":{"prompt_tokens":1e99,"completion_tokens":18446744073709551615,"cost":1e300}}"#;
    let usage = read(Shape::OpenaiChat, Framing::Json, [vast.as_bytes()]).unwrap();
    assert_eq!((usage.input, usage.total, usage.cost_micros), (u64::MAX, u64::MAX, Some(u64::MAX)));
}

#[test]
fn a_body_of_any_size_is_read_and_not_kept() {
    let row = format!("{{\"embedding\":[{}]}},", "0.123456,".repeat(1000) + "1");
    let body = format!("{{\"data\":[{}1],\"usage\":{{\"prompt_tokens\":5,\"total_tokens\":5}}}}", row.repeat(100));
    assert_eq!(read(Shape::OpenaiChat, Framing::Json, body.as_bytes().chunks(4096)), Some(tokens(5, 0)));
}

#[test]
fn the_content_type_tells_the_framing() {
    assert_eq!(Framing::of("text/event-stream; charset=utf-8"), Some(Framing::Sse));
    assert_eq!(Framing::of("Application/JSON"), Some(Framing::Json));
    assert_eq!(Framing::of("application/problem+json"), Some(Framing::Json));
    assert_eq!((Framing::of("text/html"), Framing::of("audio/mpeg"), Framing::of("")), (None, None, None));
}

proptest! {
    #[test]
    fn cuts_change_nothing(size in 1_usize..40, newline in prop::sample::select(vec!["\n", "\r\n", "\r"]), comments in any::<bool>()) {
        let between = if comments { ": still here\n\nevent: x\n" } else { "" };
        for (shape, body) in [
            (Shape::OpenaiChat, CHAT), (Shape::OpenaiResponses, RESPONSES), (Shape::Anthropic, ANTHROPIC), (Shape::Gemini, GEMINI),
            (Shape::DashscopeNative, DASHSCOPE),
        ] {
            let whole = read(shape, Framing::Json, [body.as_bytes()]);
            prop_assert!(whole.is_some());
            prop_assert_eq!(read(shape, Framing::Json, body.as_bytes().chunks(size)), whole);
            // A value may stand on several lines of data.
            let lines = body.replace(',', ",\ndata: ").replace("usage: {\\\"prompt_tokens", "usage");
            let stream = format!("{between}data: {lines}\n\n{between}data: [DONE]\n\n").replace('\n', newline);
            prop_assert_eq!(read(shape, Framing::Sse, stream.as_bytes().chunks(size)), whole);
        }
    }
}
