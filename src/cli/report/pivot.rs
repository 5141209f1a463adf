//! The cells of a run as a grid: what varies of engine and workload goes down, what varies of the SLA goes across.

use std::collections::HashMap;

use ceiling_core::record::{CellRecord, Run};
use serde_json::Value;

use super::csv::plain;

/// A grid of cells. Values stand in the order of the experiment.
pub struct Pivot<'a> {
    /// What goes down.
    pub down: Vec<Dimension>,
    /// What goes across.
    pub across: Vec<Dimension>,
    /// The values of each row, one for each dimension that goes down.
    pub rows: Vec<Vec<String>>,
    /// The values of each column, one for each dimension that goes across; without any, one column.
    pub columns: Vec<Vec<String>>,
    cells: HashMap<(usize, usize), Vec<&'a CellRecord>>,
}

/// Something in which cells differ: a field, or several that only change together.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// The fields, shortened.
    pub name: String,
    /// Its values, in the order of their first appearance.
    pub values: Vec<String>,
    is_sla: bool,
    /// The index of each cell's value.
    of_cells: Vec<usize>,
}

impl Dimension {
    /// The index of the value of a cell, by the number of the cell in its run.
    pub fn value_of(&self, cell: usize) -> usize {
        self.of_cells[cell]
    }

    /// A value with its name: `TTFT ≤ 1s`, `input_tokens = 5000`.
    pub fn says(&self, value: &str) -> String {
        match self.name.as_str() {
            name @ ("TTFT" | "TPOT" | "E2E") => format!("{name} ≤ {value}"),
            name @ ("ok" | "tokens/s") => format!("{name} ≥ {value}"),
            name => format!("{name} = {value}"),
        }
    }
}

impl<'a> Pivot<'a> {
    /// The cells of a run in a grid of at most `widest` columns, as far as one dimension can be kept to that.
    pub fn new(run: &'a Run, widest: usize) -> Self {
        let (down, across) = arrange(dimensions(run), widest);
        let (rows, row_of) = places(&down, run.cells.len());
        let (columns, column_of) = places(&across, run.cells.len());
        let mut cells: HashMap<_, Vec<_>> = HashMap::new();
        for (index, cell) in run.cells.iter().enumerate() {
            cells.entry((row_of[index], column_of[index])).or_default().push(cell);
        }
        Self { down, across, rows, columns, cells }
    }

    /// The cells at a place: none where the experiment leaves it out.
    pub fn at(&self, row: usize, column: usize) -> &[&'a CellRecord] {
        self.cells.get(&(row, column)).map_or(&[], Vec::as_slice)
    }

    /// Whether there is anything that goes down and anything that goes across.
    pub fn is_grid(&self) -> bool {
        !self.down.is_empty() && !self.across.is_empty()
    }
}

/// What cells differ in, in the order of the experiment. Fields that only change together are one.
pub fn dimensions(run: &Run) -> Vec<Dimension> {
    let mut fields: Vec<&str> = Vec::new();
    for name in run.cells.iter().flat_map(|cell| cell.axes.keys()) {
        if !fields.contains(&name.as_str()) {
            fields.push(name);
        }
    }
    let mut dimensions: Vec<Dimension> = Vec::new();
    for field in &fields {
        let dimension = dimension(run, field, &fields);
        let twin = dimensions.iter_mut().find(|other| other.of_cells == dimension.of_cells);
        match twin {
            _ if dimension.values.len() < 2 => {}
            Some(twin) if twin.is_sla == dimension.is_sla => {
                twin.name = format!("{}, {}", twin.name, dimension.name);
                twin.values.iter_mut().zip(&dimension.values).for_each(|(a, b)| *a = format!("{a}, {b}"));
            }
            _ => dimensions.push(dimension),
        }
    }
    dimensions
}

fn dimension(run: &Run, field: &str, fields: &[&str]) -> Dimension {
    let mut values: Vec<Option<&Value>> = Vec::new();
    let mut index = HashMap::new();
    let of_cells = run.cells.iter().map(|cell| cell.axes.get(field));
    let of_cells = of_cells
        .map(|value| {
            *index.entry(value.map(ToString::to_string)).or_insert_with(|| {
                values.push(value);
                values.len() - 1
            })
        })
        .collect();
    let values = values.into_iter().map(|value| shown(field, value)).collect();
    Dimension { name: short(field, fields), values, is_sla: field.starts_with("sla."), of_cells }
}

fn shown(field: &str, value: Option<&Value>) -> String {
    match (field, value) {
        (_, None) => "–".to_owned(),
        ("sla.ok_rate", Some(Value::Number(share))) => share.as_f64().map_or_else(String::new, super::table::percent),
        (_, Some(value)) => plain(value),
    }
}

