//! Stalls: the engine, or the machine under it, stands still for a while and then goes on as before.
//!
//! A probe that stalled says how the engine serves a level only up to there. It is neither explained away nor taken for
//! the whole truth: the pace is taken from it as if it had not stalled, its requests are no evidence of how its level is
//! served otherwise, and the share of probes that stall, and what a stall costs, count against every level.

use super::steps::steps;

/// A gap between first tokens is a stall where it is longer than most by this factor.
const LONGER: f64 = 8.0;
/// Gaps from which it can be told what is usual.
const LEAST_GAPS: usize = 4;

/// One stall of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stall {
    /// First tokens that came before it.
    pub after: usize,
    /// How much longer than usual the next one took, in seconds.
    pub seconds: f64,
}

impl Stall {
    /// The longest stall in these times of first tokens, ascending in seconds. A burst larger than `admitted` waits for
    /// others to leave the engine, which is no stall.
    pub fn of(times: &[f64], admitted: Option<u32>) -> Option<Self> {
        let admitted = admitted.map_or(usize::MAX, |admitted| admitted as usize);
        let times = &times[..times.len().min(admitted)];
        let gaps = gaps(times);
        if gaps.len() <= LEAST_GAPS {
            return None;
        }
        let mut lengths: Vec<f64> = gaps.iter().map(|(_, gap)| *gap).collect();
        lengths.sort_by(f64::total_cmp);
        let usual = lengths[lengths.len() / 2];
        let (after, longest) = gaps.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (longest > LONGER * usual).then_some(Self { after, seconds: longest - usual })
    }

    /// The stall of a probe with too few steps to tell what is usual: these are its times of first tokens, or there are none and
    /// it was left after `seconds`; as many took another probe of the same engine no longer than `quickest`.
    pub fn beside(times: &[f64], seconds: f64, quickest: f64) -> Option<Self> {
        let gaps = gaps(times);
        let took = times.last().copied().unwrap_or(seconds);
        if gaps.len() > LEAST_GAPS || took <= LONGER * quickest {
            return None;
        }
        let longer = took - quickest;
        // The others may have been slow without a stall: the step that stalled keeps its part of what they take.
        let least = quickest / gaps.len() as f64;
        let stall = |(after, gap): (usize, f64)| Self { after, seconds: longer.min(gap - least) };
        Some(gaps.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Self { after: 0, seconds: longer }, stall))
    }

    /// The stall of a probe in which a step took much longer than any did in which as many first tokens came in another probe, at
    /// times `other`; whoever had none yet was waited for until it was `left`, in seconds.
    pub fn unlike(times: &[f64], left: Option<f64>, other: &[f64]) -> Option<Self> {
        let in_vain = left.map(|left| (times.len(), left - times.last().copied().unwrap_or(0.0)));
        let (after, longest) = gaps(times).into_iter().chain(in_vain).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let usual = gaps(other).into_iter().map(|(_, gap)| gap).fold(0.0, f64::max);
        (longest > LONGER * usual).then_some(Self { after, seconds: longest - usual })
    }

    /// The times as they would have been without it.
    pub fn take_out(&self, times: &[f64]) -> Vec<f64> {
        let shift = |(rank, time): (usize, &f64)| if rank >= self.after { time - self.seconds } else { *time };
        times.iter().enumerate().map(shift).collect()
    }

    /// The share of a burst that a stall of this length costs on average, where first tokens come evenly up to the limit
    /// and it begins at any of them: those that would have come in the last `seconds` before the limit, and after it.
    pub fn costs(&self, limit: f64) -> f64 {
        let part = (self.seconds / limit).min(1.0);
        part - part * part / 2.0
    }
}

