//! Where an experiment says what: so that whoever finds a fault later, such as vLLM itself, can point at the line.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Fault, Faults, Sources, Span};
use super::tree::{Table, Value};

/// The places of an experiment's fields.
#[derive(Clone, Debug)]
pub struct Fields {
    sources: Arc<Sources>,
    /// By dotted field, the first place that says it: an axis before a table.
    places: BTreeMap<String, Span>,
    home: Span,
}

impl Fields {
    /// The fields of a file's tables and of its axes.
    pub(super) fn of(root: &Table, home: Span) -> Self {
        let mut places = BTreeMap::new();
        let matrix = root.get("matrix").and_then(|node| node.as_table());
        for entry in matrix.into_iter().flat_map(Table::iter) {
            if matches!(&*entry.key, "exclude" | "include") {
                continue;
            }
            if let Value::Array(values) = &entry.node.value {
                for table in values.iter().filter_map(|value| value.as_table()) {
                    add(&mut places, &entry.key, table);
                }
            }
            places.entry(entry.key.clone()).or_insert(entry.key_at);
        }
        add(&mut places, "", root);
        Self { sources: Arc::default(), places, home }
    }

    /// The texts are complete once all files are read.
    pub(super) fn set_sources(&mut self, sources: &Arc<Sources>) {
        self.sources = Arc::clone(sources);
    }

    /// A fault at a dotted field such as `engine.dtype`, or where that is not said, at the table that it belongs to.
    pub fn fault(&self, field: &str, message: impl Into<String>, label: impl Into<String>) -> Fault {
        let ends = field.rmatch_indices('.').map(|(dot, _)| dot);
        let place = std::iter::once(field.len()).chain(ends).find_map(|end| self.places.get(&field[..end]));
        Fault::new(*place.unwrap_or(&self.home), message, label)
    }

    /// Faults of this experiment, and of those that were read together with it, for people to see.
    pub fn faults(&self, faults: Vec<Fault>) -> Faults {
        Faults::new(faults, Arc::clone(&self.sources))
    }
}

fn add(places: &mut BTreeMap<String, Span>, prefix: &str, table: &Table) {
    for entry in table.iter() {
        let field = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
        if let Value::Table(inner) = &entry.node.value
            && field != "matrix"
        {
            add(places, &field, inner);
        }
        places.entry(field).or_insert(entry.key_at);
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::testing::{complete, read_text};

    #[test]
    fn a_fault_found_later_points_at_the_line() {
        let text = complete(
            "engine.a = 1\nengine.c = { d = 1 }\n[matrix]\n\"engine.a\" = [1, 2]\n\"engine\" = [{ b = 1 }, { b = 2 }]",
        );
        let experiment = read_text(&text).unwrap();
        let fields = ["engine.a", "engine.b", "engine.c.d", "engine.c.e", "engine.f", "search.budget"];
        let faults = fields.map(|field| experiment.fields.fault(field, field, "unknown to vLLM"));
        let faults = experiment.fields.faults(faults.to_vec());
        let places: Vec<_> = faults.iter().map(|fault| (&*fault.message, faults.place(fault).unwrap())).collect();
        let place = |line, column| ("e.toml", line, column);
        let wanted = [
            ("search.budget", place(1, 1)),
            ("engine.c.e", place(7, 8)),
            ("engine.c.d", place(7, 14)),
            ("engine.a", place(9, 1)),
            ("engine.f", place(10, 1)),
            ("engine.b", place(10, 15)),
        ];
        assert_eq!(places, wanted);
    }
}
