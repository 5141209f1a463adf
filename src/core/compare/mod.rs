//! Compares two runs, cell by cell: a pure function of what they published.
//!
//! ```text
//! pair      which cell of the baseline answers the same question as which cell of the candidate
//! fields    what was asked and where it was measured, by the names of an experiment file: may the two be compared?
//! verdict   two published brackets -> what can be said of the change
//! beside    first tokens and throughput at equal load, KV capacity: what else changed on the way
//! origin    what changed in where the runs come from: the likely cause
//! history   the same rule along all runs of an experiment
//! ```
//!
//! Three questions are kept apart. Is the change significant: do the brackets exclude each other? How large is it, and
//! how large could it be: the published ceilings, and the ends of the brackets. Does it matter: is it at least the
//! threshold?

#[cfg(test)]
mod alarms;
mod beside;
mod fields;
mod history;
mod origin;
mod pair;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verdict;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::attribution::Limit;
use crate::key::Key;
use crate::record::{CellRecord, LadderRecord, ProbeSummary, Run};
use crate::search::Status;
use crate::sla::Sla;
use crate::units::{Concurrency, Share};

pub use beside::{AtEqualLoad, LadderComparison, Measurements};
pub use fields::{Across, Difference, NotAcross};
pub use history::{Point, Trace, history};
pub use origin::{Change, Origin};
pub use verdict::{Range, Reason, Verdict};

/// A run as it is compared: most of what its probes say is not asked for.
pub type ComparedRun = Run<ProbeSummary>;
type ComparedLadder = LadderRecord<ProbeSummary>;

use pair::{Judge, pair};
use verdict::Judgement;

/// What to compare, and what matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The least relative change that matters.
    pub threshold: Share,
    /// The fields that may differ.
    pub across: Across,
}

/// Two runs, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison<'a> {
    /// The run that is compared with.
    pub baseline: Origin<'a>,
    /// The run that is compared.
    pub candidate: Origin<'a>,
    /// Whether any cell could be compared.
    pub comparable: bool,
    /// The least relative change that matters.
    pub threshold: Share,
    /// What differs in where the runs come from.
    pub changed: Vec<Change>,
    /// The cells of the candidate in its order, then those that only the baseline has.
    pub cells: Vec<CellComparison<'a>>,
    /// Fields in which the first ladders of the two differ and that are not among those that may; only where no cell of one is in the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<String>,
    /// The ladders behind the cells that were compared.
    pub ladders: Vec<LadderComparison<'a>>,
    /// Cells by verdict.
    pub summary: Summary,
}

/// One cell of either run or of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellComparison<'a> {
    /// Its key in the candidate; in the baseline, where only that has it.
    pub key: Key,
    /// Its short name there.
    pub id: &'a str,
    /// Its place on each axis there.
    pub axes: &'a Map<String, Value>,
    /// Its SLA there.
    pub sla: Sla,
    /// What can be said of its change.
    pub verdict: Verdict,
    /// Why it is not plainly improved, regressed or unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the baseline published.
    pub baseline: Option<Side>,
    /// What the candidate published.
    pub candidate: Option<Side>,
    /// Change of the published ceiling as a part of the baseline's; absent where either is.
    pub change: Option<f64>,
    /// Whether the brackets exclude that nothing changed.
    pub significant: bool,
    /// The changes that the brackets allow; absent where they say nothing.
    pub range: Option<Range>,
}

/// What a run published of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Side {
    /// How the search ended; absent while it has not.
    pub status: Option<Status>,
    /// The ceiling, where it was found.
    pub ceiling: Option<Concurrency>,
    /// The highest level known to pass.
    pub highest_pass: Option<Concurrency>,
    /// The lowest level known to fail.
    pub lowest_fail: Option<Concurrency>,
    /// Probability that the bracket holds the true ceiling.
    pub confidence: Option<Share>,
    /// What keeps the ceiling from being higher.
    pub limited_by: Option<Limit>,
}

/// Cells by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Higher by the threshold or more.
    pub improved: usize,
    /// Lower by the threshold or more.
    pub regressed: usize,
    /// A change of the threshold is excluded.
    pub unchanged: usize,
    /// Neither a change nor its absence is shown.
    pub undecided: usize,
    /// The two were not measured under like conditions, or one was not measured.
    pub incomparable: usize,
    /// Only the candidate has it.
    pub added: usize,
    /// Only the baseline has it.
    pub removed: usize,
}

