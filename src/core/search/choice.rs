//! What to probe next, and which brackets stand.

use super::belief::CALM;
use super::bounds::{Bounds, Side};
use super::bracket::{Bracket, FEW};
use super::evidence::{Evidence, Sight};
use super::laxer::Laxer;
use super::level::{Level, Machine};
use super::pace::{Judged, Pace};
use super::seen::Seen;
use super::spending::{NARROW, Spending, part};
use super::{Step, Undecided};
use crate::load::Load;
use crate::units::Concurrency;
use crate::watch::Until;

/// Most probes of one ladder, however much engine time is left: so many for each SLA, and so many for all of them together.
const PROBES_PER_SLA: usize = 12;
const PROBES_BESIDE: usize = 40;
/// Factor between two levels of the ramp.
const RAMP: f64 = 6.0;
/// Full steps of a burst from which the curve can be foretold, and how far.
const STEPS_TO_FORETELL: usize = 4;
const FORETOLD: f64 = 12.0;
/// A level that shows how a full engine goes on is larger than what fills it by this part.
const BEYOND: f64 = 0.2;
/// A pace probe is this much smaller than the ceiling that it serves.
const PACE_PART: f64 = 8.0;
/// And one that is to narrow a bracket which would be published as wide as it is, this much.
const NARROWING_PART: f64 = 3.0;
/// Least requests of a pace probe.
const PACE_LEAST: u32 = 5;
/// Requests that show whether an engine fails all that it is asked.
const SEVERAL: u32 = 20;
/// How much farther out, as a part of it, an upper bound is probed so that it is the lower bound of a laxer SLA too.
const SHARED: f64 = 0.04;
/// Bounds that are foretold farther apart than by this part of the ceiling are not probed before the curve has been seen.
const FAINT: f64 = 0.15;
/// Levels farther apart than by this factor do not tell what is between them.
const BLIND: f64 = 1.6;
/// How often a level below the lower bound is probed that most likely fails.
const DIP_TRIES: usize = 4;
/// How far, as a logarithm, a level may be moved to where the engine changes.
const BEND_NEAR: f64 = 0.5;

/// A choice, given all probes so far.
pub(super) struct Choice<'a> {
    evidence: &'a Evidence,
    machine: &'a Machine,
    spending: Spending,
    /// By SLA.
    sights: Vec<Sight<'a>>,
}

impl<'a> Choice<'a> {
    /// After these probes.
    pub fn of(evidence: &'a Evidence, machine: &'a Machine) -> Self {
        let sights: Vec<Sight> = (0..evidence.slas.len()).map(|sla| evidence.sight(machine, sla)).collect();
        Self { evidence, machine, spending: evidence.spending(&sights), sights }
    }

    /// Draws every bracket anew, and says what to probe next.
    pub fn make(&self) -> (Vec<Bracket>, Step) {
        let evidence = self.evidence;
        let own: Vec<Bracket> = self.sights.iter().map(|sight| sight.bracket).collect();
        let mut brackets = Bracket::share_evidence(&own, &evidence.slas);
        if evidence.seen.is_empty() {
            return (brackets, first_tokens(evidence.settings.start_concurrency.get()));
        }
        let is_over = self.over().is_some();
        let mut order: Vec<usize> = (0..evidence.slas.len()).collect();
        // What is in doubt may cost much and come to nothing: it comes last.
        order.sort_by_key(|sla| (self.sights[*sla].needed.is_in_doubt(), self.sights[*sla].forecast.ceiling));
        for sla in order {
            let (sla, next) = self.next_of(sla, &mut brackets);
            match next {
                Next::Settled => brackets[sla].settled = true,
                // What is settled is so, whatever more another SLA would need.
                _ if is_over => {}
                Next::Pace(level) => {
                    let held = self.held_instead(sla, level).map(|start| self.probe(sla, start, &brackets));
                    return (brackets, held.unwrap_or_else(|| first_tokens(level)));
                }
                Next::Level(level) => {
                    let probe = self.probe(sla, level, &brackets);
                    return (brackets, probe);
                }
            }
        }
        if is_over {
            return (brackets, Step::Done);
        }
        // Where not even one request passes, failures would change nothing.
        let passes = |sla: &usize| brackets[*sla].fail != Some(1);
        let more = (0..evidence.slas.len()).filter(passes).find_map(|sla| self.look_for_failures(sla));
        (brackets, more.map_or(Step::Done, first_tokens))
    }

