//! What the probes of one level say of one SLA, given the pace of the machine.
//!
//! A probe had its own luck: it was slower than the machine is in the middle by a factor that the pace knows. With
//! that taken out, its requests show how the engine serves this level; with the machine's whole spread put back in, the
//! share that would keep its limits, averaged over the spread, is the long-run share R(N). What is still unsure is where
//! the middle is and how wide the spread: a belief in each, and R(N) follows.

use std::cell::OnceCell;

use super::belief::{Belief, Posterior, Standing, Sway, View};
use super::observation::{Half, UnderSla};
use super::pace::{Judged, Pace};
use super::seen::{Needed, Seen};
use crate::stats::{Slice, normal_slices};

/// The probes of one level under one SLA.
pub(super) struct Level<'a> {
    pub concurrency: u32,
    judged: Judged,
    sway: Sway,
    /// What the SLA asks of it.
    needed: Needed,
    probes: Vec<&'a UnderSla>,
    /// How each of them stands.
    standings: Vec<&'a Standing>,
    /// See [`Level::likely`].
    likely: OnceCell<f64>,
}

/// What is shared by all levels of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub pace: Option<Pace>,
    /// Whether probes of a level differ for another reason than its pace (see [`Sway::churn`]).
    churns: bool,
    /// Of each probe, how it stands where its first tokens are judged, and where what came later is.
    standings: Vec<[Standing; 2]>,
    slices: Vec<Slice>,
}

impl Machine {
    pub fn new(pace: Option<Pace>, churns: bool, seen: &[Seen]) -> Self {
        let standing = |seen: &Seen, judged: Judged| match &pace {
            Some(pace) => seen.standing(pace, judged, u32::MAX),
            None => Standing { slower: 0.0, views: vec![View::default()] },
        };
        let both = |seen: &Seen| [Judged::FirstTokens, Judged::Later].map(|judged| standing(seen, judged));
        Self { standings: seen.iter().map(both).collect(), pace, churns, slices: normal_slices(&TAILS) }
    }

    /// Whether it shows no spread at all.
    pub fn is_steady(&self) -> bool {
        !self.churns && self.has_steady_pace()
    }

    /// Whether its pace shows none.
    pub fn has_steady_pace(&self) -> bool {
        self.pace.as_ref().map_or(self.is_mute(), Pace::is_steady)
    }

    /// The ways the machine may be; none where too few probes were made to tell.
    pub fn beliefs(&self) -> &[Belief] {
        match &self.pace {
            Some(pace) if pace.probes() >= 2 => pace.beliefs(),
            None if self.is_mute() => &[CERTAIN],
            _ => &[],
        }
    }

    /// About how much the time of this rank differs from probe to probe, as a logarithm.
    pub fn spread(&self, rank: u32) -> f64 {
        self.beliefs().iter().map(|belief| belief.weight * belief.spread(rank)).sum()
    }

    /// The same of what is judged of a level.
    pub fn spread_of(&self, level: u32, sway: Sway) -> f64 {
        self.beliefs().iter().map(|belief| belief.weight * belief.spread_of(level, sway)).sum()
    }

    /// How a probe stands, by its place among all.
    pub fn standing(&self, probe: usize, judged: Judged) -> &Standing {
        let [first_tokens, later] = &self.standings[probe];
        if judged == Judged::FirstTokens { first_tokens } else { later }
    }

    /// Whether nothing came in time in any of a few probes: what they show is taken as it is.
    fn is_mute(&self) -> bool {
        self.pace.is_none() && self.standings.len() >= 2
    }

    /// Probes that stand for all those of a machine of this spread, the slowest first: each is slower than the middle by
    /// `z` times the spread. Their weights add up to 1.
    pub fn slices(&self, spread: f64) -> &[Slice] {
        if spread == 0.0 { &[Slice { z: 0.0, weight: 1.0 }] } else { &self.slices }
    }

