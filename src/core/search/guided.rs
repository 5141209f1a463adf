//! The guided search: the pace of the machine and the shape of the latency curve choose each level and judge it.
//!
//! ```text
//! 1. ramp     bursts of growing size, measured to their first tokens, until the ceiling can be foretold from them
//! 2. bounds   for each SLA, cheapest first: foretell the ceiling, probe a level below it and one above it that are far
//!             enough apart to be sure of both
//! 3. pace     where that would be too far apart: small bursts, which tell the machine's pace at little cost
//! ```
//!
//! Every verdict is drawn anew from all probes after each of them, so a bound that no longer stands is withdrawn.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::level::{LESS_FAR, Level, Machine};
use super::pace::{Judged, Pace, Standing};
use super::{Answer, Observation, Search, Status, Step};
use crate::experiment::{SearchSettings, Workload};
use crate::load::{Load, LoadPlan};
use crate::protocol::Resolved;
use crate::sla::{Sla, Verdict};
use crate::stats::share_bounds;
use crate::units::Concurrency;
use crate::watch::Until;

/// Most probes of one ladder, however much engine time is left, for each SLA and beside them.
const PROBES_PER_SLA: usize = 12;
const PROBES_BESIDE: usize = 30;
/// Factor between two levels of the ramp.
const RAMP: f64 = 6.0;
/// Full steps of a burst from which the curve can be foretold, and how far.
const STEPS_TO_FORETELL: usize = 4;
const FORETOLD: f64 = 12.0;
/// A pace probe is this much smaller than the ceiling that it serves.
const PACE_PART: f64 = 8.0;
/// Least requests of a pace probe.
const PACE_LEAST: u32 = 10;
/// Most probes that the pace is worth.
const PACE_PROBES: usize = 16;
/// Engine time that they may take, as a multiple of that of one probe at each bound.
const PACE_SPEND: f64 = 0.35;
/// Engine time that a ladder may take before a bracket is published at the width that the spread allows, as a multiple
/// of the time of one probe at each bound.
const WORTHWHILE: f64 = 1.9;
/// How much farther out than it must be a bound is probed, as a part of the least width of the bracket: the probe itself
/// moves the estimate.
const SLACK: f64 = 0.12;
/// A bracket so much wider than the spread makes it is not worth more probes; nor, once the ladder has cost what is worth
/// while, is one of this part of the ceiling.
const ENOUGH: f64 = 1.4;
const NARROW: f64 = 0.1;
/// How much farther out the next try for a bound is made at least, for each one before it, as a part of what the pace may
/// be off.
const RETRY: f64 = 0.3;
/// Part of the way to a better bound that a probe must go to be worth it.
const GAIN: f64 = 0.4;
/// Part of the bracket that a probe must take off it to be worth it.
const NARROWING: f64 = 0.2;
/// Levels farther apart than by this factor do not tell what is between them.
const BLIND: f64 = 1.6;
/// How far, as a logarithm, a level may be moved to where the engine changes.
const BEND_NEAR: f64 = 0.5;
/// Widest bracket, as a part of the ceiling, that is still an answer.
const WIDEST: f64 = 0.5;

/// Looks for the ceilings of one ladder.
#[derive(Debug)]
pub struct Guided {
    settings: SearchSettings,
    slas: Vec<Sla>,
    load: Load,
    hold_s: f64,
    prompts_per_step: Option<f64>,
    /// Requests that the engine runs at most, by its sequences and by its KV cache.
    bends: Vec<u32>,
    /// The longest that a first token is waited for.
    patience_s: f64,
    seen: Vec<Observation>,
    spent: f64,
    brackets: Vec<Bracket>,
    step: Step,
}

/// What is known of one SLA.
#[derive(Clone, Copy, Debug, Default)]
struct Bracket {
    pass: Option<u32>,
    fail: Option<u32>,
    /// The bracket is as narrow as it will get.
    settled: bool,
}

