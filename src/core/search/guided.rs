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

use super::bracket::{Bracket, FEW};
use super::capacity::Capacity;
use super::forecast::{Forecast, Outlook};
use super::level::{Level, Machine, Unknown};
use super::observation::Half;
use super::pace::{Judged, Opening, Pace};
use super::seen::{Needed, Seen};
use super::spending::{NARROW, NARROW_AT_LAST, PACE_PROBES, Spending, part};
use super::stand_in::StandIn;
use super::{Answer, Observation, Search, Step};
use crate::experiment::{SearchSettings, Workload};
use crate::load::{Load, LoadPlan};
use crate::protocol::Resolved;
use crate::sla::{Sla, Verdict};
use crate::units::Concurrency;
use crate::watch::Until;

/// Most probes of one ladder, however much engine time is left, for each SLA and beside them.
const PROBES_PER_SLA: usize = 12;
const PROBES_BESIDE: usize = 40;
/// How far apart, as a logarithm, levels are of which one that stays open tells where else to probe.
const NEIGHBOUR: f64 = 0.25;
/// Factor between two levels of the ramp.
const RAMP: f64 = 6.0;
/// Full steps of a burst from which the curve can be foretold, and how far.
const STEPS_TO_FORETELL: usize = 4;
const FORETOLD: f64 = 12.0;
/// A pace probe is this much smaller than the ceiling that it serves.
const PACE_PART: f64 = 8.0;
/// And one that is to narrow a bracket which would be published as wide as it is, this much.
const NARROWING_PART: f64 = 3.0;
/// Least requests of a pace probe.
const PACE_LEAST: u32 = 10;
/// How much farther out than it must be a bound is probed, as a part of the least width of the bracket: the probe itself
/// moves the estimate.
const SLACK: f64 = 0.06;
/// Part of the way to a better bound that a probe must go to be worth it.
const GAIN: f64 = 0.4;
/// Part of the bracket that a probe must take off it to be worth it.
const NARROWING: f64 = 0.2;
/// How much farther out, as a part of it, an upper bound is probed so that it is the lower bound of a laxer SLA too.
const SHARED: f64 = 0.04;
/// Bounds that are foretold farther apart than by this part of the ceiling are not probed before the curve has been seen.
const FAINT: f64 = 0.15;
/// Levels farther apart than by this factor do not tell what is between them.
const BLIND: f64 = 1.6;
/// How far, as a logarithm, a level may be moved to where the engine changes.
const BEND_NEAR: f64 = 0.5;
/// The first probe of a sustained load is this much smaller than what fills the engine: it costs little, and shows how long
/// requests live.
const FIRST_PART: f64 = 16.0;
/// How often a bound that is not there yet is tried for at one level.
const TRIES: usize = 3;
/// Limits on what follows the first token do not matter where requests use up no more of them than this, as a logarithm.
const CLEAR: f64 = -0.1;

