//! Kinds of values that keys of an experiment file take: how each is read, and what its schema says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::error::{Fault, Found, Span, nearest};
use super::field::{FromNode, Given, unknown_key, wrong_type};
use super::tree::{Node, Value};
use super::{ExperimentName, Gpus, On, Resolution, Strategy};
use crate::load::Load;
use crate::protocol::Layer;
use crate::sla::TokensPerSecond;
use crate::units::{Seconds, Share};

/// Gives a type the schema of one JSON value, in place.
macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Text that says something.
#[derive(Clone, Debug)]
pub(super) struct Text(pub String);
schema!(Text, "Text", { "type": "string", "minLength": 1 });

impl FromNode for Text {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        match &node.value {
            Value::String(text) if text.trim().is_empty() => {
                found.push(Fault::new(node.at, "an empty text says nothing", "expected some text"));
                None
            }
            Value::String(text) => Some(Self(text.clone())),
            _ => wrong_type(node, "text", found),
        }
    }
}

schema!(ExperimentName, "Name", { "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$" });

impl FromNode for ExperimentName {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Value::String(text) = &node.value else { return wrong_type(node, "a name", found) };
        let name = Self::new(text);
        if name.is_none() {
            let label = "expected at most 100 ASCII letters, digits, `.`, `_` or `-`, not beginning with a dot";
            let fault = Fault::new(node.at, format!("{} is not a name", node.describe()), label);
            found.push(fault.help("the name becomes that of a directory under results/"));
        }
        name
    }
}

/// The number of the format.
#[derive(Clone, Debug)]
pub(super) struct SchemaNumber;
schema!(SchemaNumber, "SchemaNumber", { "const": 1 });

impl FromNode for SchemaNumber {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        match node.value {
            Value::Integer(1) => Some(Self),
            Value::Integer(newer @ 2..) => {
                let message = format!("this file is written in format {newer}, and this ceiling reads format 1");
                found.push(Fault::new(node.at, message, "too new").help("use a newer ceiling"));
                None
            }
            _ => wrong_type(node, "the number of a format that is read here: 1", found),
        }
    }
}

/// A whole number within the range of its type, at least `LEAST`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<T, const LEAST: u8>(pub T);

/// Counts from one.
pub(super) type Count = Whole<u32, 1>;
/// Counts from one, as far as they go.
pub(super) type BigCount = Whole<u64, 1>;
/// Counts from zero.
pub(super) type Natural = Whole<u32, 0>;
/// A number that only must be the same to mean the same.
pub(super) type Seed = Whole<u64, 0>;

impl<T: TryFrom<i64>, const LEAST: u8> FromNode for Whole<T, LEAST> {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Value::Integer(value) = node.value else {
            return wrong_type(node, "a whole number", found);
        };
        if value < i64::from(LEAST) {
            let label = format!("expected at least {LEAST}");
            found.push(Fault::new(node.at, format!("{value} is too small a number"), label));
            return None;
        }
        let whole = T::try_from(value).ok().map(Self);
        if whole.is_none() {
            let label = format!("expected at most {}", u32::MAX);
            found.push(Fault::new(node.at, format!("{value} is too large a number"), label));
        }
        whole
    }
}

impl<T, const LEAST: u8> JsonSchema for Whole<T, LEAST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let most = if size_of::<T>() == 4 { i64::from(u32::MAX) } else { i64::MAX };
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": most })
    }
}

/// Most requests in flight that may be asked for. No engine holds nearly as many, and each of them takes some of our memory.
const MOST_IN_FLIGHT: u32 = 1_000_000;

/// A number of requests in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight(pub u32);
schema!(InFlight, "InFlight", { "type": "integer", "minimum": 1, "maximum": MOST_IN_FLIGHT });

