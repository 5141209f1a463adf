//! Foretells the ceiling of a burst under a limit on the first token, from the times of the first tokens seen so far.
//!
//! A burst is served in order, so one probe shows when each rank is served, and that hardly depends on how many wait
//! behind. The prediction only chooses the next level: what is published has been probed.

use super::level::Machine;
use super::steps::steps;
use crate::stats::Slice;

/// Sizes nearer to each other than by this factor differ by what is chance.
const APART: f64 = 1.3;

/// When the engine is done with so many prompts, in the middle of its luck.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Ascending: bursts that one step served whole, all smaller than the first of the steps, and ends of steps. A prompt that is
    /// part done counts as a part.
    marks: Vec<Mark>,
    /// Logarithm of the time of each first token.
    times: Vec<f64>,
    /// How it goes on beyond the last step.
    onwards: Onwards,
    /// All prompts of the burst are done at the end of the last step.
    complete: bool,
    /// The logarithm of the time until which none of the others had its first token: they came in a step that took longer, or the engine
    /// had no room for them.
    waited: f64,
    /// The times are free of chance: how they bend is no accident.
    certain: bool,
}

/// So many prompts are done.
#[derive(Clone, Copy, Debug)]
struct Mark {
    done: f64,
    /// When, as a logarithm.
    time: f64,
    seconds: f64,
}

/// How many prompts are done after so many seconds, beyond what was seen.
#[derive(Clone, Copy, Debug)]
enum Onwards {
    /// Nothing was seen.
    Unknown,
    /// As many more in each second as this, from here.
    Straight { from: Mark, per_second: f64 },
    /// After a n + b n² seconds n, since each takes longer than the one before: more sequences run.
    Bent { a: f64, b: f64 },
    /// In proportion to this power of the time, from here.
    Power { from: Mark, power: f64 },
}

impl Mark {
    fn new(done: f64, time: f64) -> Self {
        Self { done, time, seconds: time.exp() }
    }

    /// What is done by then on the line from here to there.
    fn towards(&self, to: &Self, seconds: f64) -> f64 {
        self.done + (seconds - self.seconds) / (to.seconds - self.seconds) * (to.done - self.done)
    }

    /// In how many seconds so much is done on that line.
    fn seconds_towards(&self, to: &Self, done: f64) -> f64 {
        self.seconds + (done - self.done) / (to.done - self.done) * (to.seconds - self.seconds)
    }
}

/// Where all begins.
const START: Mark = Mark { done: 0.0, time: f64::NEG_INFINITY, seconds: 0.0 };

impl Curve {
    /// From the first-token times of one probe, ascending, `slower` than the middle by this logarithm.
    ///
    /// `prompts_per_step` are the most that a step of the engine holds, where that is known.
    pub fn new(times: &[f64], slower: f64, complete: bool, prompts_per_step: Option<f64>, certain: bool) -> Self {
        let ends = steps(times);
        let mut marks: Vec<Mark> = ends.iter().map(|end| Mark::new(end.done as f64, end.time.ln() - slower)).collect();
        let times: Vec<f64> = times.iter().map(|time| time.ln() - slower).collect();
        if let Some(per_step) = prompts_per_step {
            let last = marks.len();
            for (index, step) in marks.iter_mut().enumerate() {
                // The budget may have done a part of the next prompt as well.
                if !(complete && index + 1 == last) {
                    step.done = ((index + 1) as f64 * per_step).clamp(step.done, step.done + 0.99);
                }
            }
        }
        let onwards = Onwards::after(&marks, None, complete, certain);
        Self { marks, times, onwards, complete, waited: f64::NEG_INFINITY, certain }
    }

    /// The same of a probe that was left after so many seconds: whoever had no first token by then was not served.
    pub fn left_after(mut self, seconds: f64, slower: f64) -> Self {
        if !self.complete {
            self.waited = seconds.ln() - slower;
        }
        self
    }

    /// The same, when nothing else is to be added to it, with bursts of which one step served each whole, ascending in size, and the
    /// logarithm of its time: they show how a step grows with what is in it. Where there is chance, they must be far apart to show it.
    pub fn with_sizes(mut self, sizes: impl Iterator<Item = (f64, f64)>) -> Self {
        let Some(first) = self.marks.first().copied() else { return self };
        let apart = if self.certain { 1.0 } else { APART };
        let is_before = |size: &Mark, next: &Mark| size.done * apart < next.done && size.time < next.time;
        let mut marks: Vec<Mark> = Vec::new();
        for size in sizes.map(|(done, time)| Mark::new(done, time)).filter(|size| is_before(size, &first)) {
            if marks.last().is_none_or(|last| is_before(last, &size)) {
                marks.push(size);
            }
        }
        self.onwards = Onwards::after(&self.marks, marks.last(), self.complete, self.certain);
        marks.append(&mut self.marks);
        self.marks = marks;
        self
    }

