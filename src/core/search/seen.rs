//! The probes of a ladder as the guided search keeps them, and what their bad luck asks of every level.

use super::belief::Standing;
use super::observation::Observation;
use super::pace::{Judged, Opening, Pace};
use super::stall::Stall;
use crate::attribution::Answered;
use crate::load::Load;
use crate::sla::{Sla, Verdict};
use crate::stats::share_bounds;

/// One probe.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub probe: Observation,
    /// Its stall among first tokens, if it had one.
    pub stall: Option<Stall>,
    /// Times of its first tokens as they would have been without the stall.
    opening: Vec<f64>,
    /// Seconds by which each request of the burst makes all its first tokens later (see [`crate::arrival`]).
    arrival: f64,
    /// Times of full steps (see [`Observation::full_steps`]) without that.
    arrived: Vec<f64>,
    /// How many these are.
    full: usize,
}

/// What is at least this part of another is like it.
const LIKE: f64 = 0.5;

impl Seen {
    /// Takes a probe of an engine that admits so many requests at once, where that is known.
    pub fn new(probe: Observation, admitted: Option<u32>) -> Self {
        let stall = Stall::of(&probe.opening, admitted);
        let opening = stall.map_or_else(|| probe.opening.clone(), |stall| stall.take_out(&probe.opening));
        let mut seen = Self { full: probe.full_steps(), probe, stall, opening, arrival: 0.0, arrived: Vec::new() };
        seen.take_arrivals_out(0.0);
        seen
    }

    /// Takes it that each request of the burst makes all first tokens later by so many seconds (see [`crate::arrival`]).
    pub fn take_arrivals_out(&mut self, each: f64) {
        self.arrival = each;
        self.arrived = self.full_steps().iter().map(|time| time + self.later(0)).collect();
    }

    /// Seconds by which each request of the burst makes all its first tokens later.
    pub fn arrival(&self) -> f64 {
        self.arrival
    }

    /// By how many seconds its first tokens would have come later, had it been a burst of this size.
    pub fn later(&self, size: u32) -> f64 {
        self.arrival * (f64::from(size) - f64::from(self.concurrency()))
    }

    /// Takes another probe into account: where one of two served as many requests much sooner, the other stalled; where both wait for
    /// their first token for as long for each of their requests, that is what it takes to take them in, and none stalled.
    pub fn compare(&mut self, other: &Self) {
        if self.stall.is_some_and(|stall| stall.after == 0) && other.waits_like(self) {
            self.stall = None;
            self.opening.clone_from(&self.probe.opening);
            self.take_arrivals_out(self.arrival);
            return;
        }
        let ranks = self.concurrency() as usize;
        let Some(quickest) = other.opening.get(ranks - 1).filter(|_| self.stall.is_none()) else { return };
        // The step in progress is carried out when the load has ended: that it took long shows as well that the engine stood still.
        let idle_s = self.probe.seconds.get();
        let left = (self.probe.load == Load::Burst && !self.probe.is_complete()).then_some(idle_s);
        self.stall = Stall::beside(&self.opening, idle_s, *quickest)
            .or_else(|| Stall::unlike(&self.opening, left, &other.opening[..ranks]));
        if let Some(stall) = self.stall {
            self.opening = stall.take_out(&self.opening);
            self.take_arrivals_out(self.arrival);
        }
    }

    /// Whether it is about as large as another at least, and each of its requests made about as much of the wait for the first token.
    fn waits_like(&self, other: &Self) -> bool {
        // One that was left without a first token waited for that long at least.
        let wait = |seen: &Self| seen.probe.opening.first().copied().unwrap_or(seen.probe.waited.get());
        let each = |seen: &Self| wait(seen) / f64::from(seen.concurrency());
        f64::from(self.concurrency()) >= LIKE * f64::from(other.concurrency()) && each(self) >= LIKE * each(other)
    }

    pub fn concurrency(&self) -> u32 {
        self.probe.concurrency.get()
    }

    /// Times of first tokens in seconds, ascending, without the stall.
    pub fn opening(&self) -> &[f64] {
        &self.opening
    }

    /// When its load ended, in seconds, without the stall, which may have gone on after that.
    pub fn left_after(&self) -> f64 {
        let last = self.opening.last().copied().unwrap_or_default();
        self.stall.map_or(self.probe.waited.get(), |stall| (self.probe.waited.get() - stall.seconds).max(last))
    }

    /// Those of full steps.
    pub fn full_steps(&self) -> &[f64] {
        &self.opening[..self.full]
    }

    /// What the pace compares of it; by no more than its first `ranks` first tokens where it had full steps.
    pub fn compared(&self, ranks: u32) -> Opening<'_> {
        match (self.arrived.as_slice(), self.opening.last()) {
            ([], Some(time)) => Opening::Whole { size: self.concurrency(), time: *time },
            (steps, _) => Opening::Steps(&steps[..steps.len().min(ranks as usize)]),
        }
    }

    /// How it stands, luck apart, with a view to what is judged; by no more than its first `ranks` first tokens.
    pub fn standing(&self, pace: &Pace, judged: Judged, ranks: u32) -> Standing {
        pace.standing(self.compared(ranks), self.concurrency(), judged)
    }

    /// Whether it was carried through to a verdict of its own on this SLA, and neither a stall nor failures made it.
    pub fn decides(&self, index: usize, sla: &Sla) -> bool {
        self.stall.is_none() && self.probe.under[index].verdict(sla.ok_rate) != Verdict::Undecided
    }
}