impl FromNode for InFlight {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        match Count::from_node(node, found)? {
            Whole(count @ ..=MOST_IN_FLIGHT) => Some(Self(count)),
            Whole(count) => {
                let label = format!("expected at most {MOST_IN_FLIGHT}");
                found.push(Fault::new(node.at, format!("{count} is too large a number"), label));
                None
            }
        }
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Integer(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    }
}

/// A number, or a number with a percent sign as a part of one.
fn fraction(node: &Node) -> Option<f64> {
    match &node.value {
        Value::String(text) => percent(text),
        _ => number(node),
    }
}

fn percent(text: &str) -> Option<f64> {
    let digits = text.trim().strip_suffix('%')?.trim();
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    // Shifting the decimal point in the text keeps "99.9%" equal to 0.999, which dividing need not.
    plain.then(|| format!("{digits}e-2").parse().ok()).flatten()
}

/// A length of time that may be zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length(pub Seconds);
schema!(Length, "Length", { "type": "string", "pattern": LENGTH_PATTERN });

/// A length of time above zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct PositiveLength(pub Seconds);
schema!(PositiveLength, "PositiveLength", { "type": "string", "pattern": LENGTH_PATTERN });

const LENGTH_PATTERN: &str = r"^\s*([0-9]+(\.[0-9]*)?\s*(us|ms|s|m|h)\s*)+$";

impl FromNode for Length {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let expected = "a length of time such as \"250ms\", \"5s\" or \"20m\"";
        let Value::String(text) = &node.value else {
            if let Some(count) = number(node).filter(|count| *count >= 0.0) {
                let label = format!("expected a unit: us, ms, s, m or h, as in \"{count}s\"");
                found.push(Fault::new(node.at, format!("{} has no unit of time", node.describe()), label));
                return None;
            }
            return wrong_type(node, expected, found);
        };
        match text.parse() {
            Ok(seconds) => Some(Self(seconds)),
            Err(error) => {
                let error: crate::units::SecondsError = error;
                found.push(Fault::new(node.at, error.to_string(), format!("expected {expected}")));
                None
            }
        }
    }
}

impl FromNode for PositiveLength {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Length(seconds) = Length::from_node(node, found)?;
        if seconds == Seconds::ZERO {
            found.push(Fault::new(node.at, "no time at all leaves nothing to measure", "expected more than zero"));
            return None;
        }
        Some(Self(seconds))
    }
}

/// A part of a whole: a number from 0 to 1, or a percentage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part(pub Share);
schema!(Part, "Part", {
    "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": PERCENT_PATTERN }]
});

const PERCENT_PATTERN: &str = r"^\s*[0-9]+(\.[0-9]*)?\s*%\s*$";

impl FromNode for Part {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let expected = "a part between 0 and 1, such as 0.99 or \"99%\"";
        let Some(value) = fraction(node) else { return wrong_type(node, expected, found) };
        match Share::new(value) {
            Some(share) => Some(Self(share)),
            None => wrong_type(node, expected, found),
        }
    }
}

/// A relative spread: a number from 0 to 1, or a percentage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread(pub f64);
schema!(Spread, "Spread", {
    "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": PERCENT_PATTERN }]
});

impl FromNode for Spread {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        match fraction(node).filter(|value| value.is_finite() && *value >= 0.0) {
            Some(value @ ..=1.0) => Some(Self(value + 0.0)),
            Some(_) => {
                let message = format!("{} is too large a spread", node.describe());
                let fault = Fault::new(node.at, message, "expected at most 1, or \"100%\"");
                found.push(fault.help("a spread is a part of what it is a spread of, such as 0.05 or \"5%\""));
                None
            }
            None => wrong_type(node, "a number from 0 to 1, or a percentage such as \"5%\"", found),
        }
    }
}

/// A finite number above zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positive(pub f64);
schema!(Positive, "Positive", { "type": "number", "exclusiveMinimum": 0 });

impl FromNode for Positive {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        match number(node).filter(|value| value.is_finite() && *value > 0.0) {
            Some(value) => Some(Self(value)),
            None => wrong_type(node, "a number above zero", found),
        }
    }
}

