//! What was asked and where it was measured, by the dotted names of an experiment file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ComparedLadder, ComparedRun};
use crate::key::Key;
use crate::record::EngineRecord;

/// Where the devices of an engine stand among its fields.
const DEVICES: &str = "engine.devices";
/// Where the commit of the model on the hub stands.
const MODEL_COMMIT: &str = "model.commit";
/// A simulated result is never compared with a real one.
const KIND: &str = "engine.kind";

/// Values by dotted field.
pub(super) type Fields = BTreeMap<String, Value>;

/// The fields that may differ between cells that are compared: those that were named, each with all below it, the
/// interpreter, and how the ceiling was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Across(Vec<String>);

impl Across {
    /// The interpreter may differ, and how the ceiling was looked for.
    const ALWAYS: [&str; 2] = ["engine.python", "search"];

    /// With these fields beside those that always may.
    pub fn new(fields: impl IntoIterator<Item = String>) -> Self {
        Self(fields.into_iter().collect())
    }

    /// Whether no field was named.
    pub(super) fn names_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field may differ.
    pub(super) fn covers(&self, field: &str) -> bool {
        let named = self.0.iter().map(String::as_str).chain(Self::ALWAYS);
        field != KIND && named.into_iter().any(|name| is_at_or_below(field, name))
    }

    /// Whether that which always has to be alike was named.
    pub(super) fn names_kind(&self) -> bool {
        self.0.iter().any(|name| name == KIND)
    }

    /// A name that none of these fields has.
    pub(super) fn unknown<'a>(&'a self, fields: &[&Fields]) -> Option<&'a str> {
        let is_known = |name: &str| {
            fields.iter().any(|fields| fields.keys().any(|field| is_at_or_below(field, name) && field != KIND))
        };
        self.0.iter().map(String::as_str).find(|name| !is_known(name))
    }
}

fn is_at_or_below(field: &str, name: &str) -> bool {
    field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A field that is not among those that may differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAcross {
    /// It is none that any cell has.
    #[error("--across {name}: no cell has such a field{}", differing(.differ))]
    NoSuchField {
        /// The name.
        name: String,
        /// The fields in which the two runs differ.
        differ: Vec<String>,
    },
    /// It tells what is simulated from what was measured.
    #[error("--across {KIND}: a simulated run is never compared with a real one")]
    Kind,
}

fn differing(fields: &[String]) -> String {
    match fields {
        [] => "; the two runs differ in none".to_owned(),
        fields => format!("; the two runs differ in {}", fields.join(", ")),
    }
}

/// A field in which two cells differ that were to be measured under like conditions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The field.
    pub field: String,
    /// What the baseline has there.
    pub baseline: Option<Value>,
    /// What the candidate has there.
    pub candidate: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if self.baseline == self.candidate {
            return write!(f, "{} differ in content", self.field);
        }
        write!(f, "{}: {} -> {}", self.field, text(&self.baseline), text(&self.candidate))
    }
}

/// An engine group: what was asked for, and what it ran on.
pub(super) struct EngineFields {
    pub key: Key,
    pub asked: Fields,
    pub found: Fields,
}

impl EngineFields {
    pub fn new(run: &ComparedRun, record: &EngineRecord) -> Self {
        let mut asked = Fields::new();
        for (name, value) in record.args.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("spec", Value::Object(spec)) => put_spec(&mut asked, spec),
                ("env", Value::Object(env)) => put_all(&mut asked, "engine.env", env.clone()),
                (name, value) => put(&mut asked, format!("engine.{name}"), value.clone()),
            }
        }
        Self { key: record.key, asked, found: found(run, record) }
    }
}

/// The model and the arguments of a real engine, under the names that an experiment file has for them.
fn put_spec(fields: &mut Fields, spec: &Map<String, Value>) {
    for (name, value) in spec {
        match (name.as_str(), value) {
            ("model", id) => put(fields, "model.id".to_owned(), id.clone()),
            ("tokenizer" | "revision", value) => put(fields, format!("model.{name}"), value.clone()),
            ("args", Value::Object(args)) => put_all(fields, "engine", args.clone()),
            (name, value) => put(fields, format!("engine.{name}"), value.clone()),
        }
    }
}