    /// What to do next for an SLA, or for the one that leads it, as long as there is more to gain of that.
    fn next_of(&self, sla: usize, brackets: &mut [Bracket]) -> (usize, Next) {
        let lead = self.lead(sla, brackets);
        match self.next_or_dip(lead, brackets) {
            Next::Settled if lead != sla => {
                brackets[lead].settled = true;
                (sla, self.next_or_dip(sla, brackets))
            }
            next => (lead, next),
        }
    }

    /// The SLA to look at in the place of this one: as long as no burst has shown the curve as far as its limit, the laxest of those with the
    /// same limit that may still fail somewhere. Where that is sure to fail all of them do: the probe shows the whole curve, and is not held.
    fn lead(&self, sla: usize, brackets: &[Bracket]) -> usize {
        let (evidence, slas) = (self.evidence, &self.evidence.slas);
        if self.machine.is_steady() || !evidence.is_dark(sla, self.sights[sla].forecast.ceiling) {
            return sla;
        }
        let may_fail = |bracket: &Bracket| bracket.fail.is_none() && bracket.pass != Some(evidence.cap());
        let is_laxer = |other: &usize| {
            slas[sla].ttft == slas[*other].ttft && slas[sla].implies(&slas[*other]) && may_fail(&brackets[*other])
        };
        (0..slas.len()).filter(is_laxer).max_by_key(|other| self.sights[*other].forecast.ceiling).unwrap_or(sla)
    }

    /// What has ended, of the budget and of the probes that may be made.
    pub fn over(&self) -> Option<Undecided> {
        let evidence = self.evidence;
        let most = PROBES_BESIDE + PROBES_PER_SLA * evidence.slas.len();
        let is_spent = self.spending.total() >= evidence.settings.budget.get();
        is_spent.then_some(Undecided::Budget).or((evidence.seen.len() >= most).then_some(Undecided::Probes))
    }

    /// What to do next for one SLA, which is settled only where no level below its bound is foretold to fail.
    fn next_or_dip(&self, sla: usize, brackets: &[Bracket]) -> Next {
        match self.next_for(sla, brackets) {
            Next::Settled => self.dip(sla, &brackets[sla]).map_or(Next::Settled, Next::Level),
            next => next,
        }
    }

    /// A probe of this level for an SLA, and for those that expect their ceiling close by, or their lower bound.
    fn probe(&self, sla: usize, level: u32, brackets: &[Bracket]) -> Step {
        let near = |other: &usize| {
            *other == sla
                || self.sights[*other].forecast.spans(level)
                || self.may_start(*other, level, &brackets[*other])
        };
        let which = (0..self.sights.len()).filter(near).collect();
        Step::Probe { concurrency: Concurrency::new(level).unwrap_or(Concurrency::ONE), until: Until::Decided(which) }
    }

    /// Whether this level is as good as the lower bound that an SLA expects, and better than the one that stands.
    fn may_start(&self, sla: usize, level: u32, bracket: &Bracket) -> bool {
        if self.machine.is_steady() || level <= bracket.pass.unwrap_or(0) {
            return false;
        }
        let low = *self.sights[sla].forecast.low;
        (level..=shared_reach(level)).contains(&low)
    }

    /// A level below the lower bound that may fail: under a sustained load, or limits on later tokens, a level may where just as many requests end
    /// together. One that was probed and most likely fails, as far as its own probes tell; else one that was not probed and is foretold to.
    /// Without noise the forecast has looked for it already.
    fn dip(&self, sla: usize, bracket: &Bracket) -> Option<u32> {
        let (evidence, machine, sight) = (self.evidence, self.machine, &self.sights[sla]);
        let is_noisy = !machine.is_steady() && !machine.beliefs().is_empty();
        let pass = bracket.pass.filter(|_| sight.judged == Judged::Later && is_noisy)?;
        if self.spending.is_doubt_paid_for() {
            return None;
        }
        let fails =
            |(level, probed): &(&u32, &Level)| probed.likely(machine) < 0.0 && evidence.tries(**level) < DIP_TRIES;
        if let Some((level, _)) = sight.levels.range(..pass).find(fails) {
            return Some(*level);
        }
        // A probe of it would stand about as one of the lower bound does.
        let standing = sight.levels.get(&pass).and_then(Level::standing).unwrap_or(&CALM);
        let is_open = |level: u32| !sight.levels.contains_key(&level) && evidence.tries(level) == 0;
        evidence.foretold(machine, sla, sight)?.dip(pass, standing, is_open)
    }