    /// The number of prompts that are done within this time, as a logarithm; beyond what was seen by the last slope.
    pub fn done_by(&self, time: f64) -> f64 {
        let next = self.marks.partition_point(|mark| mark.time <= time);
        match self.marks.get(next) {
            Some(mark) => self.before(next).towards(mark, time.exp()),
            None if time <= self.waited => self.times.len() as f64,
            None => self.onwards.done_by(time),
        }
    }

    /// When so many prompts are done, as a logarithm.
    fn done_at(&self, done: f64) -> f64 {
        let done = done - HAIR;
        let next = self.marks.partition_point(|mark| mark.done < done);
        match self.marks.get(next) {
            Some(mark) => self.before(next).seconds_towards(mark, done).ln(),
            None => self.onwards.done_at(done).max(self.before(next).time).max(self.waited),
        }
    }

    fn before(&self, mark: usize) -> &Mark {
        mark.checked_sub(1).map_or(&START, |before| &self.marks[before])
    }

    /// The highest level up to `cap` at which a share of `needed` gets its first token within `limit`, a logarithm of
    /// seconds, on a machine of this spread.
    pub fn ceiling(&self, machine: &Machine, limit: f64, needed: f64, spread: f64, cap: u32) -> u32 {
        let served = self.served(machine.slices(spread), limit, spread);
        let (mut pass, mut fail) = (0, cap.saturating_add(1));
        while fail - pass > 1 {
            let level = pass + (fail - pass) / 2;
            if self.share(&served, level) >= needed { pass = level } else { fail = level }
        }
        pass
    }

    /// When each request of a burst of this size gets its first token: logarithms of seconds, ascending.
    pub fn burst(&self, level: u32) -> Vec<f64> {
        let seen = self.times.len().min(level as usize);
        let last = self.times.last().copied().unwrap_or(f64::NEG_INFINITY);
        let beyond = (seen as u32 + 1..=level).map(|rank| self.done_at(f64::from(rank)).max(last));
        // Its last step may be shorter than that of a larger one.
        let all = self.done_at(f64::from(level));
        self.times[..seen].iter().copied().chain(beyond).map(|time| time.min(all)).collect()
    }

    /// What is done within the limit in each of these slices of the machine, the slowest first.
    fn served(&self, slices: &[Slice], limit: f64, spread: f64) -> Vec<Served> {
        let served = |slice: &Slice| {
            let time = limit - slice.z * spread + 1e-9;
            let whole = self.times.partition_point(|first| *first <= time);
            Served { whole, done: self.done_by(time) + HAIR, weight: slice.weight }
        };
        slices.iter().map(served).collect()
    }

    /// The share of a burst of this size that is served in these slices.
    fn share(&self, served: &[Served], level: u32) -> f64 {
        let wanted = f64::from(level);
        let (mut ok, mut left) = (0.0, 1.0);
        for &Served { whole, done, weight } in served {
            if whole >= level as usize || done >= wanted {
                // So are the others, which are quicker.
                return ok + left;
            }
            let served = if whole == self.times.len() { done.floor() } else { whole as f64 };
            ok += weight * served / wanted;
            left -= weight;
        }
        ok
    }
}

/// What is short of a prompt by less is how it was rounded.
const HAIR: f64 = 1e-6;

/// What is served within a limit.
#[derive(Clone, Copy, Debug)]
struct Served {
    /// First tokens that came.
    whole: usize,
    /// Prompts that are done.
    done: f64,
    /// How likely.
    weight: f64,
}

impl Onwards {
    /// After these steps, and the largest of the bursts that one step served whole.
    fn after(steps: &[Mark], size: Option<&Mark>, complete: bool, certain: bool) -> Self {
        // The engine's last step with prompts is a short one, which tells little of those to come.
        let full = if complete && steps.len() > 2 { steps.len() - 1 } else { steps.len() };
        let Some(last) = steps[..full].last().copied() else { return Self::Unknown };
        let half = steps[(full - 1) / 2];
        if half.done >= last.done {
            return match size.filter(|_| complete) {
                Some(size) => {
                    let per_second = (last.done - size.done) / (last.seconds - size.seconds);
                    Self::Straight { from: last, per_second }
                }
                None => Self::Power { from: last, power: 1.0 },
            };
        }
        let (per_prompt, per_prompt_before) = (last.seconds / last.done, half.seconds / half.done);
        let b = (per_prompt - per_prompt_before) / (last.done - half.done);
        let a = per_prompt - b * last.done;
        if certain && a > 0.0 && b > 0.0 {
            return Self::Bent { a, b };
        }
        let slope = (last.time - half.time) / (last.done / half.done).ln();
        Self::Power { from: last, power: 1.0 / slope.clamp(0.3, 3.0) }
    }