/// Where to look for the ceiling of one SLA.
#[derive(Clone, Copy, Debug)]
struct Forecast {
    ceiling: u32,
    /// The ceiling if the machine is slower, or faster, than estimated by as much as is likely.
    low: u32,
    high: u32,
    /// Between how far apart levels it was foretold; 1 where the curve was seen all the way.
    blind: f64,
}

impl Guided {
    /// A search that has seen nothing yet.
    pub fn new(settings: SearchSettings, slas: &[Sla], workload: &Workload, engine: &Resolved) -> Self {
        let plan = LoadPlan::new(workload, slas, settings.start_concurrency, &Until::FirstTokens);
        let prompts = |budget| f64::from(budget) / f64::from(workload.input_tokens.max(1));
        let mut guided = Self {
            settings,
            slas: slas.to_vec(),
            load: workload.load,
            hold_s: workload.hold.laid_down().get(),
            prompts_per_step: engine.max_num_batched_tokens.map(prompts),
            bends: bends(workload, engine),
            patience_s: plan.patience.get(),
            seen: Vec::new(),
            spent: 0.0,
            brackets: vec![Bracket::default(); slas.len()],
            step: Step::Done,
        };
        guided.step = guided.choose();
        guided
    }

    fn cap(&self) -> u32 {
        self.settings.max_concurrency.get()
    }

    /// The probability with which each bound of a bracket may be wrong.
    fn miss(&self) -> f64 {
        (1.0 - self.settings.confidence.get()) / 2.0
    }

    fn machine(&self) -> Machine {
        let openings: Vec<&[f64]> = self.seen.iter().map(Observation::full_steps).collect();
        Machine::new(Pace::of(&openings), self.errors())
    }

    /// Bounds on the share of requests that the engine fails, whatever the load.
    fn errors(&self) -> (f64, f64) {
        let count = |of: fn(&Observation) -> f64| self.seen.iter().map(of).sum::<f64>();
        let errors = count(|seen| seen.under.first().map_or(0.0, |under| f64::from(under.errors)));
        let requests = count(|seen| {
            seen.under.first().map_or(0.0, |under| f64::from(under.errors) + f64::from(under.total() - under.unknown))
        });
        if errors == 0.0 { (0.0, 0.0) } else { share_bounds(errors, requests, self.miss()) }
    }

    /// How an observation's probe stands, luck apart, with a view to an SLA.
    fn standing(&self, machine: &Machine, seen: &Observation, judged: Judged) -> Standing {
        let unknown = Standing { slower: 0.0, shared_variance: 0.0, own_variance: f64::INFINITY };
        let standing = |pace: &Pace| pace.standing(seen.full_steps(), seen.concurrency.get(), judged);
        machine.pace.as_ref().map_or(unknown, standing)
    }

    /// What of a probe an SLA judges.
    fn judged(&self, sla: usize) -> Judged {
        let limits = &self.slas[sla];
        let first_token_alone = limits.tpot_limit().is_none() && limits.e2e.is_none();
        if self.load == Load::Burst && first_token_alone { Judged::FirstTokens } else { Judged::Later }
    }

