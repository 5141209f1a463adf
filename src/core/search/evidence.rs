//! All probes of a ladder, and what they say of each SLA.

use std::collections::BTreeMap;

use super::Observation;
use super::belief::Sway;
use super::bracket::Bracket;
use super::capacity::Capacity;
use super::forecast::{Forecast, Outlook};
use super::foretold::Foretold;
use super::level::{Level, Machine, Unknown};
use super::observation::Half;
use super::pace::{Judged, Opening, Pace};
use super::seen::{Needed, Seen};
use super::spending::Spending;
use super::stand_in::StandIn;
use crate::arrival::arrival;
use crate::attribution::Answered;
use crate::experiment::{Resolution, SearchSettings, Workload};
use crate::load::{Load, LoadPlan};
use crate::protocol::Resolved;
use crate::sla::{Sla, Verdict};
use crate::units::Seconds;
use crate::watch::Until;

/// The first probe of a sustained load is this much smaller than what fills the engine: it costs little, and shows how long
/// requests live.
const FIRST_PART: f64 = 16.0;
/// What is less likely than this is taken to be ruled out.
const UNLIKELY: f64 = 0.05;
/// Failures that matter, as a multiple of those that an SLA allows: in a burst, and under a sustained load.
const MATTERS: f64 = 2.0;
const MATTERS_SUSTAINED: f64 = 0.4;
/// Limits on what follows the first token do not matter where requests use up no more of them than this, as a logarithm.
const CLEAR: f64 = -0.1;

/// The probes of one ladder.
#[derive(Debug)]
pub(super) struct Evidence {
    pub settings: SearchSettings,
    pub slas: Vec<Sla>,
    pub load: Load,
    /// Most prompts in a step of the engine, where that is known: as many as its token budget, its sequences and its KV cache hold.
    pub prompts_per_step: Option<f64>,
    pub capacity: Capacity,
    pub stand_in: StandIn,
    pub seen: Vec<Seen>,
    hold_s: f64,
    output_tokens: f64,
    /// The longest that a first token is waited for.
    patience_s: f64,
}

/// What all probes say of one SLA.
pub(super) struct Sight<'a> {
    /// What it judges.
    pub judged: Judged,
    /// What it asks of its levels.
    pub needed: Needed,
    /// Those that were probed to a verdict of their own.
    pub levels: BTreeMap<u32, Level<'a>>,
    /// Where its ceiling is likely to be.
    pub forecast: Forecast<'a>,
    /// What its own levels bear out.
    pub bracket: Bracket,
    /// How probes at that ceiling differ.
    pub sway: Sway,
}

impl Evidence {
    /// None yet.
    pub fn new(settings: SearchSettings, slas: &[Sla], workload: &Workload, engine: &Resolved) -> Self {
        let plan = LoadPlan::new(workload, slas, settings.start_concurrency, &Until::FirstTokens);
        let capacity = Capacity::new(workload, engine);
        let prompts = |budget| {
            let budgeted = f64::from(budget) / f64::from(workload.input_tokens.max(1));
            capacity.prompts.map_or(budgeted, |prompts| budgeted.min(f64::from(prompts.max(1))))
        };
        Self {
            settings,
            slas: slas.to_vec(),
            load: workload.load,
            prompts_per_step: engine.max_num_batched_tokens.map(prompts),
            capacity,
            stand_in: StandIn::new(workload, slas, engine),
            seen: Vec::new(),
            hold_s: workload.hold.laid_down().get(),
            output_tokens: f64::from(workload.output_tokens),
            patience_s: plan.patience.get(),
        }
    }

    /// Takes in another probe.
    pub fn add(&mut self, observation: Observation) {
        let mut seen = Seen::new(observation, self.capacity.admitted);
        self.seen.iter().for_each(|other| seen.compare(other));
        self.seen.iter_mut().for_each(|other| other.compare(&seen));
        self.seen.push(seen);
        self.take_arrivals_out();
        self.stand_in.learn(&self.seen);
    }

    /// So that bursts of different sizes compare.
    fn take_arrivals_out(&mut self) {
        let burst = |seen: &Seen| Some((f64::from(seen.concurrency()), *seen.full_steps().first()?));
        let each = arrival(&self.seen.iter().filter_map(burst).collect::<Vec<_>>());
        self.seen.iter_mut().for_each(|seen| seen.take_arrivals_out(each));
    }

    /// The highest level that may be probed.
    pub fn cap(&self) -> u32 {
        self.settings.max_concurrency.get()
    }

