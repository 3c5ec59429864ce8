//! The dialects that providers speak: where a call names its model and its limits, and where an answer tells its usage.
//! Places are JSON pointers, in which `*` stands for every item of a list. Nothing here reads a body.

use super::Malformed;
use serde::Deserialize;
use std::str::FromStr;

/// How a route's calls and answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Shape {
    /// OpenAI's chat completions, completions and embeddings, and whoever copies them.
    OpenaiChat,
    /// OpenAI's responses.
    OpenaiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's and Vertex's `generateContent`.
    Gemini,
    /// DashScope's own `{"model","input","parameters"}`.
    DashscopeNative,
    /// Nothing is known: neither model nor usage can be read.
    #[default]
    None,
}

/// Where a call's body says what a rule may bound.
#[derive(Debug, PartialEq, Eq)]
pub struct CallFields {
    /// Every model that may serve the call. Empty where the path names it, or nothing does.
    pub model: &'static [&'static str],
    /// Whether the answer is streamed. None where path or header say so.
    pub stream: Option<&'static str>,
    /// Limits of what one answer may have, in tokens: the provider may go by any of them.
    pub max_output: &'static [&'static str],
    /// How many answers are asked for at once.
    pub answers: &'static [&'static str],
    /// The object that asks for a usage event, where there is such a thing.
    pub stream_options: Option<&'static str>,
}

/// Where an answer, or one event of it, tells what was used.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageFields {
    /// Where the usage object may stand.
    pub at: &'static [&'static str],
    /// Names within it whose sum is everything that was read, cached or not.
    pub input: &'static [&'static str],
    /// Names whose sum is everything that was written, reasoning too.
    pub output: &'static [&'static str],
    /// Input that came out of a cache; the greatest counts.
    pub cached_input: &'static [&'static str],
    /// Input that was put into a cache.
    pub cache_write: &'static [&'static str],
    /// Input and output together.
    pub total: &'static [&'static str],
    /// Output that was thought and not said.
    pub reasoning: &'static [&'static str],
    /// What it cost, in the provider's credits.
    pub cost: &'static [&'static str],
    /// Where an event brings new output, for an estimate while it flows. Empty where each event tells usage so far.
    pub delta: &'static [&'static str],
}

impl Shape {
    /// All shapes.
    pub const ALL: [Shape; 6] = [
        Shape::OpenaiChat,
        Shape::OpenaiResponses,
        Shape::Anthropic,
        Shape::Gemini,
        Shape::DashscopeNative,
        Shape::None,
    ];

    /// As in provider files.
    pub fn name(self) -> &'static str {
        match self {
            Shape::OpenaiChat => "openai-chat",
            Shape::OpenaiResponses => "openai-responses",
            Shape::Anthropic => "anthropic",
            Shape::Gemini => "gemini",
            Shape::DashscopeNative => "dashscope-native",
            Shape::None => "none",
        }
    }

    /// What can be read of a call.
    pub fn call(self) -> &'static CallFields {
        match self {
            Shape::OpenaiChat => &OPENAI_CHAT_CALL,
            Shape::OpenaiResponses => &OPENAI_RESPONSES_CALL,
            Shape::Anthropic => &ANTHROPIC_CALL,
            Shape::Gemini => &GEMINI_CALL,
            Shape::DashscopeNative => &DASHSCOPE_CALL,
            Shape::None => &NO_CALL,
        }
    }

    /// What can be read of an answer.
    pub fn usage(self) -> &'static UsageFields {
        match self {
            Shape::OpenaiChat => &OPENAI_CHAT,
            Shape::OpenaiResponses => &OPENAI_RESPONSES,
            Shape::Anthropic => &ANTHROPIC,
            Shape::Gemini => &GEMINI,
            Shape::DashscopeNative => &DASHSCOPE,
            Shape::None => &NOTHING,
        }
    }
}

impl FromStr for Shape {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let names = || Shape::ALL.map(Shape::name).join(", ");
        Shape::ALL
            .into_iter()
            .find(|shape| shape.name() == text)
            .ok_or_else(|| Malformed::new(format!("a shape is one of {}", names())))
    }
}