    /// What is believed of the margin at a level of this size, of which there are probes that stand so.
    ///
    /// `margin` gives it for a spread; it is asked for a few and read off for those in between.
    pub fn posterior(
        &self,
        concurrency: u32,
        sway: Sway,
        standings: &[&Standing],
        margin: impl Fn(f64) -> f64,
    ) -> Posterior {
        let beliefs = self.beliefs();
        let spreads = || beliefs.iter().map(|belief| belief.spread_of(concurrency, sway));
        let (least, most) = spreads().fold((f64::INFINITY, 0.0_f64), |(a, b), spread| (a.min(spread), b.max(spread)));
        let nodes = [least, (least * most).sqrt(), most];
        let values = nodes.map(&margin);
        let mut posterior = Posterior::default();
        let count = standings.len() as f64;
        for belief in beliefs {
            let views = || standings.iter().filter_map(|standing| standing.views.get(belief.view));
            let offset: f64 = views().map(|view| view.offset).sum::<f64>() / count;
            let shared = views().map(|view| view.shared).fold(0.0, f64::max);
            let noise = sway.steps.map_or(0.0, |steps| belief.noise_of(steps));
            let own: f64 = views().map(|view| view.own + sway.opening * view.noise + noise).sum();
            let own = own / (count * count);
            let pace = (belief.scale * (shared + own)).sqrt();
            let error = (sway.stretch * pace).hypot(sway.churn / count.sqrt());
            let mean = between(nodes, values, belief.spread_of(concurrency, sway)) + sway.stretch * offset;
            posterior.add(belief.weight, mean, error);
        }
        posterior
    }
}

/// The belief in a machine of no spread.
const CERTAIN: Belief = Belief { weight: 1.0, view: 0, scale: 0.0, drift_part: 1.0, first_step: 1.0 };

/// The value at `x` on the lines through three points.
fn between(xs: [f64; 3], ys: [f64; 3], x: f64) -> f64 {
    let from = usize::from(x > xs[1]);
    let width = xs[from + 1] - xs[from];
    if width <= 0.0 { ys[from] } else { ys[from] + (ys[from + 1] - ys[from]) * (x - xs[from]) / width }
}

/// What is taken to become of a request of which not all is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is ok where nothing can be said of it, and as little late as it may be where it was left late.
    Ok,
    /// It fails where nothing can be said of it, and is as little late as it may be.
    Late,
    /// It fails, however quick the machine.
    Failed,
}

impl<'a> Level<'a> {
    pub fn new(concurrency: u32, judged: Judged, sway: Sway, needed: Needed) -> Self {
        let (probes, standings, likely) = (Vec::new(), Vec::new(), OnceCell::new());
        Self { concurrency, judged, sway, needed, probes, standings, likely }
    }

    pub fn add(&mut self, under: &'a UnderSla, standing: &'a Standing) {
        self.probes.push(under);
        self.standings.push(standing);
    }

    /// How one of its probes stands.
    pub fn standing(&self) -> Option<&'a Standing> {
        self.standings.first().copied()
    }

    /// The share of ok requests in the long run if everything took `exp(slower)` times as long, on a machine of this
    /// spread. Engine failures are left out.
    fn share(&self, machine: &Machine, slower: f64, spread: f64, unknown: Unknown) -> f64 {
        share(self.told(unknown), machine, slower, self.sway.spread(spread))
    }

    /// By which factor, as a logarithm, everything could become slower before fewer than `needed` are ok; negative where
    /// fewer are.
    pub fn margin(&self, machine: &Machine, needed: f64, spread: f64, unknown: Unknown) -> f64 {
        let alone = || self.told(unknown).map(|told| told.margin(needed));
        let (least, most) = (alone().fold(f64::INFINITY, f64::min), alone().fold(f64::NEG_INFINITY, f64::max));
        let whole = self.sway.spread(spread);
        margin(machine.slices(whole), whole, (least, most), |slower| {
            self.share(machine, slower, spread, unknown) >= needed
        })
    }

    /// Its margin where the machine is about as spread as it is, for as many requests as are likely to be needed.
    pub fn likely(&self, machine: &Machine) -> f64 {
        let spread = || machine.spread_of(self.concurrency, self.sway);
        *self.likely.get_or_init(|| self.margin(machine, self.needed.likely, spread(), Unknown::Late))
    }

    fn told(&self, unknown: Unknown) -> impl Iterator<Item = Told<'_>> {
        self.probes.iter().zip(&self.standings).map(move |(under, standing)| {
            let (used, left) = match (self.judged, &under.sure) {
                (Judged::FirstTokens, _) => (under.half(Half::First), 0),
                (Judged::Later, Some(sure)) if unknown == Unknown::Failed => {
                    (sure.as_slice(), under.total() - sure.len() as u32)
                }
                (Judged::Later, _) => (under.used.as_slice(), under.unknown),
            };
            let maybe = if unknown == Unknown::Ok { left } else { 0 };
            Told { used, left, maybe, slower: self.sway.stretch * standing.slower }
        })
    }

    /// What is believed of that factor.
    pub fn posterior(&self, machine: &Machine, needed: f64, unknown: Unknown) -> Posterior {
        let margin = |spread| self.margin(machine, needed, spread, unknown);
        machine.posterior(self.concurrency, self.sway, &self.standings, margin)
    }

    /// How sure it is that at least `strict` are ok in the long run, and that fewer than `lax` are.
    pub fn belief(&self, machine: &Machine, strict: f64, lax: f64) -> (f64, f64) {
        // Most levels are far from the ceiling, and need no closer look. A spread lowers a large share, and raises a small one.
        let (off, spread) = self.farthest(machine);
        let either = [0.0, spread];
        if either.iter().all(|spread| self.share(machine, off, *spread, Unknown::Failed) >= strict) {
            return (1.0, 0.0);
        }
        let fails = |spread: &f64| self.share(machine, -off, *spread, Unknown::Ok) < lax;
        if self.judged == Judged::FirstTokens && either.iter().all(fails) {
            return (0.0, 1.0);
        }
        let passes = self.posterior(machine, strict, Unknown::Failed).at_least(0.0);
        (passes, 1.0 - self.posterior(machine, lax, Unknown::Ok).at_least(0.0))
    }

    /// How far, as a logarithm, the middle of the machine may be off at the very most, and its greatest spread.
    fn farthest(&self, machine: &Machine) -> (f64, f64) {
        let views = |belief: &Belief| {
            let views = self.standings.iter().filter_map(|standing| standing.views.get(belief.view).copied());
            let noise = self.sway.steps.map_or(0.0, |steps| belief.noise_of(steps));
            let off = |view: View| {
                let variance = view.shared + view.own + view.noise + noise;
                let pace = view.offset.abs() + FAR * (belief.scale * variance).sqrt();
                self.sway.stretch * pace + FAR * self.sway.churn
            };
            views.map(off).fold(0.0, f64::max)
        };
        let beliefs = || machine.beliefs().iter();
        let spread = beliefs().map(|belief| belief.spread_of(self.concurrency, self.sway)).fold(0.0, f64::max);
        (beliefs().map(views).fold(0.0, f64::max), spread)
    }
}

