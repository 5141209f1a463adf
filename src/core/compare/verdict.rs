//! What two published brackets say of a change.
//!
//! A bracket `[highest_pass, lowest_fail)` holds the true ceiling with its confidence. Two brackets that share a level
//! are no evidence of a change, however far apart their ceilings lie. Two that share none are: if nothing had changed,
//! one of them at least would have missed the truth, and both in such a way that they part. For normal errors of like
//! size, brackets of 95% part in 0.6% of pairs in which nothing changed; where one is far wider than the other, in at
//! most 5%.
//!
//! Source: Goldstein and Healy, "The graphical presentation of a collection of means", 1995.

use std::rc::Rc;

use serde::{Serialize, Serializer};

use super::Difference;
use crate::record::CellRecord;
use crate::search::Status;
use crate::units::{Concurrency, Share};

/// What can be said of a cell's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Significantly lower, by the threshold or more.
    Regressed,
    /// The two were not measured under like conditions, or one was not measured.
    Incomparable,
    /// Neither a change that matters nor its absence is shown.
    Undecided,
    /// Significantly higher, by the threshold or more.
    Improved,
    /// Only the baseline has it.
    Removed,
    /// Only the candidate has it.
    Added,
    /// A change of the threshold or more is excluded.
    Unchanged,
}