/// Looks for the ceilings of one ladder.
#[derive(Debug)]
pub struct Guided {
    settings: SearchSettings,
    slas: Vec<Sla>,
    load: Load,
    hold_s: f64,
    output_tokens: f64,
    prompts_per_step: Option<f64>,
    capacity: Capacity,
    stand_in: StandIn,
    /// The longest that a first token is waited for.
    patience_s: f64,
    seen: Vec<Seen>,
    brackets: Vec<Bracket>,
    step: Step,
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
            output_tokens: f64::from(workload.output_tokens),
            prompts_per_step: engine.max_num_batched_tokens.map(prompts),
            capacity: Capacity::new(workload, engine),
            stand_in: StandIn::new(workload, slas, engine),
            patience_s: plan.patience.get(),
            seen: Vec::new(),
            brackets: vec![Bracket::default(); slas.len()],
            step: Step::Done,
        };
        (guided.brackets, guided.step) = guided.choose();
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
        let openings: Vec<Opening> = self.seen.iter().map(|seen| seen.compared(u32::MAX)).collect();
        let pace = Pace::of(&openings, self.prompts_per_step).filter(|_| !self.stand_in.is_exact());
        Machine::new(pace, self.seen.len())
    }

    /// What an SLA asks of its levels.
    ///
    /// A probe ends as soon as enough of its requests are ok, so that of later tokens it never shows more than enough.
    fn needed(&self, machine: &Machine, sla: usize, judged: Judged) -> Needed {
        let needed = Needed::of(&self.seen, &self.slas[sla]);
        if machine.is_steady() || judged == Judged::Later { needed } else { needed.with_reserve() }
    }

    /// What of a probe an SLA judges: later tokens only where limits on them come near to being missed.
    fn judged(&self, sla: usize) -> Judged {
        let limits = &self.slas[sla];
        if self.load == Load::Sustained {
            return Judged::Later;
        }
        if !limits.limits_later() {
            return Judged::FirstTokens;
        }
        let fails = |seen: &&Seen| seen.probe.under[sla].tally.verdict(limits.ok_rate) == Verdict::Fail;
        let lowest_fail = self.seen.iter().filter(fails).map(Seen::concurrency).min().unwrap_or(u32::MAX);
        let is_slow = |seen: &Seen| {
            let used = seen.probe.under[sla].half(Half::Later);
            let needed = (limits.ok_rate.get() * used.len() as f64).ceil() as usize;
            needed > 0 && used[needed - 1] > CLEAR
        };
        let slow = self.seen.iter().any(|seen| seen.concurrency() <= lowest_fail && is_slow(seen));
        if slow { Judged::Later } else { Judged::FirstTokens }
    }

    /// The levels that say something of an SLA.
    fn levels<'a>(&'a self, machine: &Machine, sla: usize, judged: Judged) -> BTreeMap<u32, Level<'a>> {
        let mut levels = BTreeMap::new();
        // A probe that was stopped for the sake of another SLA says nothing of this one.
        let says = |seen: &&Seen| seen.probe.load == self.load && seen.decides(sla, &self.slas[sla]);
        for seen in self.seen.iter().filter(says) {
            let under = &seen.probe.under[sla];
            if under.total() > 0 {
                let level = seen.concurrency();
                let standing = machine.standing(seen, judged);
                levels.entry(level).or_insert_with(|| Level::new(level, judged)).add(under, standing);
            }
        }
        levels
    }

    /// What all probes say of one SLA.
    fn sight(&self, machine: &Machine, sla: usize) -> Sight<'_> {
        let judged = self.judged(sla);
        let needed = self.needed(machine, sla, judged);
        let levels = self.levels(machine, sla, judged);
        let bracket = Bracket::of(&levels, machine, &needed, self.settings.confidence);
        let forecast = self.forecast(machine, sla, judged, needed, &levels);
        Sight { needed, levels, forecast, bracket }
    }

    fn forecast(
        &self,
        machine: &Machine,
        sla: usize,
        judged: Judged,
        needed: Needed,
        levels: &BTreeMap<u32, Level>,
    ) -> Forecast {
        let outlook = Outlook {
            machine,
            seen: &self.seen,
            needed,
            miss: self.miss(),
            cap: self.cap(),
            prompts_per_step: self.prompts_per_step,
            sla: &self.slas[sla],
            sla_index: sla,
            stand_in: &self.stand_in,
        };
        if self.load == Load::Sustained || self.stand_in.is_exact() {
            // As many as can arrive together can also work at once, and a small part of what the engine holds tells enough.
            let part = self.capacity.full.map_or(f64::INFINITY, |full| f64::from(full) / FIRST_PART);
            return outlook.by_levels(levels, outlook.served_within(self.slas[sla].ttft.get()).min(part).max(1.0));
        }
        let by_curve = outlook.by_curve();
        let slow_below = |level: &Level| {
            level.concurrency <= by_curve.ceiling && level.margin(machine, needed.likely, 0.0, Unknown::Failed) < 0.0
        };
        // Where it is not the first token that is missed, its curve does not tell the ceiling.
        if judged == Judged::Later && levels.values().any(slow_below) {
            outlook.by_levels(levels, outlook.served_within(self.patience_s))
        } else {
            by_curve
        }
    }

    /// Draws every bracket anew, and says what to probe next.
    fn choose(&self) -> (Vec<Bracket>, Step) {
        let machine = self.machine();
        let sights: Vec<Sight> = (0..self.slas.len()).map(|sla| self.sight(&machine, sla)).collect();
        let own: Vec<Bracket> = sights.iter().map(|sight| sight.bracket).collect();
        let mut brackets = Bracket::share_evidence(&own, &self.slas);
        let most = PROBES_BESIDE + PROBES_PER_SLA * self.slas.len();
        if self.spending().total() >= self.settings.budget.get() || self.seen.len() >= most {
            return (brackets, Step::Done);
        }
        if self.seen.is_empty() {
            return (brackets, first_tokens(self.settings.start_concurrency.get()));
        }
        let mut order: Vec<usize> = (0..self.slas.len()).collect();
        order.sort_by_key(|sla| sights[*sla].forecast.ceiling);
        for sla in order {
            match self.next_for(&machine, sla, &sights, &brackets[sla]) {
                Next::Pace(level) => return (brackets, first_tokens(level)),
                Next::Level(level) => return (brackets, probe(sla, level, &sights)),
                Next::Settled => brackets[sla].settled = true,
            }
        }
        (brackets, Step::Done)
    }

    /// The next level of the ramp, where this one is too far off to be foretold.
    fn ramp(&self, level: u32) -> Option<u32> {
        let steps = self.seen.iter().map(|seen| seen.full_steps().len()).max().unwrap_or(0);
        let outlasted = self.seen.iter().any(|seen| !seen.probe.is_complete());
        let highest = self.seen.iter().map(Seen::concurrency).max().unwrap_or(1);
        let reach = if steps < STEPS_TO_FORETELL { 1.0 } else { FORETOLD };
        let foretold = f64::from(level) <= f64::from(highest) * reach;
        (!outlasted && !foretold && highest < self.cap())
            .then(|| ((f64::from(highest) * RAMP) as u32).min(level.max(highest + 1)).min(self.cap()))
    }

    /// What to do next for one SLA.
    fn next_for(&self, machine: &Machine, sla: usize, sights: &[Sight], bracket: &Bracket) -> Next {
        let sight = &sights[sla];
        let forecast = &sight.forecast;
        let cap = self.cap();
        if bracket.pass == Some(cap) || bracket.fail == Some(1) {
            return Next::Settled;
        }
        if let (Some(pass), Some(fail)) = (bracket.pass, bracket.fail)
            && fail - pass <= self.settings.resolution.width_at(pass)
        {
            return Next::Settled;
        }
        if sight.needed.hopeless {
            // The engine fails too many requests for any level to pass. What is published is probed.
            return if self.tries(1) < TRIES { Next::Level(1) } else { Next::Settled };
        }
        // Look between the bounds that stand.
        let (floor, top) = (bracket.pass.unwrap_or(0), bracket.fail.unwrap_or(cap + 1));
        let ceiling =
            if machine.is_steady() { forecast.between(floor, top) } else { forecast.ceiling.clamp(floor, top - 1) };
        let certain = self.stand_in.is_exact();
        if let Some(level) = self.ramp(ceiling).filter(|_| !certain) {
            return Next::Pace(level);
        }
        // What was seen contradicts the forecast: the curve has another shape than what it was foretold from.
        let contradicted = !machine.is_steady() && (forecast.low >= top || forecast.high <= floor);
        if (forecast.blind > BLIND || contradicted) && top - floor > 2 {
            let aim = if contradicted { floor + (top - floor) / 2 } else { ceiling };
            let aim = aim.clamp(floor + 1, top - 1).max(1);
            // Under a sustained load the forecast knows of the level at which the engine becomes full. In a burst it is not
            // passed over on the way up; on the way between two levels it is taken where it is near, or where nothing better
            // is known.
            let on_the_way = |full: u32| bracket.fail.is_none() && full < aim;
            let near = |full: u32| (f64::from(full) / f64::from(aim)).ln().abs() < BEND_NEAR;
            let of_use = |full: &u32| contradicted || self.load == Load::Burst && (on_the_way(*full) || near(*full));
            let between = self.capacity.full.filter(|full| (floor + 1..top).contains(full));
            let level = between.filter(of_use).unwrap_or(aim);
            if !sight.levels.contains_key(&level) {
                return Next::Level(level);
            }
        }
        self.narrow(machine, sla, sights, bracket, &Bounds { floor, top, ceiling })
    }

    /// What to do next where the ceiling is foretold between two levels: learn more of the machine, probe a bound, or
    /// leave it.
    fn narrow(&self, machine: &Machine, sla: usize, sights: &[Sight], bracket: &Bracket, bounds: &Bounds) -> Next {
        let (sight, &Bounds { floor, top, ceiling }) = (&sights[sla], bounds);
        let forecast = &sight.forecast;
        let (low, high) = if machine.is_steady() {
            (ceiling, ceiling + 1)
        } else {
            (forecast.low.clamp(floor, ceiling), forecast.high.clamp(ceiling + 1, top))
        };
        let width = self.settings.resolution.width_at(low.max(1));
        let sure = high - low <= width;
        let spending = self.spending();
        if !sure && spending.is_pace_worthwhile(machine) {
            return Next::Pace(self.pace_level(machine, ceiling));
        }
        if sight.needed.strict > 1.0 && !spending.is_doubt_paid_for() {
            // Failures or stalls may be so many that nothing passes, or not: only more requests tell.
            let most = self.seen.iter().map(|seen| seen.opening().len()).max().unwrap_or(0);
            return Next::Pace(ceiling.max(most as u32).max(self.pace_level(machine, ceiling)).min(self.cap()));
        }
        let says_nothing = bracket.says_nothing() && !machine.is_steady() && !spending.is_all_spent();
        if let (Some(pass), Some(fail), false) = (bracket.pass, bracket.fail, machine.is_steady() || says_nothing)
            && fail - pass <= spending.good_enough(&self.settings, high - low, pass)
        {
            let wide = fail - pass > self.settings.resolution.width_at(pass).max(part(pass, NARROW)).max(FEW);
            let more = machine.pace.as_ref().is_some_and(|pace| pace.probes() < PACE_PROBES);
            let level = self.pace_level(machine, ceiling).max((f64::from(ceiling) / NARROWING_PART) as u32);
            return if wide && more && !spending.is_worthwhile_spent() { Next::Pace(level) } else { Next::Settled };
        }
        let dark = self.is_dark(sla, ceiling);
        if dark && !machine.is_steady() && high - low > part(ceiling, FAINT).max(FEW) {
            // Bounds this far apart would both be probed again once the curve has been seen.
            return Next::Pace(ceiling.max(1));
        }
        let (low, high) = if sure {
            // What the resolution leaves goes below, since bad luck that no probe has met yet lowers a ceiling; to both
            // sides where a part of it was set aside for that already.
            let spare = width - (high - low);
            let low = low.saturating_sub(if machine.is_steady() { spare } else { spare.div_ceil(2) });
            (low, low + width)
        } else {
            let slack = (f64::from(high - low) * SLACK).round() as u32;
            (low.saturating_sub(slack), high + slack)
        };
        let (low, high) = (low.max(floor), high.min(top));
        // A bracket that says nothing is worth a try at levels that may well stay open.
        let (low, high) = if says_nothing {
            (low.max(floor.midpoint(ceiling)), high.min(top.midpoint(ceiling + 1)))
        } else {
            (low, high)
        };
        let high = if machine.is_steady() { high } else { self.shared_with_laxer(sla, high, top, sights) };
        let below = || self.approach(machine, sight, Side::Below, low, bounds);
        let above = || self.approach(machine, sight, Side::Above, high.min(self.cap()), bounds);
        // The side on which more is to be gained comes first; as long as the curve has not been seen that far, that is
        // the upper one: it shows the curve, and is not held.
        let level = if low - floor >= top - high && !dark { below().or_else(above) } else { above().or_else(below) };
        level.map_or(Next::Settled, Next::Level)
    }

    /// Whether no burst has shown the curve of first tokens as far as this ceiling, or the limit.
    fn is_dark(&self, sla: usize, ceiling: u32) -> bool {
        let limit = self.slas[sla].ttft.get();
        let shows = |seen: &Seen| {
            let shown = if seen.probe.is_complete() { seen.opening().last().copied() } else { Some(seen.left_after()) };
            seen.opening().len() >= ceiling as usize || shown.is_some_and(|shown| shown >= limit)
        };
        self.load == Load::Burst && !self.seen.iter().any(shows)
    }

    /// A level near this one at which a laxer SLA expects its lower bound: one probe is to serve both.
    fn shared_with_laxer(&self, sla: usize, high: u32, top: u32, sights: &[Sight]) -> u32 {
        let within = high..=(high + part(high, SHARED)).min(top.saturating_sub(1));
        let laxer =
            sights.iter().enumerate().filter(|(other, _)| *other != sla && self.slas[sla].implies(&self.slas[*other]));
        laxer.map(|(_, sight)| sight.forecast.low).filter(|low| within.contains(low)).max().unwrap_or(high)
    }

    /// What the probes so far have cost.
    fn spending(&self) -> Spending {
        // A request that has put all of its tokens out is held no longer; none takes as long as the first.
        let fastest = self.seen.iter().filter_map(|seen| seen.opening().first().copied()).fold(f64::INFINITY, f64::min);
        Spending::of(&self.seen, &self.slas, self.hold_s.min(self.output_tokens * fastest))
    }

    /// The level to probe for a bound on this side: the one that is aimed at, or one farther out where levels nearer to
    /// the ceiling stay open; `None` where that gains little over the bound that stands.
    fn approach(
        &self,
        machine: &Machine,
        sight: &Sight,
        side: Side,
        aim: u32,
        &Bounds { floor, top, ceiling }: &Bounds,
    ) -> Option<u32> {
        let (mut target, mut open) = (aim, 0.0);
        for (tried, level) in sight.levels.range(floor + 1..top.max(floor + 1)) {
            let other_side = (*tried > ceiling) == (side == Side::Below);
            let far_off = (f64::from(*tried) / f64::from(aim.max(1))).ln().abs() > NEIGHBOUR;
            if other_side || far_off || machine.beliefs().is_empty() {
                continue;
            }
            let missing = match side {
                Side::Below => {
                    -level.posterior(machine, sight.needed.strict, Unknown::Failed).exceeded_with(1.0 - self.miss())
                }
                Side::Above => level.posterior(machine, sight.needed.lax, Unknown::Ok).exceeded_with(self.miss()),
            };
            open += 1.0;
            let farther = (missing * (1.0 + SLACK * open)).clamp(0.0, 0.5);
            target = side.farther(target, side.beyond(*tried, farther));
        }
        let (wanted, gained, first) = match side {
            Side::Below => (aim - floor, target.saturating_sub(floor), floor == 0),
            Side::Above => (top - aim, top.saturating_sub(target), top > self.cap()),
        };
        if first {
            let target = target.clamp(floor + 1, (top - 1).max(floor + 1)).min(self.cap());
            return (wanted > 0 && self.tries(target) < TRIES).then_some(target);
        }
        let both = floor > 0 && top <= self.cap();
        let wide = top - floor > part(floor, NARROW_AT_LAST).max(FEW);
        let least = match () {
            () if machine.is_steady() || wide => 0.0,
            () if both => (NARROWING * f64::from(top - floor)).max(GAIN * f64::from(wanted)),
            () => GAIN * f64::from(wanted),
        };
        (gained > 0 && f64::from(gained) >= least).then_some(target)
    }

    /// How often a level was probed for more than its first tokens.
    fn tries(&self, level: u32) -> usize {
        self.seen.iter().filter(|seen| seen.concurrency() == level && !seen.probe.first_tokens_only).count()
    }

    /// A burst that costs little and shows the pace: it has enough full steps, or below a ceiling that one step serves the size
    /// of another that one step served.
    fn pace_level(&self, machine: &Machine, ceiling: u32) -> u32 {
        let sizes = machine.pace.iter().flat_map(Pace::sizes).map(|(size, _)| size);
        if self.prompts_per_step.is_none_or(|prompts| f64::from(ceiling) < prompts) {
            let wanted = (f64::from(ceiling) / PACE_PART).max(f64::from(PACE_LEAST));
            let off = |size: &u32| (f64::from(*size) / wanted).ln().abs();
            if let Some(size) = sizes.min_by(|a, b| off(a).total_cmp(&off(b))) {
                return size;
            }
        }
        let steps = self.prompts_per_step.map_or(0.0, |prompts| (prompts * 3.0).ceil() + 1.0);
        let small = (f64::from(ceiling) / PACE_PART).max(steps).ceil() as u32;
        small.max(PACE_LEAST).min(self.cap())
    }
}