impl TryFrom<String> for Shape {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

const NO_CALL: CallFields =
    CallFields { model: &[], stream: None, max_output: &[], answers: &[], stream_options: None };

/// `models` is OpenRouter's list of models to fall back to.
const OPENAI_CHAT_CALL: CallFields = CallFields {
    model: &["/model", "/models/*"],
    stream: Some("/stream"),
    max_output: &["/max_completion_tokens", "/max_tokens"],
    answers: &["/n", "/best_of"],
    stream_options: Some("/stream_options"),
};

const OPENAI_RESPONSES_CALL: CallFields = CallFields {
    model: &["/model", "/models/*"],
    stream: Some("/stream"),
    max_output: &["/max_output_tokens"],
    ..NO_CALL
};

const ANTHROPIC_CALL: CallFields =
    CallFields { model: &["/model"], stream: Some("/stream"), max_output: &["/max_tokens"], ..NO_CALL };

/// Gemini's JSON is protobuf's, which takes both spellings.
const GEMINI_CALL: CallFields = CallFields {
    max_output: &[
        "/generationConfig/maxOutputTokens",
        "/generationConfig/max_output_tokens",
        "/generation_config/maxOutputTokens",
        "/generation_config/max_output_tokens",
    ],
    answers: &[
        "/generationConfig/candidateCount",
        "/generationConfig/candidate_count",
        "/generation_config/candidateCount",
        "/generation_config/candidate_count",
    ],
    ..NO_CALL
};

const DASHSCOPE_CALL: CallFields = CallFields {
    model: &["/model"],
    max_output: &["/parameters/max_tokens", "/parameters/max_completion_tokens"],
    answers: &["/parameters/n"],
    ..NO_CALL
};

const NOTHING: UsageFields = UsageFields {
    at: &[],
    input: &[],
    output: &[],
    cached_input: &[],
    cache_write: &[],
    total: &[],
    reasoning: &[],
    cost: &[],
    delta: &[],
};

/// Groq puts it into `x_groq`; DeepSeek has its own word for what was cached, OpenRouter a cost.
const OPENAI_CHAT: UsageFields = UsageFields {
    at: &["/usage", "/x_groq/usage"],
    input: &["/prompt_tokens"],
    output: &["/completion_tokens"],
    cached_input: &["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens"],
    cache_write: &["/prompt_tokens_details/cache_write_tokens", "/prompt_tokens_details/cache_creation_input_tokens"],
    total: &["/total_tokens"],
    reasoning: &["/completion_tokens_details/reasoning_tokens"],
    cost: &["/cost"],
    delta: &[
        "/choices/*/delta/content",
        "/choices/*/delta/reasoning_content",
        "/choices/*/delta/reasoning",
        "/choices/*/delta/refusal",
        "/choices/*/delta/tool_calls/*/function/arguments",
        "/choices/*/text",
    ],
};

const OPENAI_RESPONSES: UsageFields = UsageFields {
    at: &["/usage", "/response/usage"],
    input: &["/input_tokens"],
    output: &["/output_tokens"],
    cached_input: &["/input_tokens_details/cached_tokens"],
    total: &["/total_tokens"],
    reasoning: &["/output_tokens_details/reasoning_tokens"],
    cost: &["/cost"],
    delta: &["/delta"],
    ..NOTHING
};

/// Anthropic's `input_tokens` are those that have to do with no cache.
const ANTHROPIC: UsageFields = UsageFields {
    at: &["/usage", "/message/usage"],
    input: &["/input_tokens", "/cache_creation_input_tokens", "/cache_read_input_tokens"],
    output: &["/output_tokens"],
    cached_input: &["/cache_read_input_tokens"],
    cache_write: &["/cache_creation_input_tokens"],
    delta: &["/delta/text", "/delta/partial_json", "/delta/thinking"],
    ..NOTHING
};

const GEMINI: UsageFields = UsageFields {
    at: &["/usageMetadata"],
    input: &["/promptTokenCount", "/toolUsePromptTokenCount"],
    output: &["/candidatesTokenCount", "/thoughtsTokenCount"],
    cached_input: &["/cachedContentTokenCount"],
    total: &["/totalTokenCount"],
    reasoning: &["/thoughtsTokenCount"],
    delta: &["/candidates/*/content/parts/*/text"],
    ..NOTHING
};

const DASHSCOPE: UsageFields = UsageFields {
    at: &["/usage"],
    input: &["/input_tokens"],
    output: &["/output_tokens"],
    cached_input: &["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"],
    cache_write: &["/prompt_tokens_details/cache_creation_input_tokens"],
    total: &["/total_tokens"],
    reasoning: &["/output_tokens_details/reasoning_tokens"],
    ..NOTHING
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_back_by_its_name() {
        for shape in Shape::ALL {
            assert_eq!(shape.name().parse(), Ok(shape));
        }
        assert!("openai".parse::<Shape>().unwrap_err().to_string().contains("openai-chat"));
    }

    #[test]
    fn every_place_is_a_pointer() {
        for shape in Shape::ALL {
            let (call, usage) = (shape.call(), shape.usage());
            let lists = [
                call.model,
                call.max_output,
                call.answers,
                usage.at,
                usage.input,
                usage.output,
                usage.cached_input,
                usage.cache_write,
                usage.total,
                usage.reasoning,
                usage.cost,
                usage.delta,
            ];
            let single = call.stream.into_iter().chain(call.stream_options);
            for place in lists.into_iter().flatten().copied().chain(single) {
                assert!(place.starts_with('/') && !place.ends_with('/') && place.len() < 64, "{place}");
            }
        }
    }
}