/// What the requests of one probe tell.
#[derive(Clone, Copy)]
struct Told<'a> {
    /// What each used up, ascending.
    used: &'a [f64],
    /// Requests of which nothing can be said, and how many of them are taken to be ok.
    left: u32,
    maybe: u32,
    /// How much slower than the middle the machine was.
    slower: f64,
}

/// As [`Level::margin`], of a probe of which this is what each request used up, ascending, and how many others are taken not to be ok,
/// and that was no slower than the middle.
pub(super) fn margin_of(used: &[f64], left: u32, machine: &Machine, needed: f64, spread: f64) -> f64 {
    let told = Told { used, left, maybe: 0, slower: 0.0 };
    let (alone, slices) = (told.margin(needed), machine.slices(spread));
    margin(slices, spread, (alone, alone), |slower| told.share(slices, slower, spread) >= needed)
}

/// As [`Level::margin`], of one probe on a machine without spread.
pub(super) fn alone(under: &UnderSla, needed: f64) -> f64 {
    Told { used: &under.used, left: under.unknown, maybe: 0, slower: 0.0 }.margin(needed)
}

/// The share of ok requests over the probes that a machine of this spread may make, if everything took `exp(slower)` times
/// as long.
fn share<'a>(told: impl Iterator<Item = Told<'a>>, machine: &Machine, slower: f64, spread: f64) -> f64 {
    let (slices, mut ok, mut probes) = (machine.slices(spread), 0.0, 0.0);
    for told in told {
        ok += told.share(slices, slower, spread);
        probes += 1.0;
    }
    ok / probes
}

impl Told<'_> {
    fn requests(&self) -> f64 {
        f64::from(self.left) + self.used.len() as f64
    }

    /// As [`Level::share`], of this probe alone.
    fn share(&self, slices: &[Slice], slower: f64, spread: f64) -> f64 {
        let (requests, mut ok, mut left) = (self.requests(), 0.0, 1.0);
        for slice in slices {
            let limit = self.slower - slower - slice.z * spread;
            let kept = self.used.partition_point(|used| *used <= limit);
            if kept == self.used.len() && self.left == self.maybe {
                // So they are in the others, which are quicker.
                return ok + left;
            }
            ok += slice.weight * (kept + self.maybe as usize) as f64 / requests;
            left -= slice.weight;
        }
        ok
    }

    /// As [`Level::margin`], of this probe alone on a machine without spread.
    fn margin(&self, needed: f64) -> f64 {
        let wanted = (needed * self.requests()).ceil() - f64::from(self.maybe);
        match wanted {
            ..=0.0 => f64::INFINITY,
            _ => self.used.get(wanted as usize - 1).map_or(f64::NEG_INFINITY, |used| self.slower - used),
        }
    }
}