    /// A request to hold before a burst of first tokens is measured: it tells whether it may be later tokens that are missed, far below.
    /// It comes once it costs less than the bursts until then, and this one.
    fn held_instead(&self, sla: usize, burst: u32) -> Option<u32> {
        let evidence = self.evidence;
        let start = evidence.settings.start_concurrency.get();
        let is_untried = evidence.is_unknown_later(sla) && evidence.tries(start) == 0;
        let bursts_s = self.spending.total() + evidence.first_tokens_s(burst);
        (is_untried && evidence.held_s(sla) < bursts_s).then_some(start)
    }

    /// The next level of the ramp, where this one is too far off to be foretold.
    fn ramp(&self, level: u32) -> Option<u32> {
        let evidence = self.evidence;
        let steps = evidence.seen.iter().map(|seen| seen.full_steps().len()).max().unwrap_or(0);
        let outlasted = evidence.seen.iter().any(|seen| !seen.probe.is_complete());
        let highest = evidence.seen.iter().map(Seen::concurrency).max().unwrap_or(1);
        let shows_pace = steps >= STEPS_TO_FORETELL;
        let reach = if shows_pace { FORETOLD } else { 1.0 };
        let next = (f64::from(highest) * RAMP) as u32;
        // How a full engine goes on, no probe below shows: requests may have to wait for others to leave.
        let full =
            evidence.capacity.prompts.filter(|full| evidence.load == Load::Burst && (highest..level).contains(full));
        let beyond = full.map(|full| full + part(full, BEYOND).max(1)).filter(|beyond| shows_pace || next > *beyond);
        let foretold = full.is_none() && f64::from(level) <= f64::from(highest) * reach;
        (!outlasted && !foretold && highest < evidence.cap())
            .then(|| beyond.unwrap_or(next).min(level.max(highest + 1)).min(evidence.cap()))
    }

    /// What stands of one SLA, and what is foretold between it.
    fn bounds(&self, sla: usize, bracket: &Bracket) -> Bounds<'_, 'a> {
        let (evidence, machine, sight) = (self.evidence, self.machine, &self.sights[sla]);
        let (floor, top) = (bracket.pass.unwrap_or(0), bracket.fail.unwrap_or(evidence.cap() + 1));
        let ceiling = if machine.is_steady() {
            sight.forecast.between(floor, top)
        } else {
            sight.forecast.ceiling.clamp(floor, top - 1)
        };
        Bounds { evidence, machine, sight, floor, top, ceiling, wide: self.spending.wide(floor) }
    }

    /// What to do next for one SLA.
    fn next_for(&self, sla: usize, brackets: &[Bracket]) -> Next {
        let (evidence, machine, sight) = (self.evidence, self.machine, &self.sights[sla]);
        let (bracket, forecast) = (&brackets[sla], &sight.forecast);
        let cap = evidence.cap();
        if bracket.pass == Some(cap) || bracket.fail == Some(1) {
            return Next::Settled;
        }
        if let (Some(pass), Some(fail)) = (bracket.pass, bracket.fail)
            && fail - pass <= evidence.settings.resolution.width_at(pass)
        {
            return Next::Settled;
        }
        if sight.needed.hopeless {
            // The engine fails too many requests for any level to pass. What is published is probed.
            return Next::Level(1);
        }
        if evidence.fails_all() {
            // It need not go on like that.
            return Next::Pace(SEVERAL.min(cap));
        }
        // Look between the bounds that stand.
        let bounds = self.bounds(sla, bracket);
        let Bounds { floor, top, ceiling, .. } = bounds;
        let certain = evidence.stand_in.is_exact();
        if let Some(level) = self.ramp(ceiling).filter(|_| !certain) {
            let instead = level == cap && self.shows_the_pace(sla);
            return if instead { Next::Level(level) } else { Next::Pace(level) };
        }
        // What was seen contradicts the forecast: the curve has another shape than what it was foretold from.
        let contradicted = !machine.is_steady() && (*forecast.low >= top || *forecast.high <= floor);
        if (forecast.blind > BLIND || contradicted) && top - floor > 2 {
            let aim = if contradicted { floor + (top - floor) / 2 } else { ceiling };
            let aim = aim.clamp(floor + 1, top - 1).max(1);
            // Under a sustained load the forecast knows of the level at which the engine becomes full. In a burst it is not
            // passed over on the way up; on the way between two levels it is taken where it is near, or where nothing better
            // is known.
            let on_the_way = |full: u32| bracket.fail.is_none() && full < aim;
            let near = |full: u32| (f64::from(full) / f64::from(aim)).ln().abs() < BEND_NEAR;
            let of_use =
                |full: &u32| contradicted || evidence.load == Load::Burst && (on_the_way(*full) || near(*full));
            let between = evidence.capacity.full.filter(|full| (floor + 1..top).contains(full));
            let level = between.filter(of_use).unwrap_or(aim);
            if !sight.levels.contains_key(&level) {
                return Next::Level(level);
            }
        }
        self.narrow(sla, brackets, &bounds)
    }