/// Compares two runs.
///
/// # Errors
///
/// Where a field that may differ is none that any cell of the two has, or is one that never may.
pub fn compare<'a>(
    baseline: &'a ComparedRun,
    candidate: &'a ComparedRun,
    options: &Options,
) -> Result<Comparison<'a>, NotAcross> {
    let judge = Judge::new(baseline, candidate, options);
    judge.check_across()?;
    let pairs = pair(&judge);
    let mut cells = Vec::with_capacity(candidate.cells.len());
    let mut is_matched = vec![false; baseline.cells.len()];
    let mut ladders = beside::Ladders::default();
    for (cell, partner) in candidate.cells.iter().zip(&pairs) {
        let Some(partner) = *partner else {
            cells.push(CellComparison::lone(cell, Verdict::Added));
            continue;
        };
        is_matched[partner] = true;
        let before = &baseline.cells[partner];
        let compared = CellComparison::of_both(before, cell, judge.judge(before, cell));
        if compared.verdict != Verdict::Incomparable {
            ladders.add(&judge, before, cell);
        }
        cells.push(compared);
    }
    let removed = baseline.cells.iter().zip(&is_matched).filter(|(_, is_matched)| !**is_matched);
    cells.extend(removed.map(|(cell, _)| CellComparison::lone(cell, Verdict::Removed)));
    let summary = Summary::of(&cells);
    let apart = if pairs.iter().all(Option::is_none) { judge.differing_fields() } else { Vec::new() };
    Ok(Comparison {
        baseline: Origin::new(baseline),
        candidate: Origin::new(candidate),
        comparable: summary.compared() > 0,
        threshold: options.threshold,
        changed: origin::changes(baseline, candidate),
        cells,
        apart: apart.into_iter().filter(|field| !options.across.covers(field)).collect(),
        ladders: ladders.into_rows(),
        summary,
    })
}

impl<'a> CellComparison<'a> {
    fn of_both(baseline: &'a CellRecord, candidate: &'a CellRecord, judgement: Judgement) -> Self {
        Self {
            baseline: Some(Side::new(baseline)),
            verdict: judgement.verdict,
            reason: judgement.reason,
            change: judgement.change,
            significant: judgement.significant,
            range: judgement.range,
            ..Self::lone(candidate, judgement.verdict)
        }
    }

    fn lone(cell: &'a CellRecord, verdict: Verdict) -> Self {
        let side = Some(Side::new(cell));
        let (baseline, candidate) = if verdict == Verdict::Removed { (side, None) } else { (None, side) };
        Self {
            key: cell.key,
            id: &cell.id,
            axes: &cell.axes,
            sla: cell.sla,
            verdict,
            reason: None,
            baseline,
            candidate,
            change: None,
            significant: false,
            range: None,
        }
    }

    /// Whether the ceiling may have dropped by this much, as far as is known.
    pub fn may_have_regressed(&self, threshold: Share) -> bool {
        match self.verdict {
            Verdict::Regressed => true,
            Verdict::Undecided | Verdict::Incomparable => {
                self.range.is_none_or(|range| verdict::matters(-range.least, threshold))
            }
            Verdict::Improved | Verdict::Unchanged | Verdict::Added | Verdict::Removed => false,
        }
    }

    /// Whether what keeps the ceiling from being higher is known on both sides and differs.
    pub fn limit_changed(&self) -> Option<(Limit, Limit)> {
        let limits = self.baseline?.limited_by.zip(self.candidate?.limited_by);
        limits.filter(|(before, after)| before != after)
    }
}

impl Side {
    fn new(cell: &CellRecord) -> Self {
        Self {
            status: cell.status,
            ceiling: cell.ceiling,
            highest_pass: cell.highest_pass,
            lowest_fail: cell.lowest_fail,
            confidence: cell.confidence,
            limited_by: cell.limited_by,
        }
    }
}

impl Summary {
    fn of(cells: &[CellComparison<'_>]) -> Self {
        let mut summary = Self::default();
        for cell in cells {
            *summary.count_mut(cell.verdict) += 1;
        }
        summary
    }

    fn count_mut(&mut self, verdict: Verdict) -> &mut usize {
        match verdict {
            Verdict::Improved => &mut self.improved,
            Verdict::Regressed => &mut self.regressed,
            Verdict::Unchanged => &mut self.unchanged,
            Verdict::Undecided => &mut self.undecided,
            Verdict::Incomparable => &mut self.incomparable,
            Verdict::Added => &mut self.added,
            Verdict::Removed => &mut self.removed,
        }
    }

    /// The number of cells of a verdict.
    pub fn count(mut self, verdict: Verdict) -> usize {
        *self.count_mut(verdict)
    }

    /// Cells of which something could be said, if only that it is undecided.
    pub fn compared(&self) -> usize {
        self.improved + self.regressed + self.unchanged + self.undecided
    }
}