impl Verdict {
    /// All of them, what calls for attention first.
    pub const ALL: [Self; 7] = [
        Self::Regressed,
        Self::Incomparable,
        Self::Undecided,
        Self::Improved,
        Self::Removed,
        Self::Added,
        Self::Unchanged,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regressed => "regressed",
            Self::Incomparable => "incomparable",
            Self::Undecided => "undecided",
            Self::Improved => "improved",
            Self::Removed => "removed",
            Self::Added => "added",
            Self::Unchanged => "unchanged",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The relative changes that two brackets allow, the baseline's ceiling being 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The lowest; -1 where the ceiling may be gone.
    pub least: f64,
    /// The highest; infinite (`null` in JSON) where nothing bounds it.
    pub most: f64,
}

/// Why a cell is not plainly improved, regressed or unchanged.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// They were not measured under like conditions.
    Differs(Rc<[Difference]>),
    /// The baseline has no number.
    BaselineWithout(String),
    /// The candidate has no number.
    CandidateWithout(String),
    /// The search of the baseline did not come to an answer.
    BaselineOpen,
    /// The search of the candidate did not come to an answer.
    CandidateOpen,
    /// How sure a bracket is was not estimated.
    NoConfidence,
    /// The brackets overlap and leave room for a change that matters.
    Overlap,
    /// The brackets do not overlap, but the change may be too small to matter.
    PerhapsSmall,
    /// The brackets do not overlap, and the change is too small to matter.
    Small,
    /// Both pass at their highest concurrency, which is not the same.
    CapsDiffer,
    /// Both pass at the highest concurrency.
    AtCap,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differs(differences) => {
                for (index, difference) in differences.iter().enumerate() {
                    write!(f, "{}{difference}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::BaselineWithout(why) => write!(f, "the baseline has no number: {why}"),
            Self::CandidateWithout(why) => write!(f, "the candidate has no number: {why}"),
            Self::BaselineOpen => f.write_str("the search of the baseline ended undecided"),
            Self::CandidateOpen => f.write_str("the search of the candidate ended undecided"),
            Self::NoConfidence => {
                f.write_str("a bracket of single verdicts has no confidence: measure with search.strategy = \"guided\"")
            }
            Self::Overlap => f.write_str("the brackets overlap and are too wide to exclude a change"),
            Self::PerhapsSmall => f.write_str("a change, but perhaps one below the threshold"),
            Self::Small => f.write_str("a change below the threshold"),
            Self::CapsDiffer => f.write_str("both are above their caps, which differ"),
            Self::AtCap => f.write_str("both are above the cap"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is said of a pair of cells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    pub significant: bool,
    pub change: Option<f64>,
    pub range: Option<Range>,
    pub reason: Option<Reason>,
}

/// Where the true ceiling of a cell is, as far as its run says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// At `pass` or above, below `fail`.
    Found { pass: Concurrency, fail: Concurrency },
    /// At `pass`, the highest level that was allowed, or above.
    AboveCap { pass: Concurrency },
    /// Not even one request in flight passes.
    BelowOne,
    /// The search stands by nothing.
    Open,
    /// The search was not made to say how sure it is.
    Unsure,
    /// Nothing was measured: why.
    Without(String),
}

impl Standing {
    pub fn of(cell: &CellRecord) -> Self {
        let standing = match cell.status {
            None => Self::Without("it was not measured".to_owned()),
            Some(Status::Failed) => {
                let reason = cell.failure.as_ref().map_or("for an unknown reason", |failure| &failure.reason);
                Self::Without(format!("it failed: {reason}"))
            }
            Some(Status::Undecided) => Self::Open,
            Some(Status::BelowOne) => Self::BelowOne,
            Some(Status::AboveCap) => match cell.highest_pass {
                Some(pass) => Self::AboveCap { pass },
                None => Self::Without("it is above its cap, but at which level is not recorded".to_owned()),
            },
            Some(Status::Found) => match (cell.highest_pass, cell.lowest_fail) {
                (Some(pass), Some(fail)) if pass < fail => Self::Found { pass, fail },
                _ => Self::Without("its bracket is not recorded".to_owned()),
            },
        };
        match standing {
            Self::Found { .. } | Self::AboveCap { .. } | Self::BelowOne if cell.confidence.is_none() => Self::Unsure,
            standing => standing,
        }
    }

    /// The least and the greatest that the true ceiling may be; without an end where nothing bounds it.
    fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Found { pass, fail } => (f64::from(pass.get()), f64::from(fail.get() - 1)),
            Self::AboveCap { pass } => (f64::from(pass.get()), f64::INFINITY),
            Self::BelowOne => (0.0, 0.0),
            Self::Open | Self::Unsure | Self::Without(_) => (0.0, f64::INFINITY),
        }
    }
}

/// Judges a pair of cells that were measured under like conditions.
pub(super) fn judge(baseline: &Standing, candidate: &Standing, threshold: Share) -> Judgement {
    use Standing::{AboveCap, BelowOne, Found, Open, Unsure, Without};
    let without = |reason| Judgement::bare(Verdict::Incomparable, reason);
    let open = |reason| Judgement::bare(Verdict::Undecided, reason);
    match (baseline, candidate) {
        (Without(why), _) => without(Reason::BaselineWithout(why.clone())),
        (_, Without(why)) => without(Reason::CandidateWithout(why.clone())),
        (Open, _) => open(Reason::BaselineOpen),
        (_, Open) => open(Reason::CandidateOpen),
        (Unsure, _) | (_, Unsure) => open(Reason::NoConfidence),
        (BelowOne, BelowOne) => {
            let range = Some(Range { least: 0.0, most: 0.0 });
            Judgement { verdict: Verdict::Unchanged, significant: false, change: None, range, reason: None }
        }
        (BelowOne, Found { .. } | AboveCap { .. }) => {
            let range = Some(Range { least: f64::INFINITY, most: f64::INFINITY });
            Judgement { verdict: Verdict::Improved, significant: true, change: None, range, reason: None }
        }
        (Found { .. } | AboveCap { .. }, BelowOne) => {
            let range = Some(Range { least: -1.0, most: -1.0 });
            Judgement { verdict: Verdict::Regressed, significant: true, change: Some(-1.0), range, reason: None }
        }
        (AboveCap { pass: before }, AboveCap { pass: after }) => {
            let (verdict, reason) = match before == after {
                true => (Verdict::Unchanged, Reason::AtCap),
                false => (Verdict::Undecided, Reason::CapsDiffer),
            };
            let range = Some(Range { least: -1.0, most: f64::INFINITY });
            Judgement { verdict, significant: false, change: None, range, reason: Some(reason) }
        }
        (Found { pass: before, .. }, Found { pass: after, .. }) => {
            let change = f64::from(after.get()) / f64::from(before.get()) - 1.0;
            Judgement { change: Some(change), ..by_brackets(baseline, candidate, change, threshold) }
        }
        // The ceiling above a cap is not known, so that the change is none that could be published; it is at least this.
        (AboveCap { pass: before }, Found { pass: after, .. })
        | (Found { pass: before, .. }, AboveCap { pass: after }) => {
            let change = f64::from(after.get()) / f64::from(before.get()) - 1.0;
            by_brackets(baseline, candidate, change, threshold)
        }
    }
}

/// Judges by the levels that the brackets leave to the two ceilings, both at least 1.
fn by_brackets(baseline: &Standing, candidate: &Standing, change: f64, threshold: Share) -> Judgement {
    let ((low_before, high_before), (low_after, high_after)) = (baseline.bounds(), candidate.bounds());
    let range = Range { least: low_after / high_before - 1.0, most: high_after / low_before - 1.0 };
    let significant = low_after > high_before || high_after < low_before;
    let may_matter = matters(range.most, threshold) || matters(-range.least, threshold);
    let (verdict, reason) = match (significant, may_matter) {
        (false, false) => (Verdict::Unchanged, None),
        (false, true) => (Verdict::Undecided, Some(Reason::Overlap)),
        (true, false) => (Verdict::Unchanged, Some(Reason::Small)),
        (true, true) if !matters(change.abs(), threshold) => (Verdict::Undecided, Some(Reason::PerhapsSmall)),
        (true, true) if change > 0.0 => (Verdict::Improved, None),
        (true, true) => (Verdict::Regressed, None),
    };
    Judgement { verdict, significant, change: None, range: Some(range), reason }
}

/// Whether a relative change, counted in the direction that is asked about, is at least the threshold.
pub(super) fn matters(change: f64, threshold: Share) -> bool {
    // 90 instead of 100 is a change of 10%, although 0.9 - 1 is a little less in binary.
    change >= threshold.get() - 1e-9
}

impl Judgement {
    /// Nothing but a reason.
    pub fn bare(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, significant: false, change: None, range: None, reason: Some(reason) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(level: u32) -> Concurrency {
        Concurrency::new(level).unwrap()
    }

    fn found(pass: u32, fail: u32) -> Standing {
        Standing::Found { pass: at(pass), fail: at(fail) }
    }

    fn above(pass: u32) -> Standing {
        Standing::AboveCap { pass: at(pass) }
    }

    fn share(value: f64) -> Share {
        Share::new(value).unwrap()
    }

    #[test]
    fn every_pair_has_its_verdict() {
        use Standing::{BelowOne, Open, Unsure};
        use Verdict::{Improved, Incomparable, Regressed, Unchanged, Undecided};
        let failed = || Standing::Without("it failed: out of memory".into());
        // (baseline, candidate, verdict, significant, change, threshold of 5%)
        let table = [
            (found(100, 101), found(100, 101), Unchanged, false, Some(0.0)),
            (found(100, 104), found(102, 105), Unchanged, false, Some(0.02)),
            (found(100, 106), found(101, 106), Undecided, false, Some(0.01)),
            (found(100, 120), found(119, 140), Undecided, false, Some(0.19)),
            (found(100, 120), found(120, 140), Improved, true, Some(0.2)),
            (found(100, 101), found(103, 104), Unchanged, true, Some(0.03)),
            (found(100, 101), found(97, 98), Unchanged, true, Some(-0.03)),
            (found(100, 101), found(103, 110), Undecided, true, Some(0.03)),
            (found(100, 130), found(96, 100), Undecided, true, Some(-0.04)),
            (found(100, 101), found(95, 96), Regressed, true, Some(-0.05)),
            (found(100, 101), found(50, 60), Regressed, true, Some(-0.5)),
            (found(1, 2), found(2, 3), Improved, true, Some(1.0)),
            (found(100, 101), BelowOne, Regressed, true, Some(-1.0)),
            (above(100), BelowOne, Regressed, true, Some(-1.0)),
            (BelowOne, found(1, 2), Improved, true, None),
            (BelowOne, above(8), Improved, true, None),
            (BelowOne, BelowOne, Unchanged, false, None),
            (above(100), found(60, 70), Regressed, true, None),
            (above(100), found(97, 99), Undecided, true, None),
            (above(100), found(100, 120), Undecided, false, None),
            (found(60, 70), above(100), Improved, true, None),
            (found(100, 120), above(100), Undecided, false, None),
            (above(100), above(100), Unchanged, false, None),
            (above(100), above(200), Undecided, false, None),
            (found(100, 101), Open, Undecided, false, None),
            (Open, BelowOne, Undecided, false, None),
            (Unsure, found(1, 2), Undecided, false, None),
            (found(1, 2), Unsure, Undecided, false, None),
            (found(100, 101), failed(), Incomparable, false, None),
            (failed(), found(100, 101), Incomparable, false, None),
            (failed(), failed(), Incomparable, false, None),
            (Open, failed(), Incomparable, false, None),
        ];
        for (baseline, candidate, verdict, significant, change) in table {
            let judgement = judge(&baseline, &candidate, share(0.05));
            let rounded = judgement.change.map(|change| (change * 1e9).round() / 1e9);
            let seen = (judgement.verdict, judgement.significant, rounded);
            assert_eq!(seen, (verdict, significant, change), "{baseline:?} against {candidate:?}: {judgement:?}");
        }
    }

    #[test]
    fn the_threshold_itself_matters() {
        assert!(matters(1.0 - 0.9, share(0.1)) && matters(0.05, share(0.05)) && !matters(0.0499, share(0.05)));
    }

    fn standings() -> impl Strategy<Value = Standing> {
        prop_oneof![
            8 => (1u32..200, 1u32..60).prop_map(|(pass, width)| found(pass, pass + width)),
            1 => (1u32..200).prop_map(above),
            1 => Just(Standing::BelowOne),
        ]
    }

    proptest! {
        #[test]
        fn what_overlaps_never_changed(a in standings(), b in standings(), threshold in 0.0..0.5f64) {
            let ((low_a, high_a), (low_b, high_b)) = (a.bounds(), b.bounds());
            let judgement = judge(&a, &b, share(threshold));
            if low_a <= high_b && low_b <= high_a {
                prop_assert!(matches!(judgement.verdict, Verdict::Unchanged | Verdict::Undecided), "{:?}", judgement);
                prop_assert!(!judgement.significant);
            } else {
                prop_assert!(judgement.significant);
            }
        }

        #[test]
        fn the_other_way_round_the_direction_turns(a in standings(), b in standings()) {
            let turned = |verdict| match verdict {
                Verdict::Improved => Verdict::Regressed,
                Verdict::Regressed => Verdict::Improved,
                other => other,
            };
            // With no threshold, since 100 against 96 is a smaller part than 96 against 100.
            let there = judge(&a, &b, share(0.0)).verdict;
            prop_assert_eq!(judge(&b, &a, share(0.0)).verdict, turned(there));
        }

        #[test]
        fn a_higher_threshold_alarms_no_more(a in standings(), b in standings(), low in 0.0..0.3f64, more in 0.0..0.3f64) {
            let alarms = |threshold| {
                matches!(judge(&a, &b, share(threshold)).verdict, Verdict::Improved | Verdict::Regressed)
            };
            prop_assert!(!alarms(low + more) || alarms(low));
        }
    }
}