schema!(TokensPerSecond, "TokensPerSecond", { "type": "number", "exclusiveMinimum": 0 });

impl FromNode for TokensPerSecond {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Positive(value) = Positive::from_node(node, found)?;
        Self::new(value)
    }
}

schema!(Resolution, "Resolution", {
    "anyOf": [{ "type": "integer", "minimum": 1, "maximum": u32::MAX }, { "type": "string", "pattern": PERCENT_PATTERN }]
});

impl FromNode for Resolution {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let expected = "a number of requests such as 1, or a percentage such as \"2%\"";
        match &node.value {
            Value::Integer(_) => Count::from_node(node, found).map(|Whole(width)| Self::Requests(width)),
            Value::String(text) => match percent(text).and_then(Share::new).filter(|share| share.get() > 0.0) {
                Some(share) => Some(Self::Relative(share)),
                None => wrong_type(node, expected, found),
            },
            _ => wrong_type(node, expected, found),
        }
    }
}

/// A value that is one of some words.
pub(super) trait Word: Copy + 'static {
    /// The words, their values, and what each means.
    const WORDS: &[(&str, Self, &str)];
}

/// One of the words of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<T>(pub T);

impl<T: Word> FromNode for Choice<T> {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let words = || T::WORDS.iter().map(|(word, ..)| *word);
        let expected = words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let Value::String(text) = &node.value else { return wrong_type(node, &expected, found) };
        let value = T::WORDS.iter().find(|(word, ..)| word == text);
        if value.is_none() {
            let label = match nearest(text, words()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("expected {expected}"),
            };
            let fault = Fault::new(node.at, format!("{} is not {expected}", node.describe()), label);
            found.push(fault);
        }
        value.map(|(_, value, _)| Self(*value))
    }
}

impl<T: Word> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = T::WORDS.iter().map(|(word, ..)| *word).collect();
        let meanings: Vec<_> = T::WORDS.iter().map(|(_, _, meaning)| *meaning).collect();
        // Taplo shows `enumDocs` beside each word that it completes.
        json_schema!({ "type": "string", "enum": words, "x-taplo": { "docs": { "enumValues": meanings } } })
    }
}

/// What runs the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineKind {
    Vllm,
    Sim,
}

impl Word for EngineKind {
    const WORDS: &[(&str, Self, &str)] =
        &[("vllm", Self::Vllm, "A real vLLM."), ("sim", Self::Sim, "The simulator, in virtual time.")];
}

impl Word for Layer {
    const WORDS: &[(&str, Self, &str)] = &[
        ("engine-core", Self::EngineCore, "vLLM's EngineCore client: without the frontend."),
        ("async-llm", Self::AsyncLlm, "vLLM's AsyncLLM: with the frontend."),
    ];
}

impl Word for Load {
    const WORDS: &[(&str, Self, &str)] = &[
        ("burst", Self::Burst, "N requests at once, each held for a while past its first token."),
        ("sustained", Self::Sustained, "N requests in flight all the time."),
    ];
}

impl Word for On {
    const WORDS: &[(&str, Self, &str)] =
        &[("local", Self::Local, "This machine."), ("slurm", Self::Slurm, "A cluster, by one job array of Slurm.")];
}

impl Word for Strategy {
    const WORDS: &[(&str, Self, &str)] = &[
        ("guided", Self::Guided, "By the latencies seen so far, with a confidence from the spread between probes."),
        ("bisect", Self::Bisect, "Exponential ramp, then bisection, on single verdicts: the reference."),
    ];
}