/// The name of a field, without what all readers know or nothing else shares.
fn short(field: &str, fields: &[&str]) -> String {
    let known = match field {
        "sla.ok_rate" => "ok",
        "sla.ttft" => "TTFT",
        "sla.tpot" => "TPOT",
        "sla.e2e" => "E2E",
        "sla.min_tokens_per_second" => "tokens/s",
        "model.id" => "model",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let last = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
    let shared = fields.iter().filter(|other| last(other) == last(field)).count() > 1;
    if shared { field.to_owned() } else { last(field) }
}

/// Which dimensions go down and which across.
fn arrange(dimensions: Vec<Dimension>, widest: usize) -> (Vec<Dimension>, Vec<Dimension>) {
    let (mut across, mut down): (Vec<_>, Vec<_>) = dimensions.into_iter().partition(|dimension| dimension.is_sla);
    if down.is_empty() && across.len() > 1 {
        down = across.drain(..across.len() - 1).collect();
    }
    // Without an SLA that varies, the last of the shortest goes across.
    if across.is_empty() && down.len() > 1 {
        let shortest = (0..down.len()).rev().min_by_key(|index| down[*index].values.len());
        across.extend(shortest.map(|index| down.remove(index)));
    }
    // A single dimension goes down.
    if down.is_empty() {
        down.append(&mut across);
    }
    let width = |across: &[Dimension]| across.iter().map(|dimension| dimension.values.len()).product::<usize>();
    while across.len() > 1 && width(&across) > widest {
        down.push(across.remove(0));
    }
    (down, across)
}

/// The places that cells take on some dimensions, sorted, and the place of each cell.
fn places(dimensions: &[Dimension], cells: usize) -> (Vec<Vec<String>>, Vec<usize>) {
    let place = |cell| dimensions.iter().map(|dimension| dimension.of_cells[cell]).collect::<Vec<usize>>();
    let mut taken: Vec<Vec<usize>> = (0..cells).map(place).collect();
    taken.sort_unstable();
    taken.dedup();
    let index: HashMap<&[usize], usize> =
        taken.iter().enumerate().map(|(index, place)| (place.as_slice(), index)).collect();
    let of_cells = (0..cells).map(|cell| index[place(cell).as_slice()]).collect();
    let values = |place: &Vec<usize>| dimensions.iter().zip(place).map(|(d, value)| d.values[*value].clone()).collect();
    (taken.iter().map(values).collect(), of_cells)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    fn run_with(axes: &[Value]) -> Run {
        let mut run = testing::run();
        let cell = run.cells[0].clone();
        run.cells = axes
            .iter()
            .map(|axes| CellRecord { axes: axes.as_object().unwrap().clone(), id: axes.to_string(), ..cell.clone() })
            .collect();
        run
    }

    #[test]
    fn engines_go_down_and_slas_across() {
        let run = testing::run();
        let pivot = Pivot::new(&run, 8);
        assert_eq!(pivot.rows, [["64"], ["256"]]);
        assert_eq!(pivot.columns, [["1s"], ["3s"]]);
        assert_eq!(pivot.across[0].says("1s"), "TTFT ≤ 1s");
        assert_eq!(pivot.at(1, 0)[0].id, "max_num_seqs=256,ttft=1s");
    }

    #[test]
    fn fields_that_change_together_are_one_dimension() {
        let cells = [("bfloat16", 1, 10), ("bfloat16", 1, 20), ("fp8", 2, 10), ("fp8", 2, 20)];
        let axes = cells.map(|(a, b, c)| json!({ "engine.dtype": a, "engine.seqs": b, "workload.input_tokens": c }));
        let run = run_with(&axes);
        let pivot = Pivot::new(&run, 8);
        assert_eq!(pivot.down[0].name, "dtype, seqs");
        assert_eq!(pivot.rows, [["bfloat16, 1"], ["fp8, 2"]]);
        assert_eq!(pivot.columns, [["10"], ["20"]]);
    }

    #[test]
    fn what_is_left_out_leaves_a_hole_and_one_axis_makes_a_list() {
        let run =
            run_with(&[json!({ "a.x": 1, "a.y": 1 }), json!({ "a.x": 1, "a.y": 2 }), json!({ "a.x": 2, "a.y": 1 })]);
        let pivot = Pivot::new(&run, 8);
        assert!(pivot.is_grid() && pivot.at(1, 1).is_empty());
        let run = run_with(&[json!({ "a.x": 1 }), json!({ "a.x": 2 })]);
        let pivot = Pivot::new(&run, 8);
        assert!(!pivot.is_grid());
        assert_eq!((pivot.rows.len(), pivot.columns.len()), (2, 1));
    }

    #[test]
    fn every_cell_has_a_place() {
        let none = run_with(&[]);
        assert!(Pivot::new(&none, 8).rows.is_empty());
        // Two cells that no axis tells apart share one.
        let same = run_with(&[json!({}), json!({})]);
        assert_eq!(Pivot::new(&same, 8).at(0, 0).len(), 2);
    }

    #[test]
    fn a_wide_grid_is_folded() {
        let axes: Vec<Value> =
            (0..27).map(|i| json!({ "sla.ok_rate": i / 9, "sla.ttft": i / 3 % 3, "sla.e2e": i % 3 })).collect();
        let run = run_with(&axes);
        let pivot = Pivot::new(&run, 8);
        assert_eq!((pivot.rows.len(), pivot.columns.len()), (9, 3));
    }
}