    /// The levels that say something of an SLA.
    fn levels<'a>(&'a self, machine: &Machine, sla: usize) -> BTreeMap<u32, Level<'a>> {
        let mut levels = BTreeMap::new();
        for seen in self.seen.iter().filter(|seen| seen.load == self.load) {
            let under = &seen.under[sla];
            if under.total() > 0 && under.unknown < under.total() {
                let level = seen.concurrency.get();
                let standing = self.standing(machine, seen, self.judged(sla));
                levels.entry(level).or_insert_with(|| Level::new(level)).add(under, standing);
            }
        }
        levels
    }

    /// Whether a probe at this level was carried through to a verdict of its own.
    fn is_witnessed(&self, sla: usize, level: u32) -> bool {
        self.at(level).any(|seen| self.decides(sla, seen))
    }

    fn at(&self, level: u32) -> impl Iterator<Item = &Observation> {
        self.seen.iter().filter(move |seen| seen.concurrency.get() == level && seen.load == self.load)
    }

    /// What all probes together say of a level.
    fn verdict(&self, machine: &Machine, sla: usize, level: &Level) -> Verdict {
        let needed = self.slas[sla].ok_rate.get() - 1e-9;
        if machine.pace.as_ref().is_none_or(|pace| pace.probes() < 2) || !self.is_witnessed(sla, level.concurrency) {
            return Verdict::Undecided;
        }
        match level.share_bounds(machine, self.miss()) {
            Some((least, _)) if least * (1.0 - machine.errors.1) >= needed => Verdict::Pass,
            Some((_, most)) if most * (1.0 - machine.errors.0) < needed => Verdict::Fail,
            _ => Verdict::Undecided,
        }
    }

    /// Draws every bracket anew.
    fn judge(&mut self, machine: &Machine) {
        for sla in 0..self.slas.len() {
            let mut bracket = Bracket::default();
            for (concurrency, level) in self.levels(machine, sla) {
                match self.verdict(machine, sla, &level) {
                    Verdict::Pass => bracket.pass = Some(concurrency),
                    Verdict::Fail => {
                        // Above the first level that fails, nothing counts.
                        bracket.fail = Some(concurrency);
                        break;
                    }
                    Verdict::Undecided => {}
                }
            }
            self.brackets[sla] = bracket;
        }
        self.share_evidence();
    }

    /// What passes a stricter SLA passes a laxer one; what fails a laxer one fails a stricter one.
    fn share_evidence(&mut self) {
        let own = self.brackets.clone();
        for (mine, bracket) in self.brackets.iter_mut().enumerate() {
            for (other, evidence) in own.iter().enumerate() {
                if self.slas[other].implies(&self.slas[mine]) {
                    let inside = evidence.pass.filter(|pass| bracket.fail.is_none_or(|fail| *pass < fail));
                    bracket.pass = bracket.pass.max(inside);
                }
                if self.slas[mine].implies(&self.slas[other]) {
                    let inside = evidence.fail.filter(|fail| bracket.pass.is_none_or(|pass| *fail > pass));
                    bracket.fail = bracket.fail.into_iter().chain(inside).min();
                }
            }
        }
    }

    fn choose(&mut self) -> Step {
        let machine = self.machine();
        self.judge(&machine);
        let most = PROBES_BESIDE + PROBES_PER_SLA * self.slas.len();
        if self.spent >= self.settings.budget.get() || self.seen.len() >= most {
            return Step::Done;
        }
        if self.seen.is_empty() {
            return first_tokens(self.settings.start_concurrency.get());
        }
        let mut open: Vec<(usize, Forecast)> = Vec::new();
        for sla in 0..self.slas.len() {
            let levels = self.levels(&machine, sla);
            open.push((sla, self.forecast(&machine, sla, &levels)));
        }
        open.sort_by_key(|(_, forecast)| forecast.ceiling);
        for (sla, forecast) in &open {
            match self.next_for(&machine, *sla, forecast) {
                Next::Pace(level) => return first_tokens(level),
                Next::Level(level) => return self.probe(*sla, level, &open),
                Next::Settled => self.brackets[*sla].settled = true,
            }
        }
        Step::Done
    }

    /// The next level of the ramp, where this one is too far off to be foretold.
    fn ramp(&self, level: u32) -> Option<u32> {
        let steps = self.seen.iter().map(|seen| seen.full_steps().len()).max().unwrap_or(0);
        let outlasted = self.seen.iter().any(|seen| seen.opening.len() < seen.concurrency.get() as usize);
        let highest = self.seen.iter().map(|seen| seen.concurrency.get()).max().unwrap_or(1);
        let reach = if steps < STEPS_TO_FORETELL { 1.0 } else { FORETOLD };
        let foretold = f64::from(level) <= f64::from(highest) * reach;
        (!outlasted && !foretold && highest < self.cap())
            .then(|| ((f64::from(highest) * RAMP) as u32).min(level.max(highest + 1)).min(self.cap()))
    }

    /// The curve of first tokens, from the probe that shows most of it.
    fn curve(&self, machine: &Machine) -> Option<Curve> {
        let longest = self.seen.iter().max_by_key(|seen| seen.opening.len())?;
        let complete = longest.opening.len() >= longest.concurrency.get() as usize;
        let slower = self.standing(machine, longest, Judged::FirstTokens).slower;
        Some(Curve::new(&longest.opening, slower, complete, self.prompts_per_step))
    }

    /// Where the ceiling of an SLA is likely to be.
    fn forecast(&self, machine: &Machine, sla: usize, levels: &BTreeMap<u32, Level>) -> Forecast {
        if self.load == Load::Sustained {
            return self.forecast_from_margins(machine, sla, levels);
        }
        let from_curve = self.forecast_from_curve(machine, sla);
        let needed = self.needed(machine, sla);
        let slow_below = |level: &Level| level.concurrency <= from_curve.ceiling && level.margin(machine, needed) < 0.0;
        if self.judged(sla) == Judged::Later && levels.values().any(slow_below) {
            // It is not the first token that is missed.
            return self.forecast_from_margins(machine, sla, levels);
        }
        from_curve
    }

    fn needed(&self, machine: &Machine, sla: usize) -> f64 {
        let errors = (machine.errors.0 + machine.errors.1) / 2.0;
        (self.slas[sla].ok_rate.get() - 1e-9) / (1.0 - errors).max(1e-9)
    }

    fn forecast_from_curve(&self, machine: &Machine, sla: usize) -> Forecast {
        let (needed, limit, cap) = (self.needed(machine, sla), self.slas[sla].ttft.get(), self.cap());
        let Some(curve) = self.curve(machine) else {
            return Forecast { ceiling: 1, low: 1, high: 2, blind: f64::INFINITY };
        };
        let ceiling = curve.ceiling(machine, limit, needed, 0.0, 1.0, cap);
        let unsure = self.unsure(machine, ceiling.max(1));
        let off = machine.spread_off();
        let bound = |needed: f64, slower: f64, wider: f64| curve.ceiling(machine, limit, needed, slower, wider, cap);
        let (stricter, laxer) = (self.stricter(machine, sla), self.laxer(machine, sla));
        let low = bound(stricter, unsure, 1.0).min(bound(stricter, LESS_FAR * unsure, 1.0 + off));
        let high = bound(laxer, -unsure, 1.0).max(bound(laxer, -LESS_FAR * unsure, 1.0 - off)) + 1;
        Forecast { ceiling, low: low.min(ceiling), high: high.max(ceiling + 1), blind: 1.0 }
    }

    fn stricter(&self, machine: &Machine, sla: usize) -> f64 {
        (self.slas[sla].ok_rate.get() - 1e-9) / (1.0 - machine.errors.1).max(1e-9)
    }

    fn laxer(&self, machine: &Machine, sla: usize) -> f64 {
        (self.slas[sla].ok_rate.get() - 1e-9) / (1.0 - machine.errors.0).max(1e-9)
    }

    /// How far off, as a logarithm, the pace at this rank may be once one more probe has shown it.
    fn unsure(&self, machine: &Machine, rank: u32) -> f64 {
        match &machine.pace {
            Some(pace) if pace.is_steady() => 0.0,
            Some(pace) => (pace.t(self.miss()) * pace.error_at(rank)).min(1.0),
            None => 1.0,
        }
    }

    /// Between the highest level with a margin and the lowest without one.
    fn forecast_from_margins(&self, machine: &Machine, sla: usize, levels: &BTreeMap<u32, Level>) -> Forecast {
        let needed = self.needed(machine, sla);
        let margins: Vec<(f64, f64)> =
            levels.values().map(|level| (f64::from(level.concurrency), level.margin(machine, needed))).collect();
        let above = margins.iter().find(|(_, margin)| *margin < 0.0);
        let lower = |(level, _): &&(f64, f64)| above.is_none_or(|(above, _)| level < above);
        let below = margins.iter().rfind(lower);
        let (at, slope, blind) = match (below, above) {
            (Some(a), Some(b)) => {
                // Latencies grow in proportion to the level where requests queue: what is interpolated is the latency.
                let (used_below, used_above) = ((-a.1).exp(), (-b.1).exp());
                let part = ((1.0 - used_below) / (used_above - used_below)).clamp(0.08, 0.92);
                (a.0 + part * (b.0 - a.0), (a.1 - b.1) / (b.0 / a.0).ln(), b.0 / a.0)
            }
            (None, Some(b)) => (b.0 * b.1.max(-1.5).exp(), 1.0, f64::INFINITY),
            // As they grow no faster than that, the ceiling is at least as far off as the margin.
            (Some(a), None) => (a.0 * a.1.clamp(0.15, 1.4).exp(), 1.0, f64::INFINITY),
            (None, None) => (self.first_guess(machine), 1.0, f64::INFINITY),
        };
        let ceiling = at.clamp(0.0, f64::from(self.cap()));
        let unsure = self.unsure(machine, ceiling.max(1.0) as u32) / slope.clamp(0.5, 20.0);
        Forecast {
            ceiling: (ceiling + 1e-6) as u32,
            low: (ceiling * (-unsure).exp() + 1e-6) as u32,
            high: ((ceiling * unsure.exp()) as u32).saturating_add(1),
            blind,
        }
    }

    /// Where to begin with a load that has not been probed at all: as many as are served within their patience.
    fn first_guess(&self, machine: &Machine) -> f64 {
        self.curve(machine).map_or(1.0, |curve| curve.done_by(self.patience_s.ln())).max(1.0)
    }

    /// A level at which the engine itself changes, strictly between two others: there the curve has a bend.
    fn bend(&self, from: u32, to: u32) -> Option<u32> {
        self.bends.iter().copied().filter(|bend| (from + 1..to).contains(bend)).max()
    }

    fn next_for(&self, machine: &Machine, sla: usize, forecast: &Forecast) -> Next {
        let bracket = &self.brackets[sla];
        let cap = self.cap();
        if bracket.pass == Some(cap) || bracket.fail == Some(1) {
            return Next::Settled;
        }
        if let (Some(pass), Some(fail)) = (bracket.pass, bracket.fail)
            && fail - pass <= self.settings.resolution.width_at(pass)
        {
            return Next::Settled;
        }
        // Look between the bounds that stand.
        let floor = bracket.pass.unwrap_or(0);
        let top = bracket.fail.unwrap_or(cap + 1);
        let ceiling = forecast.ceiling.clamp(floor, top - 1);
        if let Some(level) = self.ramp(ceiling) {
            return Next::Pace(level);
        }
        if forecast.blind > BLIND && top - floor > 2 {
            let aim = ceiling.clamp(floor + 1, top - 1).max(1);
            let near = |bend: &u32| (f64::from(*bend) / f64::from(aim)).ln().abs() < BEND_NEAR;
            let level = self.bend(floor, top).filter(near).unwrap_or(aim);
            if !self.is_witnessed(sla, level) {
                return Next::Level(level);
            }
        }
        let (low, high) = (forecast.low.clamp(floor, ceiling), forecast.high.clamp(ceiling + 1, top));
        let width = self.settings.resolution.width_at(low.max(1));
        let sure = high - low <= width;
        if !sure && self.is_pace_worthwhile(machine, ceiling) {
            return Next::Pace(self.pace_level(ceiling));
        }
        if let (Some(pass), Some(fail), false) = (bracket.pass, bracket.fail, machine.is_steady())
            && fail - pass <= self.good_enough(high - low, pass)
        {
            return Next::Settled;
        }
        let (low, high) = if sure {
            // What the resolution leaves goes to both sides, a little more of it below: rare bad probes lower a ceiling.
            let spare = width - (high - low);
            let low = low.saturating_sub(spare.div_ceil(2));
            (low, low + width)
        } else {
            let slack = (f64::from(high - low) * SLACK).ceil() as u32;
            (low.saturating_sub(slack), high + slack)
        };
        let (low, high) = (low.max(floor), high.min(top));
        let below = || self.approach(machine, sla, Side::Below, low, ceiling, (floor, top));
        let above = || self.approach(machine, sla, Side::Above, high.min(cap), ceiling, (floor, top));
        // The side on which more is to be gained comes first; as long as the curve has not been seen that far, that is
        // the upper one: it shows the curve, and is not held.
        let limit = self.slas[sla].ttft.get();
        let shows = |seen: &Observation| {
            seen.opening.len() >= ceiling as usize || seen.opening.last().is_some_and(|last| *last >= limit)
        };
        let dark = self.load == Load::Burst && !self.seen.iter().any(shows);
        let level = if low - floor >= top - high && !dark { below().or_else(above) } else { above().or_else(below) };
        level.map_or(Next::Settled, Next::Level)
    }

    /// The widest bracket that is not worth more probes, where the spread alone makes it `least` wide.
    fn good_enough(&self, least: u32, pass: u32) -> u32 {
        let narrow = self.settings.resolution.width_at(pass).max((f64::from(least) * ENOUGH) as u32 + 1);
        let part = |part: f64| (f64::from(pass) * part) as u32;
        match self.spent / self.certificate() {
            cost if cost > 2.0 * WORTHWHILE => narrow.max(part(WIDEST / 2.0)).max(4),
            cost if cost > WORTHWHILE => narrow.max(part(NARROW)).max(4),
            _ => narrow,
        }
    }

    /// About what one probe at each bound costs.
    fn certificate(&self) -> f64 {
        self.slas.iter().map(|sla| 2.0 * sla.patience().get() + self.hold_s).sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// The level to probe for a bound on this side: the one that is aimed at, or one farther out where levels nearer to
    /// the ceiling stay open; `None` where that gains little over the bound that stands.
    fn approach(
        &self,
        machine: &Machine,
        sla: usize,
        side: Side,
        aim: u32,
        ceiling: u32,
        (floor, top): (u32, u32),
    ) -> Option<u32> {
        let (mut target, mut open) = (aim, 0.0);
        for (tried, probes) in self.levels(machine, sla).range(floor + 1..top.max(floor + 1)) {
            let other_side = (*tried > ceiling) == (side == Side::Below);
            if other_side || !self.is_witnessed(sla, *tried) {
                continue;
            }
            let off = machine.pace.as_ref().map_or(1.0, |pace| pace.t(self.miss())) * probes.error();
            let margin = probes.margin(machine, self.needed(machine, sla));
            let missing = match side {
                Side::Below => off - margin,
                Side::Above => off + margin,
            };
            open += 1.0;
            // Where the pace says nothing `off` may not be a number, and the other argument stands.
            let farther = (missing + off * SLACK).max(off * RETRY * open).min(0.5);
            target = side.farther(target, side.beyond(*tried, farther));
        }
        let (wanted, gained, first) = match side {
            Side::Below => (aim - floor, target.saturating_sub(floor), floor == 0),
            Side::Above => (top - aim, top.saturating_sub(target), top > self.cap()),
        };
        if first {
            let target = target.clamp(floor + 1, (top - 1).max(floor + 1)).min(self.cap());
            let tries = self.at(target).filter(|seen| self.decides(sla, seen)).count();
            return (wanted > 0 && tries < 3).then_some(target);
        }
        let narrowing = if machine.is_steady() { 0.0 } else { NARROWING * f64::from(top - floor) };
        let least = if floor > 0 && top <= self.cap() { narrowing } else { 0.0 };
        (gained > 0 && f64::from(gained) >= least.max(GAIN * f64::from(wanted))).then_some(target)
    }

    /// Whether a probe was carried through to a verdict of its own.
    fn decides(&self, sla: usize, seen: &Observation) -> bool {
        seen.under[sla].tally.verdict(self.slas[sla].ok_rate) != Verdict::Undecided
    }

    /// Whether more probes of the pace would pay.
    fn is_pace_worthwhile(&self, machine: &Machine, ceiling: u32) -> bool {
        let Some(pace) = &machine.pace else { return true };
        let spent: f64 = self.seen.iter().filter(|seen| seen.first_tokens_only).map(|seen| seen.seconds.get()).sum();
        pace.probes() < 2
            || (2 * self.pace_level(ceiling) <= ceiling
                && pace.probes() < PACE_PROBES
                && !pace.is_steady()
                && spent < PACE_SPEND * self.certificate())
    }

    /// A burst that costs little and has enough full steps to show the pace.
    fn pace_level(&self, ceiling: u32) -> u32 {
        let steps = self.prompts_per_step.map_or(0.0, |prompts| (prompts * 3.0).ceil() + 1.0);
        let small = (f64::from(ceiling) / PACE_PART).max(steps).ceil() as u32;
        small.max(PACE_LEAST).min(self.cap())
    }

    /// A probe for this SLA, and for those that expect their ceiling close by.
    fn probe(&self, sla: usize, level: u32, open: &[(usize, Forecast)]) -> Step {
        let near =
            |(other, forecast): &&(usize, Forecast)| *other == sla || (forecast.low..=forecast.high).contains(&level);
        let which = open.iter().filter(near).map(|(other, _)| *other).collect();
        let concurrency = Concurrency::new(level).unwrap_or(Concurrency::ONE);
        Step::Probe { concurrency, until: Until::Decided(which) }
    }

    fn answer(&self, bracket: &Bracket) -> Answer {
        let level = |level: Option<u32>| level.and_then(Concurrency::new);
        let status = match (bracket.pass, bracket.fail) {
            (Some(pass), None) if pass == self.cap() => Status::AboveCap,
            (None, Some(1)) => Status::BelowOne,
            (Some(pass), Some(fail)) if self.is_answer(bracket, pass, fail) => Status::Found,
            _ => Status::Undecided,
        };
        Answer {
            status,
            highest_pass: level(bracket.pass),
            lowest_fail: level(bracket.fail),
            confidence: Some(self.settings.confidence),
        }
    }

    fn is_answer(&self, bracket: &Bracket, pass: u32, fail: u32) -> bool {
        let width = fail - pass;
        width <= self.settings.resolution.width_at(pass)
            || bracket.settled && (f64::from(width) <= WIDEST * f64::from(pass) || width <= 4)
    }
}

