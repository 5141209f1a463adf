//! The guided search: the pace of the machine and the shape of the latency curve choose each level and judge it.
//!
//! ```text
//! 1. ramp     bursts of growing size, measured to their first tokens, until the laxest limit on them is missed
//! 2. bounds   for each SLA, cheapest first: foretell the ceiling, probe a level below it and one above it that are far
//!             enough apart to be sure of both
//! 3. pace     where that would be too far apart: small bursts, which tell the machine's pace at little cost
//! ```
//!
//! Every verdict is drawn anew from all probes after each of them, so a bound that no longer stands is withdrawn.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::level::{Level, Machine};
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
/// Factor between two levels of the ramp, as long as the last level is farther off than can be foretold.
const RAMP: f64 = 6.0;
/// How far off the last level may be foretold, once so many full steps have been seen.
const JUMP: f64 = 40.0;
const STEEP: usize = 4;
/// How far the last level of the ramp is put beyond the ceiling that is foretold for the laxest limit, and how near to it
/// is enough.
const BEYOND: f64 = 1.05;
const NEAR: f64 = 0.92;
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
/// Part of the way to a better bound that a probe must go to be worth it.
const GAIN: f64 = 0.4;
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
        let hold_s = match workload.hold {
            crate::load::Hold::For(hold) => hold.get(),
            crate::load::Hold::UntilFinished => 0.0,
        };
        let prompts = |budget| f64::from(budget) / f64::from(workload.input_tokens.max(1));
        let mut guided = Self {
            settings,
            slas: slas.to_vec(),
            load: workload.load,
            hold_s,
            prompts_per_step: engine.max_num_batched_tokens.map(prompts),
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
        if let Some(level) = self.ramp() {
            return first_tokens(level);
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

    /// The next level of the ramp, until one burst shows the curve up to where the laxest limit is missed.
    fn ramp(&self) -> Option<u32> {
        let Some(largest) = self.seen.iter().max_by_key(|seen| seen.opening.len()) else {
            return Some(self.settings.start_concurrency.get());
        };
        let highest = self.seen.iter().map(|seen| seen.concurrency.get()).max().map_or(1.0, f64::from);
        let complete = largest.opening.len() >= largest.concurrency.get() as usize;
        let outlasted = !complete || largest.opening.last().is_some_and(|last| *last > self.patience_s);
        if outlasted || highest >= f64::from(self.cap()) {
            return None;
        }
        let curve = Curve::new(&largest.opening, 0.0, complete, self.prompts_per_step);
        let foretold = curve.done_by(self.patience_s.ln()).ceil();
        if foretold * NEAR <= highest {
            return None;
        }
        let farthest = if largest.full_steps().len() < STEEP { RAMP } else { JUMP };
        let level = if foretold * BEYOND <= highest * farthest { foretold * BEYOND } else { highest * RAMP };
        Some((level.ceil().max(highest + 1.0) as u32).min(self.cap()))
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
        let longest =
            self.seen.iter().max_by_key(|seen| seen.full_steps().len().max(usize::from(!seen.opening.is_empty())));
        let curve = longest.map(|seen| {
            let complete = seen.opening.len() >= seen.concurrency.get() as usize;
            let slower = self.standing(machine, seen, Judged::FirstTokens).slower;
            Curve::new(&seen.opening, slower, complete, self.prompts_per_step)
        });
        let Some(curve) = curve else { return Forecast { ceiling: 1, low: 1, high: 2, blind: 1.0 } };
        let ceiling = curve.ceiling(machine, limit, needed, 0.0, cap);
        let unsure = self.unsure(machine, ceiling.max(1));
        let low = curve.ceiling(machine, limit, self.stricter(machine, sla), unsure, cap);
        let high = curve.ceiling(machine, limit, self.laxer(machine, sla), -unsure, cap) + 1;
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
            levels.values().map(|level| (f64::from(level.concurrency).ln(), level.margin(machine, needed))).collect();
        let below = margins.iter().rfind(|(_, margin)| *margin >= 0.0);
        let above = margins.iter().find(|(_, margin)| *margin < 0.0);
        let cap = f64::from(self.cap());
        let (at, slope, blind) = match (below, above) {
            (Some(a), Some(b)) if a.0 < b.0 => {
                let slope = (a.1 - b.1) / (b.0 - a.0);
                (a.0 + a.1 / slope, slope, (b.0 - a.0).exp())
            }
            (_, Some(b)) => (b.0 + b.1.max(-1.5), 1.0, f64::INFINITY),
            (Some(a), None) => (a.0 + a.1.clamp(0.2, 0.7), 1.0, f64::INFINITY),
            (None, None) => (self.first_guess().ln(), 1.0, f64::INFINITY),
        };
        let ceiling = at.exp().clamp(0.0, cap);
        let unsure = self.unsure(machine, ceiling.max(1.0) as u32) / slope.clamp(0.5, 20.0);
        Forecast {
            ceiling: (ceiling + 1e-6) as u32,
            low: ((at - unsure).exp() + 1e-6) as u32,
            high: ((at + unsure).exp() as u32).saturating_add(1),
            blind,
        }
    }

    /// Where to begin with a load that has not been probed at all: as many as are served within their patience.
    fn first_guess(&self) -> f64 {
        let largest = self.seen.iter().max_by_key(|seen| seen.opening.len());
        largest.map_or(1.0, |seen| seen.opening.partition_point(|time| *time <= self.patience_s).max(1) as f64)
    }

    fn next_for(&self, machine: &Machine, sla: usize, forecast: &Forecast) -> Next {
        let bracket = &self.brackets[sla];
        let cap = self.cap();
        if bracket.pass == Some(cap) || bracket.fail == Some(1) {
            return Next::Settled;
        }
        if let (Some(pass), Some(fail)) = (bracket.pass, bracket.fail) {
            if fail - pass <= self.settings.resolution.width_at(pass) {
                return Next::Settled;
            }
        }
        // Look between the bounds that stand.
        let floor = bracket.pass.unwrap_or(0);
        let top = bracket.fail.unwrap_or(cap + 1);
        let ceiling = forecast.ceiling.clamp(floor, top - 1);
        if forecast.blind > 1.6 && top - floor > 2 {
            let level = ceiling.clamp(floor + 1, top - 1).max(1);
            if !self.is_witnessed(sla, level) {
                return Next::Level(level);
            }
        }
        let (low, high) = (forecast.low.clamp(floor, ceiling), forecast.high.clamp(ceiling + 1, top));
        let width = self.settings.resolution.width_at(low.max(1));
        let sure = high - low <= width;
        if !sure && self.is_pace_worthwhile(machine) {
            return Next::Pace(self.pace_level(ceiling));
        }
        let steady = machine.pace.as_ref().is_some_and(Pace::is_steady);
        if let (Some(pass), Some(fail), false) = (bracket.pass, bracket.fail, steady) {
            if fail - pass <= self.good_enough(high - low, pass) {
                return Next::Settled;
            }
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
        // The side on which more is to be gained comes first.
        let level = if low - floor >= top - high { below().or_else(above) } else { above().or_else(below) };
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
        let mut target = aim;
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
            target = side.farther(target, side.beyond(*tried, (missing + off * SLACK).clamp(off * SLACK, 0.5)));
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
        (gained > 0 && f64::from(gained) >= GAIN * f64::from(wanted)).then_some(target)
    }

    /// Whether a probe was carried through to a verdict of its own.
    fn decides(&self, sla: usize, seen: &Observation) -> bool {
        seen.under[sla].tally.verdict(self.slas[sla].ok_rate) != Verdict::Undecided
    }

    /// Whether more probes of the pace would pay.
    fn is_pace_worthwhile(&self, machine: &Machine) -> bool {
        let Some(pace) = &machine.pace else { return true };
        let largest = self.seen.iter().map(|seen| seen.concurrency).max();
        let small = self.seen.iter().filter(|seen| seen.first_tokens_only && Some(seen.concurrency) != largest);
        let spent: f64 = small.map(|seen| seen.seconds.get()).sum();
        pace.probes() < 2
            || (pace.probes() < PACE_PROBES && !pace.is_steady() && spent < PACE_SPEND * self.certificate())
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