schema!(Gpus, "Gpus", {
    "anyOf": [
        { "type": "string", "enum": ["all", "none"] },
        { "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1, "uniqueItems": true },
    ]
});

impl FromNode for Gpus {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let expected = "\"all\", \"none\" or a list of GPU indices such as [0, 1]";
        match &node.value {
            Value::String(text) if text == "all" => Some(Self::All),
            Value::String(text) if text == "none" => Some(Self::None),
            Value::Array(nodes) if nodes.is_empty() => {
                found.push(Fault::new(node.at, "no GPU is named", "expected at least one index, or \"none\""));
                None
            }
            Value::Array(nodes) => {
                let indices: Vec<_> = nodes.iter().map(|node| Natural::from_node(node, found)).collect();
                let indices: Vec<_> =
                    indices.into_iter().map(|index| index.map(|Whole(i)| i)).collect::<Option<_>>()?;
                for (i, index) in indices.iter().enumerate() {
                    if let Some(first) = indices[..i].iter().position(|other| other == index) {
                        let fault = Fault::new(nodes[i].at, format!("GPU {index} is named twice"), "again here");
                        found.push(fault.related(nodes[first].at, "first here"));
                        return None;
                    }
                }
                Some(Self::These(indices))
            }
            _ => wrong_type(node, expected, found),
        }
    }
}

/// Where the prompts come from, as files are named in the file.
#[derive(Clone, Debug)]
pub(super) enum Prompt {
    Random,
    Corpus(Given<String>),
    Characters(Given<String>),
}
schema!(Prompt, "Prompt", {
    "anyOf": [
        { "const": "random", "description": "Token ids drawn from the vocabulary without its special tokens." },
        {
            "type": "object", "required": ["corpus"], "additionalProperties": false,
            "properties": { "corpus": { "type": "string", "minLength": 1, "description":
                "Text files (a glob, relative to this file): real text, cut to the exact number of tokens." } }
        },
        {
            "type": "object", "required": ["characters"], "additionalProperties": false,
            "properties": { "characters": { "type": "string", "minLength": 1, "description":
                "Text files (a glob, relative to this file): real text, four characters to a token." } }
        },
    ]
});

impl FromNode for Prompt {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let expected = "\"random\", { corpus = \"…\" } or { characters = \"…\" }";
        match &node.value {
            Value::String(text) if text == "random" => Some(Self::Random),
            Value::Table(table) => {
                let mut entries = table.iter();
                let (Some(entry), None) = (entries.next(), entries.next()) else {
                    return wrong_type(node, expected, found);
                };
                let make = match &*entry.key {
                    "corpus" => Self::Corpus,
                    "characters" => Self::Characters,
                    other => {
                        found.push(unknown_key(other, entry.key_at, "workload.prompt", &["corpus", "characters"]));
                        return None;
                    }
                };
                let Text(value) = Text::from_node(&entry.node, found)?;
                Some(make(Given { at: entry.node.at, value }))
            }
            _ => wrong_type(node, expected, found),
        }
    }
}

/// Environment variables.
#[derive(Clone, Debug)]
pub(super) struct Environment(pub BTreeMap<String, String>);
schema!(Environment, "Environment", { "type": "object", "additionalProperties": { "type": ["string", "integer"] } });

impl FromNode for Environment {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            return wrong_type(node, "a table of environment variables", found);
        };
        let variables: Vec<_> =
            table.iter().map(|entry| variable(&entry.key, entry.key_at, &entry.node, found)).collect();
        Some(Self(variables.into_iter().collect::<Option<_>>()?))
    }
}

fn variable(name: &str, name_at: Span, node: &Node, found: &mut Found) -> Option<(String, String)> {
    if name.is_empty() || name.contains(['=', '\0']) {
        found.push(Fault::new(
            name_at,
            "this is not the name of an environment variable",
            "expected a name without `=`",
        ));
        return None;
    }
    let value = match &node.value {
        Value::String(text) if !text.contains('\0') => text.clone(),
        Value::Integer(value) => value.to_string(),
        _ => return wrong_type(node, "the text of an environment variable", found),
    };
    Some((name.to_owned(), value))
}
