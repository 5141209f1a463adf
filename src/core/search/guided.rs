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
use super::pace::{Pace, Standing};
use super::{Answer, Observation, Search, Status, Step};
use crate::experiment::{SearchSettings, Workload};
use crate::load::{Load, LoadPlan};
use crate::protocol::Resolved;
use crate::sla::{Sla, Verdict};
use crate::stats::share_bounds;
use crate::units::{Concurrency, Share};
use crate::watch::Until;

/// Most probes of one ladder, however much engine time is left, for each SLA and beside them.
const PROBES_PER_SLA: usize = 12;
const PROBES_BESIDE: usize = 30;
/// Largest factor between two levels of the ramp.
const RAMP: f64 = 6.0;
/// How far the last level of the ramp is put beyond the ceiling that is foretold for the laxest limit.
const BEYOND: f64 = 1.15;
/// A pace probe is this much smaller than the ceiling that it serves.
const PACE_PART: f64 = 8.0;
/// Least requests of a pace probe.
const PACE_LEAST: u32 = 10;
/// Most probes that the pace is worth.
const PACE_PROBES: usize = 16;
/// Engine time that a ladder may take before a bracket is published at the width that the spread allows, as a multiple
/// of the time of one probe at each bound.
const WORTHWHILE: f64 = 1.9;
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

    /// How an observation's probe stands, luck apart.
    fn standing(&self, machine: &Machine, seen: &Observation) -> Standing {
        let unknown = Standing { slower: 0.0, shared_variance: 0.0, own_variance: f64::INFINITY };
        machine.pace.as_ref().map_or(unknown, |pace| pace.standing(seen.full_steps(), seen.concurrency.get()))
    }

    /// The levels that say something of an SLA.
    fn levels<'a>(&'a self, machine: &Machine, sla: usize) -> BTreeMap<u32, Level<'a>> {
        let mut levels = BTreeMap::new();
        for seen in self.seen.iter().filter(|seen| seen.load == self.load) {
            let under = &seen.under[sla];
            if under.total() > 0 && under.unknown < under.total() {
                let level = seen.concurrency.get();
                let standing = self.standing(machine, seen);
                levels.entry(level).or_insert_with(|| Level::new(level)).add(under, standing);
            }
        }
        levels
    }

    /// Whether a probe at this level was carried through to a verdict of its own.
    fn is_witnessed(&self, sla: usize, level: u32) -> bool {
        let rate = self.slas[sla].ok_rate;
        let decided = |seen: &&Observation| seen.under[sla].tally.verdict(rate) != Verdict::Undecided;
        self.at(level).any(|seen| decided(&seen))
    }

    fn at(&self, level: u32) -> impl Iterator<Item = &Observation> {
        self.seen.iter().filter(move |seen| seen.concurrency.get() == level && seen.load == self.load)
    }

    /// What all probes together say of a level.
    fn verdict(&self, machine: &Machine, sla: usize, level: &Level) -> Verdict {
        let Some(pace) = &machine.pace else { return Verdict::Undecided };
        let error = level.error();
        let needed = self.slas[sla].ok_rate.get() - 1e-9;
        let unsure = if error > 0.0 { pace.t(self.miss()) * error } else { 0.0 };
        if !unsure.is_finite() || (pace.probes() < 2) || !self.is_witnessed(sla, level.concurrency) {
            return Verdict::Undecided;
        }
        let (least, _) = level.share(machine, unsure);
        let (_, greatest) = level.share(machine, -unsure);
        if least * (1.0 - machine.errors.1) >= needed {
            Verdict::Pass
        } else if greatest * (1.0 - machine.errors.0) < needed {
            Verdict::Fail
        } else {
            Verdict::Undecided
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
            if let Some(forecast) = self.forecast(&machine, sla, &levels) {
                open.push((sla, forecast));
            }
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

    /// The next level of the ramp, until the first tokens of one burst outlasted everyone's patience.
    fn ramp(&self) -> Option<u32> {
        let largest = self.seen.iter().max_by_key(|seen| seen.opening.len());
        let Some(largest) = largest else { return Some(self.settings.start_concurrency.get()) };
        let highest = self.seen.iter().map(|seen| seen.concurrency.get()).max().unwrap_or(1);
        let outlasted = self.seen.iter().any(|seen| {
            seen.opening.len() < seen.concurrency.get() as usize
                || seen.opening.last().is_some_and(|last| *last > self.patience_s)
        });
        if outlasted || highest >= self.cap() {
            return None;
        }
        let complete = largest.opening.len() >= largest.concurrency.get() as usize;
        let curve = Curve::new(&largest.opening, 0.0, complete, self.prompts_per_step);
        let foretold = (curve.done_by(self.patience_s.ln()) * BEYOND).ceil() + 1.0;
        let limited = (f64::from(highest) * RAMP).min(foretold).max(f64::from(highest) + 1.0);
        Some((limited as u32).min(self.cap()))
    }

    /// Where the ceiling of an SLA is likely to be; `None` where no level can tell.
    fn forecast(&self, machine: &Machine, sla: usize, levels: &BTreeMap<u32, Level>) -> Option<Forecast> {
        let limits = &self.slas[sla];
        let first_token_alone = limits.tpot_limit().is_none() && limits.e2e.is_none();
        if self.load == Load::Burst && first_token_alone {
            Some(self.forecast_from_curve(machine, sla))
        } else {
            Some(self.forecast_from_margins(machine, sla, levels))
        }
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
            Curve::new(&seen.opening, self.standing(machine, seen).slower, complete, self.prompts_per_step)
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
        let (low, high) = if sure {
            // What the resolution leaves goes to both sides, a little more of it below: rare bad probes lower a ceiling.
            let spare = width - (high - low);
            let low = low.saturating_sub(spare.div_ceil(2));
            (low, low + width)
        } else {
            let slack = ((high - low) as f64 * 0.08).ceil() as u32;
            (low.saturating_sub(slack), high + slack)
        };
        let (low, high) = (low.max(floor), high.min(top));
        if bracket.pass.is_none_or(|pass| pass < low) && low >= 1 {
            return self.approach(machine, sla, low, floor, -1);
        }
        if bracket.fail.is_none_or(|fail| fail > high) {
            return self.approach(machine, sla, high.min(cap), top, 1);
        }
        if low == 0 && bracket.fail.is_none_or(|fail| fail > 1) {
            return self.approach(machine, sla, 1, 2, 1);
        }
        Next::Settled
    }

    /// This level, or, where it was probed and stays open, one further out.
    fn approach(&self, machine: &Machine, sla: usize, level: u32, bound: u32, direction: i64) -> Next {
        let mut level = level;
        let mut tries = 0;
        while self.is_witnessed(sla, level) && level != bound && tries < 3 {
            let mut probes = Level::new(level);
            self.at(level).for_each(|seen| probes.add(&seen.under[sla], self.standing(machine, seen)));
            let margin = probes.margin(machine, self.needed(machine, sla));
            let error = probes.error() * machine.pace.as_ref().map_or(1.0, |pace| pace.t(self.miss()));
            let missing = (error + margin * direction as f64).clamp(0.0, 0.5);
            let step = (f64::from(level) * missing * 1.1).ceil().max(1.0) as i64;
            level = (i64::from(level) + direction * step).clamp(1, i64::from(self.cap())) as u32;
            level = if direction < 0 { level.max(bound) } else { level.min(bound) };
            tries += 1;
        }
        if self.at(level).count() >= 4 || level == bound && self.is_witnessed(sla, level) {
            return Next::Settled;
        }
        Next::Level(level.max(1))
    }

    /// Whether more probes of the pace would pay.
    fn is_pace_worthwhile(&self, machine: &Machine) -> bool {
        let Some(pace) = &machine.pace else { return true };
        let certificate: f64 = self.slas.iter().map(|sla| 2.0 * sla.patience().get() + self.hold_s).sum();
        pace.probes() < 2
            || (pace.probes() < PACE_PROBES && !pace.is_steady() && self.spent < WORTHWHILE * certificate / 2.0)
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
