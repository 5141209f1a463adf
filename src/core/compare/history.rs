//! The ceilings of an experiment's cells over all its runs, with the steps between one run and the next.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::pair::{Judge, pair};
use super::verdict::{Judgement, Standing};
use super::{ComparedRun, NotAcross, Options, Origin, Reason, Side, Verdict};
use crate::key::Key;
use crate::record::CellRecord;
use crate::sla::Sla;

/// One cell over all runs, by the newest that is followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace<'a> {
    /// Its key in the newest run that has it.
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
    /// Against the last run before that has a number and may be compared with it, or where that is no step, against the run of the last step,
    /// where it is one against that; absent for the first.
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

/// Follows those cells of the newest run that are wanted through all runs, which come oldest first; where the newest was asked to leave cells
/// out, also those of the last run that was not.
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
    let mut judges = Judges { runs, options, known: HashMap::new() };
    let mut traces = Vec::new();
    let mut is_followed: Vec<Vec<bool>> = runs.iter().map(|run| vec![false; run.cells.len()]).collect();
    for anchor in anchors(runs) {
        // For each run up to this one, the cell that answers the same question as each of its cells.
        let partners: Vec<Vec<Option<usize>>> =
            runs[..=anchor].iter().map(|run| pair(&Judge::new(run, &runs[anchor], options))).collect();
        for (place, cell) in runs[anchor].cells.iter().enumerate() {
            if is_followed[anchor][place] || !wanted(cell) {
                continue;
            }
            let places = partners.iter().enumerate().filter_map(|(run, partners)| Some((run, partners[place]?)));
            let places: Vec<(usize, usize)> = places.collect();
            places.iter().for_each(|(run, index)| is_followed[*run][*index] = true);
            traces.push(Trace { points: judges.follow(&places), ..Trace::new(cell) });
        }
    }
    Ok(traces)
}

/// The newest run, and where that was asked to leave cells out, the last before it that was not.
fn anchors(runs: &[ComparedRun]) -> impl Iterator<Item = usize> {
    let newest = runs.len().saturating_sub(1);
    let whole = runs.iter().rposition(|run| run.left_out == 0).filter(|whole| *whole != newest);
    std::iter::once(newest).chain(whole)
}

/// Pairs of runs as they come up.
struct Judges<'a, 'o> {
    runs: &'a [ComparedRun],
    options: &'o Options,
    known: HashMap<(usize, usize), Judge<'a>>,
}

impl<'a> Judges<'a, '_> {
    /// One cell through these runs, by the place of each and by its place there.
    fn follow(&mut self, places: &[(usize, usize)]) -> Vec<Point<'a>> {
        let runs = self.runs;
        let mut points = Vec::with_capacity(places.len());
        let mut earlier: Vec<(usize, &CellRecord)> = Vec::new();
        // Where among the earlier the last step was, or the first that has a sure number.
        let mut step = 0;
        for (now, index) in places {
            let (run, cell) = (&runs[*now], &runs[*now].cells[*index]);
            let mut judge = |then: usize, old: &CellRecord| {
                let judge = self.known.entry((then, *now));
                judge.or_insert_with(|| Judge::new(&runs[then], run, self.options)).judge(old, cell)
            };
            let is_step = |judgement: &Judgement| matches!(judgement.verdict, Verdict::Improved | Verdict::Regressed);
            let judgement = against(&earlier, &mut judge).map(|last| {
                // Many changes that are too small to matter may add up to one that does.
                let added_up = against(&earlier[..(step + 1).min(earlier.len())], judge).filter(is_step);
                added_up.filter(|_| !is_step(&last)).unwrap_or(last)
            });
            if judgement.as_ref().is_some_and(is_step) || !earlier.iter().any(|(_, old)| is_sure(old)) {
                step = earlier.len();
            }
            points.push(Point {
                run: Origin::new(run),
                cell: Side::new(cell),
                verdict: judgement.as_ref().map(|judgement| judgement.verdict),
                change: judgement.as_ref().and_then(|judgement| judgement.change),
                reason: judgement.and_then(|judgement| judgement.reason),
            });
            earlier.push((*now, cell));
        }
        points
    }
}

/// The judgement against the last of the earlier runs that has a sure number and may be compared; where there is none, against the last that
/// has any, so that it is said why not.
fn against(
    earlier: &[(usize, &CellRecord)],
    mut judge: impl FnMut(usize, &CellRecord) -> Judgement,
) -> Option<Judgement> {
    let mut refused = None;
    for (then, old) in earlier.iter().rev().filter(|(_, old)| is_sure(old)) {
        let judgement = judge(*then, old);
        if judgement.verdict != Verdict::Incomparable {
            return Some(judgement);
        }
        refused = refused.or(Some(judgement));
    }
    let has_any = |cell: &CellRecord| !matches!(Standing::of(cell), Standing::Without(_));
    refused.or_else(|| earlier.iter().rev().find(|(_, old)| has_any(old)).map(|(then, old)| judge(*then, old)))
}

fn is_sure(cell: &CellRecord) -> bool {
    matches!(Standing::of(cell), Standing::Found { .. } | Standing::AboveCap { .. } | Standing::BelowOne)
}

impl<'a> Trace<'a> {
    fn new(cell: &'a CellRecord) -> Self {
        Self { key: cell.key, id: &cell.id, axes: &cell.axes, sla: cell.sla, points: Vec::new() }
    }
}