    /// What to do next where the ceiling is foretold between two levels: learn more of the machine, probe a bound, or
    /// leave it.
    fn narrow(&self, sla: usize, brackets: &[Bracket], bounds: &Bounds) -> Next {
        let bracket = &brackets[sla];
        let &Bounds { evidence, machine, sight, floor, top, ceiling, .. } = bounds;
        let (low, high) = bounds.foretold();
        let sure = high - low <= evidence.settings.resolution.width_at(low.max(1));
        if !sure && self.spending.is_pace_worthwhile(machine, ceiling, sight.sway) {
            let level = self.pace_level(ceiling);
            let is_large = self.sights.iter().all(|sight| sight.forecast.ceiling <= level);
            let is_dear = is_large || self.spending.is_dear(evidence.first_tokens_s(level));
            let instead = machine.beliefs().is_empty() && ceiling > 0 && is_dear && self.shows_the_pace(sla);
            return if instead { Next::Level((ceiling + 1).min(evidence.cap())) } else { Next::Pace(level) };
        }
        if sight.needed.is_in_doubt() && !self.spending.is_doubt_paid_for() {
            // Failures or stalls may be so many that nothing passes, or not: only more requests tell.
            let most = evidence.seen.iter().map(|seen| seen.opening().len()).max().unwrap_or(0);
            let level = ceiling.max(most as u32).max(self.pace_level(ceiling)).max(PACE_LEAST);
            return Next::Pace(level.min(evidence.cap()));
        }
        let says_nothing = bracket.says_nothing() && !machine.is_steady() && !self.spending.is_all_spent();
        if let Some(next) = self.leave(bracket, bounds, high - low).filter(|_| !says_nothing) {
            return next;
        }
        let dark = evidence.is_dark(sla, ceiling);
        if dark && !machine.is_steady() && high - low > part(ceiling, FAINT).max(FEW) {
            // Bounds this far apart would both be probed again once the curve has been seen. A little beyond the ceiling, it is
            // seen too where the next forecast is higher.
            return Next::Pace((ceiling + part(ceiling, FAINT) / 2).min(high).clamp(1, evidence.cap()));
        }
        let laxer = self.laxer(sla, brackets);
        let high = self.common_end(&laxer, bounds, low, high);
        let (mut low, mut high) = bounds.aims(low, high);
        if says_nothing {
            // Levels that may well stay open are worth a try.
            low = low.max(floor.midpoint(ceiling));
            high = high.min(top.midpoint(ceiling + 1));
        }
        if !machine.is_steady() {
            // As far from where the one might still pass as from where the other might fail already.
            let start = laxer.start_within(high..=shared_reach(high).min(top.saturating_sub(1)));
            high = start.map_or(high, |start| high.midpoint(start));
        }
        let below = || bounds.approach(Side::Below, low);
        let above = || bounds.approach(Side::Above, high.min(evidence.cap()));
        // The side on which more is to be gained comes first; as long as the curve has not been seen that far, that is
        // the upper one: it shows the curve, and is not held.
        let is_below_first = low - floor >= top - high && !dark || evidence.is_unknown_later(sla);
        let level = if is_below_first { below().or_else(above) } else { above().or_else(below) };
        match level {
            Some(level) => Next::Level(level),
            // Where a bound is missing, what is not sure of the pace is all that keeps levels from being one.
            None if bracket.lacks_a_bound()
                && self.spending.is_pace_open(self.machine)
                && !self.spending.is_all_spent() =>
            {
                Next::Pace(self.pace_level(ceiling))
            }
            None => Next::Settled,
        }
    }

