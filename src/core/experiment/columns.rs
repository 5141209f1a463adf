//! The fields that cells differ in, with the values that each takes.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::error::Found;
use super::tree::Node;

/// A field with the values that it takes.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub path: Vec<String>,
    pub values: Vec<Json>,
    seen: HashMap<String, u32>,
}

/// All columns of an experiment.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub list: Vec<Column>,
    by_path: HashMap<Vec<String>, usize>,
}

impl Columns {
    /// The column of a field, which is made if there is none.
    pub fn add(&mut self, path: &[String]) -> usize {
        *self.by_path.entry(path.to_vec()).or_insert_with(|| {
            self.list.push(Column { path: path.to_vec(), values: Vec::new(), seen: HashMap::new() });
            self.list.len() - 1
        })
    }

    /// The index of a value in a column, which gets it if it is new.
    pub fn value(&mut self, column: usize, node: &Node) -> u32 {
        let column = &mut self.list[column];
        *column.seen.entry(node.canonical()).or_insert_with(|| {
            // What JSON cannot say is reported where the field itself is read.
            column.values.push(node.to_json(&mut Found::default()).unwrap_or(Json::Null));
            (column.values.len() - 1) as u32
        })
    }

    /// The index of a value in a column that has it.
    pub fn index_of(&self, column: usize, node: &Node) -> Option<u32> {
        self.list[column].seen.get(&node.canonical()).copied()
    }

    /// The column of a field.
    pub fn of(&self, path: &[String]) -> Option<usize> {
        self.by_path.get(path).copied()
    }
}