    /// The probability with which each bound of a bracket may be wrong.
    pub fn miss(&self) -> f64 {
        (1.0 - self.settings.confidence.get()) / 2.0
    }

    /// How fast the machine is, and how much that differs from probe to probe.
    pub fn machine(&self) -> Machine {
        let openings: Vec<Opening> = self.seen.iter().map(|seen| seen.compared(u32::MAX)).collect();
        let pace = Pace::of(&openings, self.prompts_per_step).filter(|_| !self.stand_in.is_exact());
        Machine::new(pace, self.stand_in.churns(), &self.seen)
    }

    /// What an SLA asks of its levels.
    ///
    /// A probe ends as soon as enough of its requests are ok, so that of later tokens it never shows more than enough.
    fn needed(&self, machine: &Machine, sla: usize, judged: Judged) -> Needed {
        let needed = Needed::of(&self.seen, &self.slas[sla]);
        if self.takes_as_shown(machine) || judged == Judged::Later { needed } else { needed.with_reserve() }
    }

    /// Whether nothing is set aside for bad luck that no probe has met: where a machine shows no spread, and no failure and no stall, who asks
    /// for a number of requests is told what it showed.
    pub fn takes_as_shown(&self, machine: &Machine) -> bool {
        let is_calm = self.answered().errors == 0 && self.seen.iter().all(|seen| seen.stall.is_none());
        is_calm && machine.is_steady() && matches!(self.settings.resolution, Resolution::Requests(_))
    }

    /// Requests that the engine answered.
    fn answered(&self) -> Answered {
        self.seen.iter().map(|seen| seen.probe.answered).sum()
    }

    /// Whether the engine failed whatever it was asked.
    pub fn fails_all(&self) -> bool {
        let Answered { requests, errors } = self.answered();
        requests > 0 && errors == requests
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
        let fails = |seen: &&Seen| seen.probe.under[sla].verdict(limits.ok_rate) == Verdict::Fail;
        let lowest_fail = self.seen.iter().filter(fails).map(Seen::concurrency).min().unwrap_or(u32::MAX);
        let is_slow = |seen: &Seen| {
            let (first, later) = (seen.probe.under[sla].half(Half::First), seen.probe.under[sla].half(Half::Later));
            let in_time = first.partition_point(|used| *used <= 0.0);
            let near = later.len() - later.partition_point(|used| *used <= CLEAR);
            // Where too few first tokens are in time already, it does not matter what follows them.
            let to_spare = in_time.checked_sub(limits.ok_rate.least_of(first.len() as u32) as usize);
            to_spare.is_some_and(|to_spare| near > to_spare)
        };
        let slow = self.seen.iter().any(|seen| seen.concurrency() <= lowest_fail && is_slow(seen));
        if slow { Judged::Later } else { Judged::FirstTokens }
    }