    /// Whether a probe of a bound shows as much of the pace as a burst of its size does, and costs about as much.
    fn shows_the_pace(&self, sla: usize) -> bool {
        self.evidence.load == Load::Burst && !self.evidence.slas[sla].limits_later()
    }

    /// What to do of a bracket that is about as narrow as the spread allows, which is `least`: leave it, or learn more of the
    /// pace where it is wide as it is; `None` where it is no such bracket.
    fn leave(&self, bracket: &Bracket, bounds: &Bounds, least: u32) -> Option<Next> {
        let (evidence, machine) = (bounds.evidence, bounds.machine);
        let (pass, fail) = bracket.pass.zip(bracket.fail).filter(|_| !machine.is_steady())?;
        if fail - pass > self.spending.good_enough(&evidence.settings, least, pass) {
            return None;
        }
        let wide = fail - pass > evidence.settings.resolution.width_at(pass).max(part(pass, NARROW)).max(FEW);
        let level = self.pace_level(bounds.ceiling).max((f64::from(bounds.ceiling) / NARROWING_PART) as u32);
        Some(if wide && self.spending.is_pace_open(self.machine) && !self.spending.is_worthwhile_spent() {
            Next::Pace(level)
        } else {
            Next::Settled
        })
    }

    /// A burst in which the engine may show that it fails more requests than an SLA allows, where so few were made that it need
    /// not have yet, and one more is not dear.
    fn look_for_failures(&self, sla: usize) -> Option<u32> {
        let (evidence, sight) = (self.evidence, &self.sights[sla]);
        let level = sight.forecast.ceiling.clamp(PACE_LEAST, evidence.cap().max(PACE_LEAST));
        let is_cheap = self.spending.is_affordable(evidence.first_tokens_s(level), evidence.load);
        let is_asked = !evidence.takes_as_shown(self.machine) && !evidence.would_have_failed(sla);
        (is_asked && is_cheap).then_some(level.min(evidence.cap()))
    }

    /// Where laxer SLAs than this one expect their bounds.
    fn laxer(&self, sla: usize, brackets: &[Bracket]) -> Laxer {
        let slas = &self.evidence.slas;
        let laxer = (0..slas.len()).filter(|other| *other != sla && slas[sla].implies(&slas[*other]));
        Laxer::of(laxer.map(|other| self.bounds(other, &brackets[other])))
    }

    /// The upper bound to look for, so that the bracket that it ends serves as many laxer SLAs as may be, and is as narrow as is asked for.
    fn common_end(&self, laxer: &Laxer, bounds: &Bounds, low: u32, high: u32) -> u32 {
        let asked = |pass: u32| pass + self.evidence.settings.resolution.width_at(pass.max(1));
        let pass = if bounds.floor > 0 && high <= asked(bounds.floor) { bounds.floor } else { low };
        laxer.end_within(pass, asked(pass)).map_or(high, |end| end.max(high))
    }

    /// A burst that costs little and shows the pace: it has enough full steps. Where one step serves the whole ceiling, it is as large as
    /// an earlier burst that one step served, so that the two compare.
    fn pace_level(&self, ceiling: u32) -> u32 {
        if ceiling == 0 {
            // Another like the one that is the upper bound.
            return 1;
        }
        let sizes = self.machine.pace.iter().flat_map(Pace::sizes).map(|(size, _)| size);
        if self.evidence.prompts_per_step.is_none_or(|prompts| f64::from(ceiling) < prompts) {
            let wanted = (f64::from(ceiling) / PACE_PART).max(f64::from(PACE_LEAST));
            let off = |size: &u32| (f64::from(*size) / wanted).ln().abs();
            if let Some(size) = sizes.min_by(|a, b| off(a).total_cmp(&off(b))) {
                return size;
            }
        }
        let steps = self.evidence.prompts_per_step.map_or(0.0, |prompts| (prompts * 3.0).ceil() + 1.0);
        let small = (f64::from(ceiling) / PACE_PART).max(steps).ceil() as u32;
        small.max(PACE_LEAST).min(self.evidence.cap())
    }
}

/// How far out an upper bound may be probed that is expected at this level.
fn shared_reach(level: u32) -> u32 {
    level + (f64::from(level) * SHARED).ceil() as u32
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