/// How long each step let wait for its first token, in seconds, by how many had come before it.
fn gaps(times: &[f64]) -> Vec<(usize, f64)> {
    let ends = steps(times);
    let begins = std::iter::once((0, 0.0)).chain(ends.iter().map(|end| (end.done, end.time)));
    begins.take(ends.len()).map(|(done, begin)| (done, times[done] - begin)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn even(count: usize) -> Vec<f64> {
        (1..=count).map(|rank| rank as f64 * 0.1).collect()
    }

    #[test]
    fn a_stall_is_found_and_taken_out() {
        let mut times = even(20);
        times[12..].iter_mut().for_each(|time| *time += 3.0);
        let stall = Stall::of(&times, None).unwrap();
        assert_eq!(stall.after, 12);
        for (mended, expected) in stall.take_out(&times).iter().zip(even(20)) {
            assert!((mended - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_small_burst_stalled_where_another_served_as_many_much_sooner() {
        assert_eq!(Stall::beside(&[6.1], 6.1, 0.1), Some(Stall { after: 0, seconds: 6.0 }));
        assert_eq!(Stall::beside(&[0.1, 6.2], 6.2, 0.2), Some(Stall { after: 1, seconds: 6.0 }));
        assert_eq!(Stall::beside(&[], 6.1, 0.1), Some(Stall { after: 0, seconds: 6.0 }));
        assert_eq!(Stall::beside(&[0.7], 0.7, 0.1), None);
        assert_eq!(Stall::beside(&even(20), 2.0, 0.1), None);
    }

    #[test]
    fn a_stall_in_few_steps_shows_beside_a_probe_without() {
        // Too short a stall to show in what both took altogether.
        let (stalled, calm) = ([0.1, 0.2, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(Stall::unlike(&stalled, None, &calm), None);
        let stalled = [0.1, 0.2, 1.2];
        let stall = Stall::unlike(&stalled, None, &calm).unwrap();
        assert!(stall.after == 2 && (stall.seconds - 0.9).abs() < 1e-9, "{stall:?}");
        assert_eq!(Stall::beside(&stalled, 1.2, 0.3), None);
        // Or it was left before it ended.
        let left = Stall::unlike(&stalled[..2], Some(1.2), &calm).unwrap();
        assert!(left.after == 2 && (left.seconds - 0.9).abs() < 1e-9, "{left:?}");
        assert_eq!(Stall::unlike(&stalled[..2], Some(0.3), &calm), None);
    }

    #[test]
    fn what_is_taken_out_is_no_longer_than_the_step_that_stalled() {
        let times = [2.4, 2.6, 2.75];
        let stall = Stall::beside(&times, 2.75, 0.3).unwrap();
        assert_eq!(stall.after, 0);
        let mended = stall.take_out(&times);
        assert!((mended[0] - 0.1).abs() < 1e-9 && mended.is_sorted(), "{mended:?}");
        // Of a step whose tokens reach the harness one after the other, than the first of them took.
        let times = [4.65, 4.76];
        let mended = Stall::beside(&times, 4.76, 5e-4).unwrap().take_out(&times);
        assert!(mended[0] > 0.0 && mended.is_sorted(), "{mended:?}");
    }

    proptest! {
        #[test]
        fn first_tokens_come_in_order_and_after_their_submission_whatever_is_taken_out(
            gaps in prop::collection::vec(1e-4..5.0f64, 1..12),
            quicker in 1e-4..1.0f64,
        ) {
            let times: Vec<f64> = gaps.iter().scan(0.0, |time, gap| { *time += gap; Some(*time) }).collect();
            let took = times[times.len() - 1];
            let calm: Vec<f64> = (1..=times.len()).map(|rank| rank as f64 * quicker).collect();
            let unlike = Stall::unlike(&times, None, &calm);
            let stalls = [Stall::of(&times, None), Stall::beside(&times, took, took * quicker), unlike];
            for stall in stalls.into_iter().flatten() {
                let mended = stall.take_out(&times);
                prop_assert!(stall.seconds > 0.0 && mended[0] > 0.0 && mended.is_sorted(), "{:?}: {:?}", stall, mended);
            }
        }
    }

    #[test]
    fn an_even_burst_has_none() {
        assert_eq!(Stall::of(&even(20), None), None);
    }

    #[test]
    fn waiting_for_room_is_no_stall() {
        let mut times = even(20);
        times[12..].iter_mut().for_each(|time| *time += 3.0);
        assert_eq!(Stall::of(&times, Some(12)), None);
    }

    #[test]
    fn a_stall_longer_than_the_limit_costs_half_a_burst() {
        assert_eq!(Stall { after: 0, seconds: 9.0 }.costs(3.0), 0.5);
        assert!((Stall { after: 0, seconds: 0.3 }.costs(3.0) - 0.095).abs() < 1e-9);
    }
}
