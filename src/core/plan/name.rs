//! Short names for cells, ladders and groups, made from what differs between the cells of an experiment.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashSet};
use serde_json::Value;

use super::Key;
use crate::experiment::{Engine, Grid};

/// Longest value in a name, and longest name of a file, in characters.
const LONGEST_VALUE: usize = 48;
const LONGEST_NAME: usize = 100;

/// Names for the cells of one grid.
pub(super) struct Names<'a> {
    grid: &'a Grid,
    /// Columns in which cells differ: engine first, SLA last, by name within.
    columns: Vec<Column>,
}

struct Column {
    index: usize,
    rank: Rank,
    /// For each value: `max_num_seqs=256`.
    texts: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Engine,
    Workload,
    Search,
    Sla,
}

impl Rank {
    fn of(field: &str) -> Self {
        match field.split('.').next() {
            Some("workload") => Self::Workload,
            Some("search") => Self::Search,
            Some("sla") => Self::Sla,
            _ => Self::Engine,
        }
    }
}

impl<'a> Names<'a> {
    pub fn of(grid: &'a Grid) -> Self {
        let columns = grid.axes.columns();
        let differs = differing(grid);
        let mut order: Vec<usize> = (0..columns.len()).filter(|index| differs[*index]).collect();
        order.sort_by_key(|index| (Rank::of(&columns[*index].name), &columns[*index].name));
        let fields: Vec<&str> = order.iter().map(|index| &*columns[*index].name).collect();
        let column = |index: &usize| {
            let column = &columns[*index];
            let label = label(&column.name, &fields);
            let texts = column.values.iter().map(|value| format!("{label}={}", value_text(value))).collect();
            Column { index: *index, rank: Rank::of(&column.name), texts }
        };
        Self { grid, columns: order.iter().map(column).collect() }
    }

    /// `max_num_seqs=256,input_tokens=5000,ttft=1s`
    pub fn cell(&self, row: usize) -> String {
        let name = self.join(row, |_| true);
        if name.is_empty() { self.plain(row, true) } else { name }
    }

    /// The model, and on which axes of the engine it stands where.
    pub fn group(&self, row: usize, engine: &Engine) -> String {
        let model = match engine {
            Engine::Vllm(vllm) => vllm.spec.model.rsplit('/').next().unwrap_or_default(),
            Engine::Sim(_) => "sim",
        };
        let axes = self.join(row, |rank| rank == Rank::Engine);
        let name = if axes.is_empty() { model.to_owned() } else { format!("{model},{axes}") };
        for_file(&name)
    }

    /// The group where there are several, and on which axes of workload and search it stands where.
    pub fn ladder(&self, row: usize, group: Option<&str>) -> String {
        let mut name = self.join(row, |rank| matches!(rank, Rank::Workload | Rank::Search));
        if name.is_empty() {
            name = self.plain(row, false);
        }
        for_file(&group.map_or(name.clone(), |group| format!("{group},{name}")))
    }

    /// A name for what no axis tells apart.
    fn plain(&self, row: usize, with_sla: bool) -> String {
        let point = &self.grid.points[row];
        let mut name = format!("input_tokens={}", self.grid.workloads[point.workload as usize].value.input_tokens);
        if with_sla {
            name.push_str(&format!(",ttft={}", self.grid.slas[point.sla as usize].value.ttft));
        }
        name
    }

    fn join(&self, row: usize, wanted: impl Fn(Rank) -> bool) -> String {
        let axes = &self.grid.axes;
        let texts = || {
            let wanted = self.columns.iter().filter(|column| wanted(column.rank));
            wanted.filter_map(|column| Some(&*column.texts[axes.value(row, column.index)?]))
        };
        let mut name = String::with_capacity(texts().map(|text| text.len() + 1).sum());
        for text in texts() {
            if !name.is_empty() {
                name.push(',');
            }
            name.push_str(text);
        }
        name
    }
}

/// For each column, whether two cells differ in it.
fn differing(grid: &Grid) -> Vec<bool> {
    let differs = |column| {
        let first = grid.axes.value(0, column);
        (1..grid.points.len()).any(|row| grid.axes.value(row, column) != first)
    };
    (0..grid.axes.columns().len()).map(differs).collect()
}

/// The shortest end of a dotted field that is no other field's end: `max_num_seqs`.
fn label(field: &str, fields: &[&str]) -> String {
    if field == "model.id" {
        return "model".to_owned();
    }
    let starts = field.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
    let is_end = |other: &str, end: &str| other == end || other.ends_with(&format!(".{end}"));
    let mut ends = starts.map(|start| &field[start..]);
    let own = ends.find(|end| fields.iter().filter(|other| is_end(other, end)).count() <= 1);
    clean(own.unwrap_or(field), "")
}

/// A value in few characters.
fn value_text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string().replace('"', ""),
    };
    shorten(clean(&text, "/:%+@"), LONGEST_VALUE, || Key::of(value))
}

/// Letters, digits, `.`, `_`, `=`, `-` and what else is allowed stay; runs of anything else become `_`.
fn clean(text: &str, allowed: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '=' | '-') || allowed.contains(c) {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean
}

/// As a file may be called.
fn for_file(name: &str) -> String {
    let clean = clean(name, ",");
    let clean = clean.trim_start_matches(['.', '-', '_']).to_owned();
    let key = || Key::of_bytes(name.as_bytes());
    if clean.is_empty() { key().as_str()[..6].to_owned() } else { shorten(clean, LONGEST_NAME, key) }
}

/// A text that is too long gives its end up for a digest of all of it. It is ASCII.
fn shorten(mut text: String, longest: usize, key: impl FnOnce() -> Key) -> String {
    if text.len() > longest {
        text.truncate(longest - 7);
        text.push('-');
        text.push_str(&key().as_str()[..6]);
    }
    text
}

/// Gives out names, each once. It keeps their digests only: where two names share one, the second is told apart without
/// need, and that is all.
pub(super) struct Unique(FxHashSet<u64>);

impl Unique {
    pub fn with_capacity(names: usize) -> Self {
        Self(FxHashSet::with_capacity_and_hasher(names, FxBuildHasher))
    }

    /// The name, or where it is taken, the name with a part of the key.
    pub fn name(&mut self, name: String, key: Key) -> String {
        if self.0.insert(FxBuildHasher.hash_one(&name)) {
            return name;
        }
        let longer = format!("{name}-{}", &key.as_str()[..6]);
        if self.0.insert(FxBuildHasher.hash_one(&longer)) { longer } else { format!("{name}-{key}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_file_name(name: &str) -> bool {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || ".,_=-".contains(c);
        !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.') && name.chars().all(is_legal)
    }

    #[test]
    fn names_lead_nowhere() {
        let table = ["..", "../../etc/passwd", "/etc/passwd", "", "---", "a\nb\0c\u{1b}[31m", "C:\\x", "\u{202e}x"];
        for name in table {
            assert!(is_file_name(&for_file(name)), "{name:?} becomes {:?}", for_file(name));
        }
    }

    proptest! {
        #[test]
        fn whatever_it_is_called_it_becomes_the_name_of_a_file(name in any::<String>()) {
            prop_assert!(is_file_name(&for_file(&name)), "{}", for_file(&name));
        }
    }
}
