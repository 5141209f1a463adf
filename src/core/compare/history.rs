//! The ceilings of an experiment's cells over all its runs, with the steps between one run and the next.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::pair::{Judge, pair};
use super::verdict::Standing;
use super::{ComparedRun, NotAcross, Options, Origin, Reason, Side, Verdict};
use crate::key::Key;
use crate::record::CellRecord;
use crate::sla::Sla;

/// One cell over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace<'a> {
    /// Its key in the newest run.
    pub key: Key,
    /// Its short name there.
    pub id: &'a str,
    /// Its place on each axis there.
    pub axes: &'a Map<String, Value>,
    /// Its SLA there.
    pub sla: Sla,
    /// The runs that have it, oldest first.
    pub points: Vec<Point<'a>>,
}

/// One cell in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point<'a> {
    /// The run.
    pub run: Origin<'a>,
    /// What it published.
    #[serde(flatten)]
    pub cell: Side,
    /// Against the last run before that has a number; absent for the first.
    pub verdict: Option<Verdict>,
    /// Why that is not plainly improved, regressed or unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Change of the ceiling since then, as a part of the ceiling then.
    pub change: Option<f64>,
}

impl Point<'_> {
    /// Whether the ceiling is significantly another than in the run before, by the threshold or more.
    pub fn is_step(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Improved | Verdict::Regressed))
    }
}

/// Follows those cells of the newest run that are wanted through all runs, which come oldest first.
///
/// # Errors
///
/// Where a field that may differ is none that any cell of the newest and the oldest run has, or is one that never may.
pub fn history<'a>(
    runs: &'a [ComparedRun],
    wanted: impl Fn(&CellRecord) -> bool,
    options: &Options,
) -> Result<Vec<Trace<'a>>, NotAcross> {
    let (Some(oldest), Some(newest)) = (runs.first(), runs.last()) else { return Ok(Vec::new()) };
    Judge::new(oldest, newest, options).check_across()?;
    let places: Vec<usize> = (0..newest.cells.len()).filter(|index| wanted(&newest.cells[*index])).collect();
    // For each run, the cell that answers the same question as each cell of the newest.
    let partners: Vec<Vec<Option<usize>>> = runs.iter().map(|run| pair(&Judge::new(run, newest, options))).collect();
    let mut judges: HashMap<(usize, usize), Judge<'a>> = HashMap::new();
    let mut traces: Vec<Trace<'a>> = places.iter().map(|index| Trace::new(&newest.cells[*index])).collect();
    for (trace, place) in traces.iter_mut().zip(&places) {
        let mut last: Option<(usize, &CellRecord)> = None;
        for (now, (run, partners)) in runs.iter().zip(&partners).enumerate() {
            let Some(cell) = partners[*place].map(|index| &run.cells[index]) else { continue };
            let judgement = last.map(|(then, old)| {
                let judge = judges.entry((then, now)).or_insert_with(|| Judge::new(&runs[then], run, options));
                judge.judge(old, cell)
            });
            trace.points.push(Point {
                run: Origin::new(run),
                cell: Side::new(cell),
                verdict: judgement.as_ref().map(|judgement| judgement.verdict),
                change: judgement.as_ref().and_then(|judgement| judgement.change),
                reason: judgement.and_then(|judgement| judgement.reason),
            });
            if !matches!(Standing::of(cell), Standing::Without(_)) {
                last = Some((now, cell));
            }
        }
    }
    Ok(traces)
}

impl<'a> Trace<'a> {
    fn new(cell: &'a CellRecord) -> Self {
        Self { key: cell.key, id: &cell.id, axes: &cell.axes, sla: cell.sla, points: Vec::new() }
    }
}