/// The share of the requests of a level that must be ok where the engine fails none of them and no probe stalls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Needed {
    /// With as many failures and stalls as there may be. Above 1 where they leave no level a chance.
    pub strict: f64,
    /// With as many as were seen.
    pub likely: f64,
    /// With as few as there may be.
    pub lax: f64,
    /// Whether failures and stalls are all but surely too many for any level.
    pub hopeless: bool,
}

/// Bounds on failures and stalls are each missed with this probability; that all of them, and the pace, are off at once
/// is much rarer.
const MISS: f64 = 0.1;
/// That they leave no level a chance is looked at after every probe, and ends the search: it is wrong with this probability.
const MISS_HOPELESS: f64 = 0.01;
/// Machines seldom stall: what is seen of it is added to this many probes that did not.
const CALM_PROBES: f64 = 9.0;
/// Engines seldom fail requests: to tell how many they fail at least, this many that were not failed are added to what is seen of it.
const CALM_REQUESTS: f64 = 20.0;
/// What is set aside for bad luck that no probe has met yet, as a multiple of the square of what an SLA allows to fail: one
/// that lets a tenth fail is decided by what comes seldom, one that lets a hundredth fail by the slowest requests of all. It is not
/// more than this: the less an SLA asks for, the less seldom is what decides it.
const RESERVE: f64 = 4.0;
const MOST_RESERVED: f64 = 0.04;

impl Needed {
    /// What this SLA asks for after these probes.
    pub fn of(seen: &[Seen], sla: &Sla) -> Self {
        let losses = |miss: f64| (errors(seen, miss), stalls(seen, sla, miss));
        let ((errors, stalls), (sure_errors, sure_stalls)) = (losses(MISS), losses(MISS_HOPELESS));
        let rate = sla.ok_rate.get() - ROUNDING;
        let over = |error: f64, stall: f64| rate / ((1.0 - error) * (1.0 - stall)).max(ROUNDING);
        Self {
            strict: over(errors.most, stalls.most),
            likely: over(errors.likely, stalls.likely),
            lax: over(errors.least, stalls.least),
            hopeless: over(sure_errors.least, sure_stalls.least) > 1.0,
        }
    }

    /// Whether failures and stalls may be too many for any level.
    pub fn is_in_doubt(&self) -> bool {
        self.strict > 1.0
    }

    /// The same with a part of what may fail set aside for what no probe has met yet.
    pub fn with_reserve(self) -> Self {
        let reserve = RESERVE * (1.0 - self.strict).max(0.0).powi(2);
        Self { strict: self.strict + reserve.min(MOST_RESERVED), ..self }
    }
}

/// Shares are sums of parts: one that is short by this much is not short.
const ROUNDING: f64 = 1e-9;

#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    least: f64,
    likely: f64,
    most: f64,
}

/// The share of requests that the engine fails, whatever the load.
fn errors(seen: &[Seen], miss: f64) -> Loss {
    let all: Answered = seen.iter().map(|seen| seen.probe.answered).sum();
    if all.errors == 0 {
        return Loss::default();
    }
    let (failed, answered) = (f64::from(all.errors), f64::from(all.requests));
    let (least, _) = share_bounds(failed, answered + CALM_REQUESTS, miss);
    let (_, most) = share_bounds(failed, answered, miss);
    Loss { least, likely: failed / (answered + CALM_REQUESTS), most }
}

/// The share of requests that the engine is likely to fail, whatever the load.
pub(super) fn likely_errors(seen: &[Seen]) -> f64 {
    errors(seen, MISS).likely
}