/// The greatest logarithm up to [`MARGIN`] by which everything can be slower while `holds`, on a machine of this spread; the
/// least by which everything must become faster, as a negative number, where it does not hold as it stands.
///
/// `alone` are the least and the greatest that it would be for one probe without spread: what holds for each slice alone holds
/// for all together.
fn margin(slices: &[Slice], spread: f64, alone: (f64, f64), holds: impl Fn(f64) -> bool) -> f64 {
    let off = |slice: Option<&Slice>| slice.map_or(0.0, |slice| slice.z * spread);
    let mut low = (alone.0 - off(slices.first())).clamp(-MARGIN, MARGIN);
    let mut high = (alone.1 - off(slices.last())).clamp(-MARGIN, MARGIN);
    let precision = MARGIN_PRECISION.max(spread * SPREAD_PRECISION);
    while high - low > precision {
        let middle = (low + high) / 2.0;
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

/// The shares of probes that are slower than those between which one is taken to stand for all. The slow ones are told apart
/// the better the rarer they are: where one step serves a whole burst, all of its requests are late in one probe of a hundred,
/// or of fifty.
const TAILS: [f64; 26] = [
    0.0, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25,
    0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
];
/// Standard errors beyond which nothing is looked for: a normal variable is farther out, to one side, three times in ten million.
const FAR: f64 = 5.0;
/// Margins beyond this are all alike.
pub(super) const MARGIN: f64 = 2.0;
/// Margins nearer than this are alike as well, and those nearer than this part of the spread: slices are farther apart.
const MARGIN_PRECISION: f64 = 1e-4;
const SPREAD_PRECISION: f64 = 1.0 / 64.0;

#[cfg(test)]
mod tests {
    use super::super::pace::Opening;
    use super::*;
    use crate::sla::Tally;

    #[test]
    fn a_slow_probe_does_not_excuse_those_whose_end_was_not_seen() {
        // One of two was left a hair late, by a machine that was slower than it is in the middle.
        let under = |sure| UnderSla {
            tally: Tally::default(),
            used: vec![-0.3, 1e-6],
            sure,
            halves: None,
            errors: 0,
            unknown: 0,
        };
        let (machine, standing) = (Machine::new(None, false, &[]), Standing { slower: 0.2, views: Vec::new() });
        let needed = Needed { strict: 1.0, likely: 1.0, lax: 1.0, hopeless: false };
        let margin = |sure, unknown| {
            let under = under(sure);
            let mut level = Level::new(2, Judged::Later, Sway::PACE, needed);
            level.add(&under, &standing);
            level.margin(&machine, 1.0, 0.0, unknown)
        };
        assert!(margin(None, Unknown::Failed) > 0.1, "known to have ended a hair late");
        let left = || Some(vec![-0.3]);
        assert!(margin(left(), Unknown::Ok) > 0.1 && margin(left(), Unknown::Late) > 0.1);
        assert!(margin(left(), Unknown::Failed) <= -MARGIN);
    }

    #[test]
    fn levels_that_need_no_closer_look_have_none_that_would_say_otherwise() {
        // A machine that hardly drifts, whose openings are long and whose later tokens come in few steps: it is these that differ.
        let opening =
            |late: f64| (1..=200).map(|rank| f64::from(rank) * 0.01 * (1.0 + late / f64::from(rank))).collect();
        let openings: Vec<Vec<f64>> = [0.05, -0.04, 0.02, -0.06, 0.03].map(opening).to_vec();
        let openings: Vec<Opening> = openings.iter().map(|times| Opening::Steps(times)).collect();
        let pace = Pace::of(&openings, Some(1.0)).unwrap();
        let standing = pace.standing(openings[0], 200, Judged::Later);
        let machine = Machine::new(Some(pace), false, &[]);
        let (rate, mut looked_closer) = (0.95, 0);
        for used in (1..100).map(|part| -1e-3 * f64::from(part)) {
            let under = UnderSla {
                tally: Tally::default(),
                used: vec![used; 200],
                sure: None,
                halves: None,
                errors: 0,
                unknown: 0,
            };
            for steps in [None, Some(1.0), Some(8.0), Some(200.0)] {
                let needed = Needed { strict: rate, likely: rate, lax: rate, hopeless: false };
                let mut level = Level::new(200, Judged::Later, Sway { steps, ..Sway::PACE }, needed);
                level.add(&under, &standing);
                let (passes, _) = level.belief(&machine, rate, rate);
                let closer = level.posterior(&machine, rate, Unknown::Failed).at_least(0.0);
                assert!((passes - closer).abs() < 1e-4, "{steps:?} steps, {used}: {passes} and {closer}");
                looked_closer += usize::from(passes < 1.0);
            }
        }
        assert!(looked_closer > 0);
    }
}