/// What all probes say of one SLA.
struct Sight<'a> {
    needed: Needed,
    levels: BTreeMap<u32, Level<'a>>,
    forecast: Forecast,
    /// What its own levels bear out.
    bracket: Bracket,
}

/// What stands, and what is foretold between it.
struct Bounds {
    floor: u32,
    top: u32,
    ceiling: u32,
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

/// A probe for this SLA, and for those that expect their ceiling close by.
fn probe(sla: usize, level: u32, sights: &[Sight]) -> Step {
    let near =
        |(other, sight): &(usize, &Sight)| *other == sla || (sight.forecast.low..=sight.forecast.high).contains(&level);
    let which = sights.iter().enumerate().filter(near).map(|(other, _)| other).collect();
    let concurrency = Concurrency::new(level).unwrap_or(Concurrency::ONE);
    Step::Probe { concurrency, until: Until::Decided(which) }
}

fn first_tokens(level: u32) -> Step {
    Step::Probe { concurrency: Concurrency::new(level).unwrap_or(Concurrency::ONE), until: Until::FirstTokens }
}

impl Search for Guided {
    fn next(&self) -> Step {
        self.step.clone()
    }

    fn observe(&mut self, observation: Observation) {
        let mut seen = Seen::new(observation, self.capacity.admitted);
        self.seen.iter().for_each(|other| seen.compare(other));
        self.seen.iter_mut().for_each(|other| other.compare(&seen));
        self.seen.push(seen);
        self.stand_in.learn(&self.seen);
        (self.brackets, self.step) = self.choose();
    }

    fn answers(&self) -> Vec<Answer> {
        self.brackets.iter().map(|bracket| bracket.answer(&self.settings)).collect()
    }
}