    fn done_by(&self, time: f64) -> f64 {
        match *self {
            // One prompt is always worth a try.
            Self::Unknown => 1.0,
            Self::Straight { from, per_second } => from.done + (time.exp() - from.seconds) * per_second,
            Self::Bent { a, b } => ((a * a + 4.0 * b * time.exp()).sqrt() - a) / (2.0 * b),
            Self::Power { from, power } => from.done * ((time - from.time) * power).exp(),
        }
    }

    fn done_at(&self, done: f64) -> f64 {
        match *self {
            Self::Unknown => {
                if done <= 1.0 {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            Self::Straight { from, per_second } => (from.seconds + (done - from.done) / per_second).ln(),
            Self::Bent { a, b } => (a * done + b * done * done).ln(),
            Self::Power { from, power } => from.time + (done / from.done).ln() / power,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty first tokens, a tenth of a second apart.
    fn curve(complete: bool) -> Curve {
        let times: Vec<f64> = (1..=20).map(|rank| f64::from(rank) * 0.1).collect();
        Curve::new(&times, 0.0, complete, None, true)
    }

    #[test]
    fn whoever_is_waited_for_in_vain_is_not_served() {
        let done_by = |curve: &Curve, seconds: f64| curve.done_by(seconds.ln());
        assert!((done_by(&curve(false), 4.0) - 40.0).abs() < 1e-6);
        let left = curve(false).left_after(5.0, 0.0);
        for (seconds, done) in [(1.0, 10.0), (4.0, 20.0), (5.0, 20.0), (6.0, 60.0)] {
            assert!((done_by(&left, seconds) - done).abs() < 1e-6, "{seconds}");
        }
        assert!((done_by(&curve(true).left_after(5.0, 0.0), 4.0) - 40.0).abs() < 1e-6, "all are served");
    }

    #[test]
    fn whole_bursts_show_how_the_first_step_grows() {
        // A step takes 20 ms and another 2 ms for each prompt.
        let step = |prompts: f64| (prompts, (0.02 + 0.002 * prompts).ln());
        let first = Curve::new(&[0.1; 40], 0.0, true, Some(100.0), true);
        let curve = first.with_sizes([step(5.0), step(10.0)].into_iter());
        for prompts in [6.0, 10.0, 25.0, 40.0, 60.0] {
            let done = curve.done_by(step(prompts).1);
            assert!((done - prompts).abs() < 1e-6, "{done} of {prompts}");
        }
    }

    #[test]
    fn a_burst_is_served_when_its_share_says_so() {
        let step = |prompts: f64| (prompts, (0.02 + 0.002 * prompts).ln());
        let in_steps: Vec<f64> = (1..=24u32).map(|rank| f64::from(rank.div_ceil(4)) * 0.4).collect();
        let curves = [
            curve(true),
            curve(false).left_after(5.0, 0.0),
            Curve::new(&in_steps, 0.1, true, Some(4.4), false),
            Curve::new(&in_steps, 0.0, false, Some(4.4), true),
            Curve::new(&[0.1; 40], 0.0, true, Some(100.0), true).with_sizes([step(5.0), step(10.0)].into_iter()),
        ];
        let slice = [Slice { z: 0.0, weight: 1.0 }];
        for curve in &curves {
            for level in [1, 3, 5, 20, 24, 25, 60] {
                let burst = curve.burst(level);
                assert!(burst.len() == level as usize && burst.is_sorted(), "{level} of {curve:?}: {burst:?}");
                for limit in (1..200).map(|limit| (f64::from(limit) * 0.0431).ln()) {
                    let served = burst.partition_point(|time| *time <= limit) as f64 / f64::from(level);
                    let share = curve.share(&curve.served(&slice, limit, 0.0), level);
                    assert!((served - share).abs() < 1e-9, "{level} by {limit} of {curve:?}: {served} for {share}");
                }
            }
        }
    }
}