/// On which side of the ceiling a bound is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

impl Side {
    fn farther(self, a: u32, b: u32) -> u32 {
        match self {
            Self::Below => a.min(b),
            Self::Above => a.max(b),
        }
    }

    /// A level farther out by this logarithm, by one request at least.
    fn beyond(self, level: u32, by: f64) -> u32 {
        match self {
            Self::Below => ((f64::from(level) * (-by).exp()) as u32).min(level.saturating_sub(1)),
            Self::Above => ((f64::from(level) * by.exp()).ceil() as u32).max(level + 1),
        }
    }
}

enum Next {
    /// Learn more of the pace with a burst of this size.
    Pace(u32),
    /// Probe this level.
    Level(u32),
    /// Nothing more to gain.
    Settled,
}

/// Levels beyond which requests wait for a sequence, or for KV cache.
fn bends(workload: &Workload, engine: &Resolved) -> Vec<u32> {
    let tokens = u64::from(workload.input_tokens) + u64::from(workload.output_tokens);
    let by_cache = engine.kv_cache_tokens.map(|capacity| (capacity / tokens.max(1)).min(u64::from(u32::MAX)) as u32);
    engine.max_num_seqs.into_iter().chain(by_cache).collect()
}

fn first_tokens(level: u32) -> Step {
    Step::Probe { concurrency: Concurrency::new(level).unwrap_or(Concurrency::ONE), until: Until::FirstTokens }
}

impl Search for Guided {
    fn next(&self) -> Step {
        self.step.clone()
    }

    fn observe(&mut self, observation: Observation) {
        self.spent += observation.seconds.get();
        self.seen.push(observation);
        self.step = self.choose();
    }

    fn answers(&self) -> Vec<Answer> {
        self.brackets.iter().map(|bracket| self.answer(bracket)).collect()
    }
}
