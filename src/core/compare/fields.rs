//! What was asked and where it was measured, by the dotted names of an experiment file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ComparedLadder, ComparedRun};
use crate::key::Key;
use crate::protocol::PromptSource;
use crate::record::EngineRecord;

/// Where the devices of an engine stand among its fields.
const DEVICES: &str = "engine.devices";
/// Where the commit of the model on the hub stands.
const MODEL_COMMIT: &str = "model.commit";
/// What names the files of an engine, and of a workload. Where these lie is no part of what is asked.
const MODEL_FILES: [&str; 2] = ["model.id", "model.tokenizer"];
const TEXTS: [&str; 1] = ["workload.prompt"];
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
        Self(fields.into_iter().map(|field| field.trim().to_owned()).collect())
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
    files: Option<Key>,
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
        Self { key: record.key, files: record.files, asked, found: found(run, record) }
    }

    /// Whether it is known what its model is, wherever that lies.
    pub fn knows_its_files(&self) -> bool {
        self.files.is_some() || !self.asked.contains_key(MODEL_FILES[0])
    }

    /// Digest of what was asked and must not differ; by what its model is instead of where it lies, or not.
    pub fn identity(&self, across: &Across, by_files: bool) -> Key {
        identity(&self.asked, across, self.files.filter(|_| by_files), &MODEL_FILES)
    }
}

/// Digest of the fields that must not differ, these `names` by the content of the files that they name, where that is known.
fn identity(fields: &Fields, across: &Across, files: Option<Key>, names: &[&str]) -> Key {
    let Some(files) = files else { return digest(fields, across) };
    let others = fields.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let others: Fields = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    let is_named = names.iter().any(|name| fields.contains_key(*name) && !across.covers(name));
    let mut parts = vec![digest(&others, across)];
    parts.extend(is_named.then_some(files));
    Key::of_keys(&parts)
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
    match (resolved.cpu.as_ref().or(run.provenance.cpu.as_ref()), resolved.is_on_the_processor()) {
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

/// Whether it is known what the texts of a ladder's prompts are, wherever they lie.
pub(super) fn knows_its_texts(ladder: &ComparedLadder) -> bool {
    ladder.texts.is_some() || ladder.workload.prompt == PromptSource::Random
}

/// As [`EngineFields::identity`], of a ladder of these fields.
pub(super) fn ladder_identity(ladder: &ComparedLadder, fields: &Fields, across: &Across, by_files: bool) -> Key {
    identity(fields, across, ladder.texts.filter(|_| by_files), &TEXTS)
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
    let mut asked = differences(&baseline.asked, &candidate.asked);
    if let Some(kind) = asked.iter().find(|difference| difference.field == KIND) {
        return vec![kind.clone()];
    }
    let files = Files::of((baseline.key, baseline.files), (candidate.key, candidate.files));
    files.settle(&mut asked, across, &MODEL_FILES, "the files of the model");
    let found = differences(&baseline.found, &candidate.found).into_iter();
    let found = found.filter(|difference| difference.baseline.is_some() && difference.candidate.is_some());
    asked.into_iter().chain(found).filter(|d| !across.covers(&d.field)).collect()
}

/// What keeps two ladders from being compared, their engines and named fields apart.
pub(super) fn between_ladders(
    (baseline, before): (&ComparedLadder, &Fields),
    (candidate, after): (&ComparedLadder, &Fields),
    same_engine: bool,
    across: &Across,
) -> Vec<Difference> {
    let mut asked = differences(before, after);
    let files = match Files::of((baseline.key, baseline.texts), (candidate.key, candidate.texts)) {
        // The key of a ladder holds that of its engine.
        Files::Unknown if !same_engine => Files::Unsaid,
        files => files,
    };
    files.settle(&mut asked, across, &TEXTS, "the files of the prompts");
    asked.into_iter().filter(|difference| !across.covers(&difference.field)).collect()
}

/// What is known of the files that two engines or ladders name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// They are the same, wherever they lie.
    Same,
    Other,
    /// One side does not say: they are others where nothing else explains that the keys differ.
    Unknown,
    /// Nor do the keys tell.
    Unsaid,
}

impl Files {
    fn of((before, before_files): (Key, Option<Key>), (after, after_files): (Key, Option<Key>)) -> Self {
        match before_files.zip(after_files) {
            _ if before == after => Self::Same,
            Some((before, after)) if before == after => Self::Same,
            Some(_) => Self::Other,
            None => Self::Unknown,
        }
    }

    /// Leaves of the fields that differ those out that only say where the same files lie, and adds that they are others, where no
    /// field says so.
    fn settle(self, asked: &mut Vec<Difference>, across: &Across, names: &[&str], what: &str) {
        let says_where = |difference: &Difference| names.contains(&difference.field.as_str());
        let is_unexplained = match self {
            Self::Same => {
                asked.retain(|difference| !says_where(difference));
                false
            }
            Self::Other => !asked.iter().any(says_where) && !across.covers(names[0]),
            Self::Unknown => asked.is_empty(),
            Self::Unsaid => false,
        };
        if is_unexplained {
            asked.push(other_content(what));
        }
    }
}

/// Files with the same names and another content.
pub(super) fn other_content(what: &str) -> Difference {
    Difference { field: what.to_owned(), baseline: None, candidate: None }
}
