//! What the engine's work takes, from what took how long.

use super::{SimEngine, Work};
use crate::units::Seconds;

/// Steps, sequences and prompt tokens that took a second together.
pub(crate) type Row = [f64; UNKNOWNS];
/// Steps, sequences and prompt tokens.
pub(crate) const UNKNOWNS: usize = 3;

/// Of work that took so many seconds.
pub(crate) fn row(work: Work, seconds: f64) -> Row {
    [work.steps / seconds, work.sequences / seconds, work.prompt_tokens / seconds]
}

/// What work takes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub step: f64,
    pub sequence: f64,
    pub prompt_token: f64,
}

impl Times {
    /// Those that explain the rows best, none of them negative; `None` where there are no rows.
    ///
    /// The least squares of three unknowns that may not be negative are those of one of the subsets of them. Where several explain all
    /// there is, since work of one kind came with as much of another each time, prompt tokens are taken to be what takes time.
    pub fn of(rows: &[Row]) -> Option<Self> {
        let solved = SUBSETS.iter().filter_map(|columns| least_squares(rows, columns));
        let fits = solved.filter(|times| times.iter().all(|time| *time >= 0.0));
        let fits = fits.map(|[step, sequence, prompt_token]| Self { step, sequence, prompt_token });
        let misfit = |times: &Self| rows.iter().map(|row| times.misfit(row).powi(2)).sum::<f64>().max(EXACT.powi(2));
        fits.min_by(|a, b| misfit(a).total_cmp(&misfit(b)))
    }

    /// An engine with the limits of this one, whose work takes these times.
    pub fn engine(self, limits: SimEngine) -> SimEngine {
        SimEngine {
            prefill_tokens_per_second: 1.0 / self.prompt_token.max(LEAST),
            decode_step: Seconds::new(self.step).unwrap_or(Seconds::ZERO),
            decode_step_per_sequence: Seconds::new(self.sequence).unwrap_or(Seconds::ZERO),
            ..limits
        }
    }

    /// Of a machine that is slower by this logarithm.
    pub fn slower(self, by: f64) -> Self {
        let Self { step, sequence, prompt_token } = self;
        Self { step: step * by.exp(), sequence: sequence * by.exp(), prompt_token: prompt_token * by.exp() }
    }

    /// How many of the unknowns these rows tell from each other.
    pub fn told_by(rows: &[Row]) -> usize {
        let told = SUBSETS.iter().filter(|columns| least_squares(rows, columns).is_some());
        told.map(|columns| columns.len()).max().unwrap_or(0)
    }

    /// Whether they explain these rows to the last digit.
    pub fn explain(&self, rows: &[Row]) -> bool {
        rows.iter().all(|row| self.misfit(row).abs() < EXACT)
    }

    /// What they make of a row: 1, where they explain it.
    pub fn of_row(&self, row: &Row) -> f64 {
        row[0] * self.step + row[1] * self.sequence + row[2] * self.prompt_token
    }

    fn misfit(&self, row: &Row) -> f64 {
        self.of_row(row) - 1.0
    }
}

/// Columns of rows: those with prompt tokens first.
const SUBSETS: [&[usize]; 7] = [&[0, 1, 2], &[0, 2], &[1, 2], &[2], &[0, 1], &[0], &[1]];

/// What of these columns adds up to 1 in each row, by least squares; `None` where the columns do not differ.
fn least_squares(rows: &[Row], columns: &[usize]) -> Option<[f64; 3]> {
    // Gram and Schmidt, as modified: q is orthonormal, and columns = q r.
    let mut q: Vec<Vec<f64>> = columns.iter().map(|at| rows.iter().map(|row| row[*at]).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut r = vec![vec![0.0; columns.len()]; columns.len()];
    for at in 0..columns.len() {
        let whole = dot(&q[at], &q[at]).sqrt();
        for before in 0..at {
            let part = dot(&q[before], &q[at]);
            r[before][at] = part;
            let (done, rest) = q.split_at_mut(at);
            rest[0].iter_mut().zip(&done[before]).for_each(|(value, unit)| *value -= part * unit);
        }
        let length = dot(&q[at], &q[at]).sqrt();
        if length <= whole * ALIKE {
            return None;
        }
        r[at][at] = length;
        q[at].iter_mut().for_each(|value| *value /= length);
    }
    let mut solved = vec![0.0; columns.len()];
    for at in (0..columns.len()).rev() {
        let known: f64 = (at + 1..columns.len()).map(|after| r[at][after] * solved[after]).sum();
        solved[at] = (q[at].iter().sum::<f64>() - known) / r[at][at];
    }
    let mut times = [0.0; 3];
    columns.iter().zip(solved).for_each(|(at, value)| times[*at] = value);
    Some(times)
}

/// Parts of what was measured that are how times were rounded.
pub(crate) const EXACT: f64 = 1e-7;
/// Columns that differ by less than this part of them do not differ.
const ALIKE: f64 = 1e-7;
/// Least time of a prompt token, in seconds.
const LEAST: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_negative_and_unknowns_that_cannot_be_told_apart_are_left_out() {
        // A prompt alone: every step holds one sequence.
        let alone = [[10.0, 10.0, 5000.0], [20.0, 20.0, 4000.0]];
        let times = Times::of(&alone).unwrap();
        assert!(times.step >= 0.0 && times.sequence >= 0.0 && times.prompt_token >= 0.0);
        assert!(alone.iter().all(|row| (times.of_row(row) - 1.0).abs() < 1e-9), "{times:?}");
        // By the best line a step would take less than no time.
        let bent = [[10.0, 10.0, 1000.0], [12.0, 20.0, 900.0], [20.0, 30.0, 1100.0]];
        let times = Times::of(&bent).unwrap();
        assert!(times.step >= 0.0 && times.sequence >= 0.0 && times.prompt_token >= 0.0);
        assert_eq!(Times::of(&[]), None);
    }

    #[test]
    fn where_work_of_one_kind_always_came_with_another_prompts_take_the_time() {
        // Whole prompts of 100 tokens, a step for each burst: 20 ms, and a millisecond for each prompt.
        let row = |prompts: f64| [1.0, prompts, 100.0 * prompts].map(|work| work / (0.02 + 0.001 * prompts));
        let rows = [1.0, 4.0, 9.0].map(row);
        assert_eq!(Times::told_by(&rows), 2);
        let times = Times::of(&rows).unwrap();
        assert!(times.explain(&rows), "{times:?}");
        assert!((times.step - 0.02).abs() < 1e-9 && times.sequence == 0.0, "{times:?}");
        assert!(!times.explain(&[row(5.0), row(5.0).map(|work| work * 1.001)]));
    }
}
