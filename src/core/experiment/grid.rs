//! The cells of one experiment: indices into the distinct values of their sections.

use std::sync::Arc;

use serde_json::Value;

use super::{Engine, SearchSettings, Workload};
use crate::key::Key;
use crate::sla::Sla;

/// In a row of an [`AxisTable`]: the cell has no value in this column.
pub(super) const ABSENT: u32 = u32::MAX;

/// All cells of one experiment, in the order of its axes.
#[derive(Clone, Debug)]
pub struct Grid {
    /// What each cell has on each axis; one row for each point.
    pub axes: Arc<AxisTable>,
    /// The distinct engine configurations.
    pub engines: Vec<Distinct<Engine>>,
    /// The distinct workloads.
    pub workloads: Vec<Distinct<Workload>>,
    /// The distinct search settings.
    pub searches: Vec<Distinct<SearchSettings>>,
    /// The distinct SLAs.
    pub slas: Vec<Distinct<Sla>>,
    /// The cells; no two are equal.
    pub points: Vec<Point>,
}

/// A value and the digest of its meaning.
#[derive(Clone, Debug)]
pub struct Distinct<T> {
    /// The value.
    pub value: Arc<T>,
    /// Digest of what it means, wherever the files that it names lie.
    pub key: Key,
    /// Digest of these files alone.
    pub files: Option<Key>,
}

/// One cell: indices into the lists of its [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Index into [`Grid::engines`].
    pub engine: u32,
    /// Index into [`Grid::workloads`].
    pub workload: u32,
    /// Index into [`Grid::searches`].
    pub search: u32,
    /// Index into [`Grid::slas`].
    pub sla: u32,
}

/// A field that cells differ in, with the values that it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisColumn {
    /// The dotted field: `engine.max_num_seqs`.
    pub name: String,
    /// The values, as the file writes them.
    pub values: Vec<Value>,
}

/// What each cell of an experiment has on each axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AxisTable {
    columns: Vec<AxisColumn>,
    /// Row by row, for each column the index of its value, or [`ABSENT`].
    cells: Vec<u32>,
}

impl AxisTable {
    pub(super) fn new(columns: Vec<AxisColumn>, cells: Vec<u32>) -> Self {
        Self { columns, cells }
    }

    /// The columns, in the order of the file.
    pub fn columns(&self) -> &[AxisColumn] {
        &self.columns
    }

    /// The index of a row's value in a column; `None` where it has none.
    pub fn value(&self, row: usize, column: usize) -> Option<usize> {
        let value = *self.cells.get(row * self.columns.len() + column)?;
        (value != ABSENT).then_some(value as usize)
    }
}

/// One cell's place on the axes of its experiment.
#[derive(Clone)]
pub struct Place {
    table: Arc<AxisTable>,
    row: u32,
}

impl Place {
    /// The place of a row.
    pub fn new(table: Arc<AxisTable>, row: usize) -> Self {
        Self { table, row: row as u32 }
    }

    /// Dotted field and value of each axis, in the order of the file. A field that the cell does not set is left out.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let columns = self.table.columns.iter().enumerate();
        columns.filter_map(|(index, column)| {
            let value = self.table.value(self.row as usize, index)?;
            Some((&*column.name, &column.values[value]))
        })
    }

    /// The value of a dotted field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    /// As an object: dotted fields and their values.
    pub fn to_map(&self) -> serde_json::Map<String, Value> {
        self.iter().map(|(field, value)| (field.to_owned(), value.clone())).collect()
    }

    /// The columns that the experiment has.
    pub fn columns(&self) -> &[AxisColumn] {
        self.table.columns()
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl serde::Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// As it was written: a cell's own place, without the other cells' columns.
impl<'de> serde::Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::<String, Value>::deserialize(deserializer)?;
        let columns: Vec<_> = map.into_iter().map(|(name, value)| AxisColumn { name, values: vec![value] }).collect();
        let cells = vec![0; columns.len()];
        Ok(Self::new(Arc::new(AxisTable::new(columns, cells)), 0))
    }
}