    /// The levels that say something of an SLA.
    fn levels<'a>(
        &'a self,
        machine: &'a Machine,
        sla: usize,
        judged: Judged,
        needed: &Needed,
    ) -> BTreeMap<u32, Level<'a>> {
        let mut levels = BTreeMap::new();
        // A probe that was stopped for the sake of another SLA says nothing of this one.
        let says = |(_, seen): &(usize, &Seen)| seen.probe.load == self.load && seen.decides(sla, &self.slas[sla]);
        for (probe, seen) in self.seen.iter().enumerate().filter(says) {
            let under = &seen.probe.under[sla];
            if under.total() > 0 {
                let level = seen.concurrency();
                let is_first = judged == Judged::FirstTokens;
                let steps = if is_first { self.steps_once_there_was_room(seen, sla) } else { None };
                let sway = || match steps {
                    Some(_) => Sway { steps, ..Sway::PACE },
                    None => self.sway(level, sla, judged, needed),
                };
                // Of what was served after others had left, the opening tells the drift alone.
                let standing = machine.standing(probe, if steps.is_some() { Judged::Later } else { judged });
                levels.entry(level).or_insert_with(|| Level::new(level, judged, sway(), *needed)).add(under, standing);
            }
        }
        levels
    }

    /// Of a probe whose last request that an SLA needs in time had to wait for others to leave: in about how many of the engine's steps it must be
    /// served from then on.
    pub fn steps_once_there_was_room(&self, seen: &Seen, sla: usize) -> Option<f64> {
        let limits = &self.slas[sla];
        let (held_up, needed) = (&seen.probe.held_up, limits.ok_rate.least_of(seen.concurrency()) as usize);
        let held_s = *held_up.get(needed.saturating_sub(1)).or(held_up.last()).filter(|held_up| **held_up > 0.0)?;
        let as_many = seen.opening().partition_point(|time| *time <= limits.ttft.get() - held_s);
        Some((as_many as f64 / self.prompts_per_step.unwrap_or(1.0)).max(1.0))
    }

    /// How probes of a level differ.
    fn sway(&self, level: u32, sla: usize, judged: Judged, needed: &Needed) -> Sway {
        match judged {
            Judged::FirstTokens => Sway::PACE,
            Judged::Later => self.stand_in.sway(level, sla, needed.likely),
        }
    }

    /// What all probes say of one SLA. Where no probe has come near to its limits on later tokens, they are judged all the same if they
    /// are foretold to be missed where all first tokens are sure to be in time.
    pub fn sight<'a>(&'a self, machine: &'a Machine, sla: usize) -> Sight<'a> {
        let sight = self.sight_as(machine, sla, self.judged(sla));
        let is_open = sight.judged == Judged::FirstTokens && self.slas[sla].limits_later();
        let later = (is_open && !self.is_unknown_later(sla)).then(|| self.sight_as(machine, sla, Judged::Later));
        later.filter(|later| later.forecast.ceiling < *sight.forecast.low).unwrap_or(sight)
    }

    fn sight_as<'a>(&'a self, machine: &'a Machine, sla: usize, judged: Judged) -> Sight<'a> {
        let needed = self.needed(machine, sla, judged);
        let levels = self.levels(machine, sla, judged, &needed);
        let bracket = if needed.hopeless && self.tries(1) > 0 {
            Bracket { fail: Some(1), ..Bracket::default() }
        } else {
            Bracket::of(&levels, machine, &needed, self.settings.confidence)
        };
        let forecast = self.forecast(machine, sla, judged, needed, &levels);
        let sway = self.sway(forecast.ceiling.max(1), sla, judged, &needed);
        Sight { judged, needed, levels, forecast, bracket, sway }
    }

    /// What the stand-in foretells of the levels of one SLA; `None` where it is not known, or where requests fail by chance: then each level takes
    /// many probes.
    pub fn foretold<'a>(&'a self, machine: &'a Machine, sla: usize, sight: &Sight) -> Option<Foretold<'a>> {
        let is_told = self.stand_in.is_known() && !self.stand_in.churns();
        is_told.then(|| Foretold::new(&self.stand_in, machine, sla, sight.needed, &sight.levels))
    }

    fn forecast<'a>(
        &'a self,
        machine: &'a Machine,
        sla: usize,
        judged: Judged,
        needed: Needed,
        levels: &BTreeMap<u32, Level<'a>>,
    ) -> Forecast<'a> {
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
        let is_early = machine.is_steady() || machine.beliefs().is_empty();
        if self.slas[sla].limits_later() && is_early && !self.is_unknown_later(sla) {
            return outlook.by_levels(levels, outlook.served_within(self.patience_s));
        }
        let by_curve = outlook.by_curve();
        if judged == Judged::FirstTokens {
            return by_curve;
        }
        let slow_below = |level: &Level| {
            level.concurrency <= by_curve.ceiling && level.margin(machine, needed.likely, 0.0, Unknown::Late) < 0.0
        };
        // Where it is not the first token that is missed, its curve does not tell the ceiling.
        let by_levels = outlook.by_levels(levels, outlook.served_within(self.patience_s));
        let is_slow = by_levels.ceiling < *by_curve.low || levels.values().any(slow_below);
        if is_slow { by_levels } else { by_curve }
    }

    /// Whether no burst has shown the curve of first tokens as far as this ceiling, or the limit.
    pub fn is_dark(&self, sla: usize, ceiling: u32) -> bool {
        let limit = self.slas[sla].ttft.get();
        let shows = |seen: &Seen| {
            let shown = if seen.probe.is_complete() { seen.opening().last().copied() } else { Some(seen.left_after()) };
            seen.opening().len() >= ceiling as usize || shown.is_some_and(|shown| shown >= limit)
        };
        self.load == Load::Burst && !self.seen.iter().any(shows)
    }

    /// Whether an engine that fails enough requests to matter to an SLA would all but surely have failed one by now, or no number of requests
    /// would show it, since no failure is allowed. Under a sustained load fewer matter than it allows, since they change how the others
    /// fare, and bursts that show them cost little beside it.
    pub fn would_have_failed(&self, sla: usize) -> bool {
        let Answered { requests, errors } = self.answered();
        let part = if self.load == Load::Sustained { MATTERS_SUSTAINED } else { MATTERS };
        let matters = part * (1.0 - self.slas[sla].ok_rate.get());
        let spared = (1.0 - matters).max(0.0);
        errors > 0 || matters <= 0.0 || spared.powf(f64::from(requests)) < UNLIKELY
    }

    /// Whether an SLA limits later tokens, of which no probe has shown any.
    pub fn is_unknown_later(&self, sla: usize) -> bool {
        let (limits, can_show) = (&self.slas[sla], |sla: &Sla| sla.e2e.is_some() || self.hold_s > 0.0);
        let shows = |seen: &Seen| !seen.probe.under[sla].half(Half::Later).is_empty();
        self.load == Load::Burst && limits.limits_later() && can_show(limits) && !self.seen.iter().any(shows)
    }

    /// How long a request is held at the most that keeps an SLA, in seconds: until it has put all of its tokens out.
    pub fn held_s(&self, sla: usize) -> f64 {
        let limits = &self.slas[sla];
        let hold = limits.e2e.map_or(self.hold_s, Seconds::get);
        limits.tpot_limit().map_or(hold, |tpot| hold.min(self.output_tokens * tpot))
    }

    /// About how long a burst of this size takes to its first tokens, in seconds, by the largest so far.
    pub fn first_tokens_s(&self, level: u32) -> f64 {
        let largest = self.seen.iter().max_by_key(|seen| seen.concurrency());
        let time = |seen: &Seen| seen.left_after() * f64::from(level) / f64::from(seen.concurrency());
        largest.map_or(0.0, time)
    }

    /// What the probes so far have cost.
    pub fn spending(&self, sights: &[Sight]) -> Spending {
        // A request that has put all of its tokens out is held no longer. They come the quicker the fewer prompts are beside them.
        let a_token = |seen: &Seen| {
            let first = *seen.opening().first()?;
            let streamed = seen.probe.streamed.filter(|(tokens, _)| *tokens > 1);
            Some(streamed.map_or(first, |(tokens, until)| (until - first) / f64::from(tokens - 1)))
        };
        let token_s = self.seen.iter().filter_map(a_token).fold(f64::INFINITY, f64::min);
        let hold_s = self.hold_s.min(self.output_tokens * token_s);
        // Of a level that is probed for an SLA, the lower bound being held.
        let at = |sla: usize, sight: &Sight, level: u32, is_held: bool| match sight.judged {
            // First tokens take the whole of the limit, and those that miss it are not held.
            Judged::FirstTokens => self.slas[sla].ttft.get() + if is_held { hold_s } else { 0.0 },
            Judged::Later if self.load == Load::Burst && self.stand_in.is_known() => self.stand_in.seconds(level),
            Judged::Later => self.first_tokens_s(sight.forecast.ceiling) + self.held_s(sla),
        };
        // One probe at the cap speaks for all ceilings that are not below it.
        let at_cap = |sla: usize, sight: &Sight| match sight.judged {
            Judged::FirstTokens => self.first_tokens_s(self.cap()) + hold_s,
            Judged::Later if self.stand_in.is_known() => self.stand_in.seconds(self.cap()),
            Judged::Later => self.first_tokens_s(self.cap()) + self.held_s(sla),
        };
        // A level that serves several SLAs counts once.
        let mut bounds: BTreeMap<u32, f64> = BTreeMap::new();
        let mut count = |level: u32, seconds: f64| {
            let known = bounds.entry(level).or_insert(0.0);
            *known = known.max(seconds);
        };
        for (sla, sight) in sights.iter().enumerate() {
            let ceiling = sight.forecast.ceiling;
            if ceiling >= self.cap() {
                count(self.cap(), at_cap(sla, sight));
                continue;
            }
            if ceiling > 0 {
                count(ceiling, at(sla, sight, ceiling, true));
            }
            count(ceiling + 1, at(sla, sight, ceiling + 1, false));
        }
        Spending::of(&self.seen, self.slas.len(), bounds.len(), bounds.values().sum())
    }

    /// How often a level was probed for more than its first tokens.
    pub fn tries(&self, level: u32) -> usize {
        self.seen.iter().filter(|seen| seen.concurrency() == level && !seen.probe.first_tokens_only).count()
    }
}