/// What it ran on, as far as it said.
fn found(run: &ComparedRun, record: &EngineRecord) -> Fields {
    let mut fields = Fields::new();
    let Some(resolved) = &record.resolved else { return fields };
    let on_the_processor = !resolved.devices.is_empty() && resolved.devices.iter().all(|name| name == "cpu");
    match (&run.provenance.cpu, on_the_processor) {
        // The engine calls every processor the same.
        (Some(cpu), true) => put(&mut fields, DEVICES.to_owned(), json!(cpu)),
        _ if resolved.devices.is_empty() => {}
        _ => put(&mut fields, DEVICES.to_owned(), json!(resolved.devices.join(", "))),
    }
    if let Some(commit) = &resolved.model_commit {
        put(&mut fields, MODEL_COMMIT.to_owned(), json!(commit));
    }
    fields
}

/// A ladder: its workload, and how the ceilings were looked for.
pub(super) fn ladder_fields(ladder: &ComparedLadder) -> Fields {
    let mut fields = Fields::new();
    for (table, value) in [("workload", json!(ladder.workload)), ("search", json!(ladder.search))] {
        if let Value::Object(map) = value {
            put_all(&mut fields, table, map);
        }
    }
    fields
}

/// The fields of an SLA.
pub(super) fn sla_fields(sla: &crate::sla::Sla) -> Fields {
    let mut fields = Fields::new();
    if let Value::Object(map) = json!(sla) {
        put_all(&mut fields, "sla", map);
    }
    fields
}

fn put_all(fields: &mut Fields, table: &str, values: Map<String, Value>) {
    values.into_iter().for_each(|(name, value)| put(fields, format!("{table}.{name}"), value));
}

/// What is null was not given.
fn put(fields: &mut Fields, name: String, value: Value) {
    if !value.is_null() {
        fields.insert(name, value);
    }
}

/// Digest of the fields that must not differ.
pub(super) fn digest(fields: &Fields, across: &Across) -> Key {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(name, _)| !across.covers(name)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:?}:{},", canonical(value));
    }
    Key::of_bytes(text.as_bytes())
}

/// The value with its objects by sorted key.
fn canonical(value: &Value) -> Cow<'_, Value> {
    if !value.is_array() && !value.is_object() {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    value.sort_all_objects();
    Cow::Owned(value)
}

/// The fields of which both sides or one say something else.
pub(super) fn differences(baseline: &Fields, candidate: &Fields) -> Vec<Difference> {
    let only_candidate = candidate.keys().filter(|name| !baseline.contains_key(*name));
    let mut names: Vec<&String> = baseline.keys().chain(only_candidate).collect();
    names.sort_unstable();
    let differs = |name: &&String| baseline.get(*name) != candidate.get(*name);
    let difference = |name: &String| Difference {
        field: name.clone(),
        baseline: baseline.get(name).cloned(),
        candidate: candidate.get(name).cloned(),
    };
    names.into_iter().filter(differs).map(difference).collect()
}

/// What keeps two engine groups from being compared, named fields apart.
pub(super) fn between_engines(baseline: &EngineFields, candidate: &EngineFields, across: &Across) -> Vec<Difference> {
    let asked = differences(&baseline.asked, &candidate.asked);
    if let Some(kind) = asked.iter().find(|difference| difference.field == KIND) {
        return vec![kind.clone()];
    }
    let other_files = asked.is_empty() && baseline.key != candidate.key;
    let found = differences(&baseline.found, &candidate.found).into_iter();
    let found = found.filter(|difference| difference.baseline.is_some() && difference.candidate.is_some());
    let mut all: Vec<Difference> = asked.into_iter().chain(found).filter(|d| !across.covers(&d.field)).collect();
    if other_files {
        all.push(other_content("the files of the model"));
    }
    all
}

/// Files with the same names and another content.
pub(super) fn other_content(what: &str) -> Difference {
    Difference { field: what.to_owned(), baseline: None, candidate: None }
}