/// The share of requests that stalls cost: the share of probes that stall, times what the stalls that were seen cost.
fn stalls(seen: &[Seen], sla: &Sla, miss: f64) -> Loss {
    let costs: Vec<f64> = seen.iter().filter_map(|seen| seen.stall).map(|stall| stall.costs(sla.ttft.get())).collect();
    if costs.is_empty() {
        return Loss::default();
    }
    let count = costs.len() as f64;
    let trials = seen.len() as f64 + CALM_PROBES;
    let (least, most) = share_bounds(count, trials, miss);
    let cost = costs.iter().sum::<f64>() / count;
    Loss { least: least * cost, likely: count / trials * cost, most: most * cost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::UnderSla;
    use crate::sla::Tally;
    use crate::testing;
    use crate::units::{Concurrency, Seconds};

    fn sla(ok_rate: f64) -> Sla {
        testing::sla(ok_rate, 3.0)
    }

    /// A burst of 20 requests a tenth of a second apart, of which the engine fails some; the last ten come later by so
    /// many seconds.
    fn seen(errors: u32, stall: f64) -> Seen {
        let opening: Vec<f64> =
            (1..=20u32).map(|rank| f64::from(rank) * 0.1 + if rank > 10 { stall } else { 0.0 }).collect();
        let used = vec![-1.0; (20 - errors) as usize];
        let under = UnderSla { tally: Tally::default(), used, sure: None, halves: None, errors, unknown: 0 };
        let probe = Observation {
            load: Load::Burst,
            concurrency: Concurrency::new(20).unwrap(),
            first_tokens_only: false,
            seconds: Seconds::ZERO,
            waited: Seconds::ZERO,
            held_up: Vec::new(),
            opening,
            streamed: None,
            answered: Answered { requests: 20, errors },
            under: vec![under],
        };
        Seen::new(probe, None)
    }

    #[test]
    fn without_bad_luck_nothing_more_is_needed_than_the_rate() {
        let needed = Needed::of(&[seen(0, 0.0), seen(0, 0.0)], &sla(0.9));
        for needed in [needed.strict, needed.likely, needed.lax] {
            assert!((needed - 0.9).abs() < 1e-6, "{needed}");
        }
        assert!((needed.with_reserve().strict - 0.94).abs() < 1e-6);
    }

    #[test]
    fn failures_are_made_up_for_and_may_leave_no_level_a_chance() {
        let seen: Vec<Seen> = (0..50).map(|probe| seen(u32::from(probe % 5 == 0), 0.0)).collect();
        // 10 of 1,000 fail, and none of 20 that are taken to have been calm: between 0.6% and 1.5%, each missed with one in ten.
        let needed = Needed::of(&seen, &sla(0.95));
        assert!((needed.likely - 0.95 / (1.0 - 10.0 / 1020.0)).abs() < 1e-6, "{needed:?}");
        assert!(needed.lax < needed.likely && needed.likely < needed.strict && needed.strict < 0.966, "{needed:?}");
        assert!(Needed::of(&seen, &sla(0.999)).lax > 1.0);
        let hopeless = |rate| Needed::of(&seen, &sla(rate)).hopeless;
        assert_eq!((hopeless(0.95), hopeless(0.999)), (false, true));
        // Two of the first forty might be luck under a rate of 0.98, though most likely they are not.
        let few = [seen[0].clone(), seen[0].clone()];
        let few = Needed::of(&few, &sla(0.98));
        assert!(few.likely > 1.0 && few.lax < 1.0 && !few.hopeless, "{few:?}");
    }

    #[test]
    fn one_request_that_is_failed_is_no_engine_that_fails_all() {
        let first = |errors: u32| {
            let mut seen = seen(0, 0.0);
            seen.probe.answered = Answered { requests: 1, errors };
            seen
        };
        let hopeless = |probes: usize| Needed::of(&vec![first(1); probes], &sla(0.9)).hopeless;
        assert_eq!((hopeless(1), hopeless(3), hopeless(20)), (false, false, true));
    }

    #[test]
    fn a_large_burst_that_is_taken_in_for_long_has_not_stalled() {
        // After 1.5 ms for each request, a step of 10 ms for each; or all at once from the beginning.
        let burst = |requests: u32, wait: f64| {
            let mut seen = seen(0, 0.0);
            seen.probe.concurrency = Concurrency::new(requests).unwrap();
            seen.probe.opening = (1..=requests).map(|rank| wait + f64::from(rank) * 0.01).collect();
            Seen::new(seen.probe, None)
        };
        let stalls = |wait: f64, other: Seen| {
            let mut seen = burst(500, wait);
            assert!(seen.stall.is_some());
            seen.compare(&other);
            seen.stall.is_some()
        };
        assert!(!stalls(0.75, burst(500, 0.75)) && !stalls(0.75, burst(300, 0.45)));
        assert!(stalls(0.75, burst(500, 0.0)) && stalls(0.75, burst(500, 0.1)) && stalls(0.75, burst(6, 0.009)));
    }

    #[test]
    fn a_stall_that_outlasts_the_load_is_seen_and_no_wait() {
        let seconds = |value: f64| Seconds::new(value).unwrap();
        let mut left = seen(0, 0.0).probe;
        left.opening.truncate(10);
        (left.seconds, left.waited) = (seconds(9.0), seconds(1.2));
        let mut left = Seen::new(left, None);
        assert!((left.left_after() - 1.2).abs() < 1e-9);
        left.compare(&seen(0, 0.0));
        assert_eq!(left.stall.map(|stall| stall.after), Some(10));
        assert!((left.left_after() - 1.0).abs() < 1e-9, "{}", left.left_after());
    }

    #[test]
    fn a_stall_is_made_up_for_by_what_it_costs() {
        let seen: Vec<Seen> = (0..11).map(|probe| seen(0, if probe == 3 { 6.0 } else { 0.0 })).collect();
        assert_eq!(seen.iter().filter(|seen| seen.stall.is_some()).count(), 1);
        // One of 11 probes, and of 9 that are taken to have been calm, lost half of its requests.
        let needed = Needed::of(&seen, &sla(0.9));
        assert!((needed.likely - 0.9 / (1.0 - 0.025)).abs() < 1e-3, "{needed:?}");
        assert!(needed.strict > needed.likely && needed.lax < needed.likely, "{needed:?}");
    }
}
