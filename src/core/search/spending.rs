//! What the probes of a ladder have cost, and what more of them are worth.

use super::belief::Sway;
use super::bracket::{FEW, WIDEST};
use super::level::Machine;
use super::pace::Pace;
use super::seen::Seen;
use crate::experiment::SearchSettings;
use crate::load::Load;

/// Most probes that the pace is worth.
const PACE_PROBES: usize = 16;
/// Engine time that they may take, as a multiple of that of one probe at each bound.
const PACE_SPEND: f64 = 0.45;
/// The part of that time from which a burst that is to show whether the machine drifts at all is a probe of a bound instead.
const DEAR: f64 = 0.3;
/// Engine time that a ladder may take before a bracket is published at the width that the spread allows, as a multiple
/// of the time of one probe at each bound; and before no more than the widest that is of use is asked for.
const WORTHWHILE: f64 = 1.9;
const AT_LAST: f64 = 2.0 * WORTHWHILE;
/// And before failures that no request has met yet are looked for no longer.
const GOOD_TO_KNOW: f64 = 2.15;
/// And before it is left open whether failures and stalls are too many for any level.
const DOUBT: f64 = 8.0;
/// A bracket no wider than the spread makes it, times this, is not worth more probes.
const ENOUGH: f64 = 1.15;
/// Nor is one no wider than this many times that, and than [`NARROW`], of one SLA among several: a probe that serves two of
/// them lies where both of their brackets end, and not where each would be narrowest.
const ENOUGH_OF_SEVERAL: u32 = 2;
/// Nor is one of this part of the ceiling, once the ladder has cost [`WORTHWHILE`].
pub(super) const NARROW: f64 = 0.1;
/// Nor one of this part, once it has cost [`AT_LAST`].
const NARROW_AT_LAST: f64 = 0.25;

/// Engine time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spending {
    total: f64,
    /// Of probes that were measured for their first tokens alone.
    pace: f64,
    /// About what one probe at each bound costs.
    certificate: f64,
    /// SLAs of the ladder.
    slas: usize,
}

impl Spending {
    /// Of these probes of a ladder that has so many SLAs and bounds; bursts at them are reckoned to take so many seconds together.
    pub fn of(seen: &[Seen], slas: usize, bounds: usize, bounds_s: f64) -> Self {
        let seconds = |seen: &Seen| seen.probe.seconds.get();
        let pace = seen.iter().filter(|seen| seen.probe.first_tokens_only).map(seconds).sum();
        let sustained: Vec<f64> = seen.iter().filter(|seen| seen.probe.load == Load::Sustained).map(seconds).collect();
        let certificate = if sustained.is_empty() {
            bounds_s.max(f64::MIN_POSITIVE)
        } else {
            bounds as f64 * sustained.iter().sum::<f64>() / sustained.len() as f64
        };
        Self { total: seen.iter().map(seconds).sum(), pace, certificate, slas }
    }

    /// Of all probes.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Whether so many seconds are too much for a burst that does nothing but compare with another.
    pub fn is_dear(&self, seconds: f64) -> bool {
        seconds > DEAR * self.certificate
    }

    /// Whether no more is worth while than what brackets cannot do without.
    pub fn is_worthwhile_spent(&self) -> bool {
        self.total >= WORTHWHILE * self.certificate
    }

    /// Whether a burst of so many seconds more is worth while for what need not be known, but is good to know; under a sustained load,
    /// where bursts cost little beside it, as many are as the pace would be worth.
    pub fn is_affordable(&self, seconds: f64, load: Load) -> bool {
        let bursts = load == Load::Sustained && self.pace + seconds <= PACE_SPEND * self.certificate;
        bursts || self.total + seconds <= GOOD_TO_KNOW * self.certificate
    }

    /// Whether no more is spent even on a bracket that is no answer.
    pub fn is_all_spent(&self) -> bool {
        self.total >= AT_LAST * self.certificate
    }

    /// Whether so much was spent that doubt whether any level passes is left as it is, and so is doubt whether all levels below a bound do.
    pub fn is_doubt_paid_for(&self) -> bool {
        self.total >= DOUBT * self.certificate
    }

    /// Whether more bursts may tell more of the pace. Where there are several SLAs, the probes of their bounds tell it too.
    pub fn is_pace_open(&self, machine: &Machine) -> bool {
        let elsewhere = if self.slas > 1 { self.slas.min(PACE_PROBES / 2) } else { 0 };
        let most = PACE_PROBES - elsewhere;
        machine.pace.as_ref().map_or(0, Pace::probes) < most && !machine.has_steady_pace()
    }

    /// Whether more probes of the pace would pay, where probes of this level differ so.
    pub fn is_pace_worthwhile(&self, machine: &Machine, level: u32, sway: Sway) -> bool {
        let is_hidden = sway.stretch * machine.spread_of(level, sway) <= sway.churn;
        machine.beliefs().is_empty()
            || (self.is_pace_open(machine) && !is_hidden && self.pace < PACE_SPEND * self.certificate)
    }

    /// The widest bracket that is not worth more probes, where the spread alone makes it `least` wide.
    pub fn good_enough(&self, settings: &SearchSettings, least: u32, pass: u32) -> u32 {
        let asked = settings.resolution.width_at(pass);
        let of_several = (ENOUGH_OF_SEVERAL * least).min(part(pass, NARROW).max(FEW));
        let enough = (f64::from(least) * ENOUGH) as u32 + 1;
        let narrow = asked.max(enough).max(if self.slas > 1 { of_several } else { 0 });
        match self.total / self.certificate {
            cost if cost > AT_LAST => narrow.max(part(pass, NARROW_AT_LAST)).max(FEW),
            cost if cost > WORTHWHILE => narrow.max(part(pass, NARROW)).max(FEW),
            _ => narrow,
        }
    }

    /// The widest bracket of which a probe must take off more than a little to be worth it.
    pub fn wide(&self, pass: u32) -> u32 {
        part(pass, if self.is_worthwhile_spent() { WIDEST } else { NARROW_AT_LAST }).max(FEW)
    }
}

/// So much of a level.
pub(super) fn part(level: u32, part: f64) -> u32 {
    (f64::from(level) * part) as u32
}

#[cfg(test)]
mod tests {
    use super::super::pace::Opening;
    use super::*;

    /// A machine of which so many bursts of one size have shown the pace.
    fn machine(times: impl Iterator<Item = f64>) -> Machine {
        let openings: Vec<Opening> = times.map(|time| Opening::Whole { size: 6, time }).collect();
        let pace = Pace::of(&openings, Some(40.0));
        assert_eq!(pace.as_ref().map(Pace::probes), Some(openings.len()));
        Machine::new(pace, false, &[])
    }

    #[test]
    fn the_more_slas_there_are_the_fewer_bursts_is_the_pace_worth() {
        let drifting = |probes: usize| machine((0..probes).map(|probe| 0.1 + 1e-3 * probe as f64));
        for (slas, most) in [(1, 16), (2, 14), (3, 13), (4, 12), (8, 8), (100, 8)] {
            let spending = Spending { total: 0.0, pace: 0.0, certificate: 1.0, slas };
            assert!(spending.is_pace_open(&drifting(most - 1)), "{slas}");
            assert!(!spending.is_pace_open(&drifting(most)), "{slas}");
            assert!(!spending.is_pace_open(&machine([0.1; 2].into_iter())), "a steady one has no more to show");
        }
    }
}
