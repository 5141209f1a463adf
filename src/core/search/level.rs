//! What the probes of one level say of one SLA, given the pace of the machine.
//!
//! A probe had its own luck: it was slower than the machine is in the middle by a factor that the pace knows. With
//! that taken out, its requests show how the engine serves this level; with the machine's whole spread put back in, the
//! share that would keep its limits, averaged over the spread, is the long-run share R(N). The one thing still unsure
//! is where the middle is: R(N) is bounded by moving it.

use super::observation::UnderSla;
use super::pace::{Pace, Standing};
use crate::stats::normal_slices;

/// The probes of one level under one SLA.
pub(super) struct Level<'a> {
    pub concurrency: u32,
    probes: Vec<(&'a UnderSla, Standing)>,
}

/// What is shared by all levels of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub pace: Option<Pace>,
    /// Least and greatest likely share of requests that the engine fails.
    pub errors: (f64, f64),
    slices: Vec<f64>,
}

impl Machine {
    pub fn new(pace: Option<Pace>, errors: (f64, f64)) -> Self {
        Self { pace, errors, slices: normal_slices(21) }
    }

    pub fn is_steady(&self) -> bool {
        self.pace.as_ref().is_some_and(Pace::is_steady)
    }

    /// The part by which the spread may be off, beside the middle.
    pub fn spread_off(&self) -> f64 {
        (SPREAD_OFF * self.pace.as_ref().map_or(0.0, Pace::spread_error)).min(1.0)
    }

    /// How much slower than the middle the machine is, one value for each of equally likely probes of this size.
    /// `wider` is a factor on the spread.
    pub fn paces(&self, concurrency: u32, wider: f64) -> impl Iterator<Item = f64> + '_ {
        let spread = wider * self.pace.as_ref().map_or(0.0, |pace| pace.spread(concurrency));
        let used = if spread == 0.0 { &self.slices[..1] } else { &self.slices[..] };
        used.iter().map(move |z| if spread == 0.0 { 0.0 } else { z * spread })
    }
}

impl<'a> Level<'a> {
    pub fn new(concurrency: u32) -> Self {
        Self { concurrency, probes: Vec::new() }
    }

    pub fn add(&mut self, under: &'a UnderSla, standing: Standing) {
        self.probes.push((under, standing));
    }

    /// Standard error of the logarithm of how slow this level is in the middle.
    pub fn error(&self) -> f64 {
        let count = self.probes.len() as f64;
        let shared = self.probes.iter().map(|(_, standing)| standing.shared_variance).fold(0.0, f64::max);
        let own: f64 = self.probes.iter().map(|(_, standing)| standing.own_variance).sum();
        (shared + own / (count * count)).sqrt()
    }

    /// The least and the greatest share of ok requests in the long run if everything took `exp(slower)` times as long;
    /// they differ by what is unknown of single requests. `wider` is a factor on the spread. Engine failures are left
    /// out.
    pub fn share(&self, machine: &Machine, slower: f64, wider: f64) -> (f64, f64) {
        let (mut ok, mut unknown, mut total) = (0.0, 0.0, 0.0);
        for (under, standing) in &self.probes {
            let requests = f64::from(under.total());
            for pace in machine.paces(self.concurrency, wider) {
                let limit = standing.slower - slower - pace;
                ok += under.used.partition_point(|used| *used <= limit) as f64 / requests;
                unknown += f64::from(under.unknown) / requests;
                total += 1.0;
            }
        }
        (ok / total, (ok + unknown) / total)
    }

    /// Bounds on the long-run share, each missed with probability `miss`, engine failures left out.
    ///
    /// Neither where the middle is nor how wide the spread is, is known: either bound is the worst of the middle as far
    /// off as it may be, and a little less far off with the spread off as well.
    pub fn share_bounds(&self, machine: &Machine, miss: f64) -> Option<(f64, f64)> {
        let pace = machine.pace.as_ref()?;
        let error = self.error();
        let unsure = if error > 0.0 { pace.t(miss) * error } else { 0.0 };
        if !unsure.is_finite() {
            return None;
        }
        let off = machine.spread_off();
        let cases = [(unsure, 1.0), (LESS_FAR * unsure, 1.0 + off), (LESS_FAR * unsure, 1.0 - off)];
        let least = cases.iter().map(|(slower, wider)| self.share(machine, *slower, *wider).0).fold(1.0, f64::min);
        let most = cases.iter().map(|(slower, wider)| self.share(machine, -slower, *wider).1).fold(0.0, f64::max);
        Some((least, most))
    }

    /// By which factor, as a logarithm, everything could become slower before too few requests are ok; negative where
    /// too few are. `needed` is the share that must be ok.
    pub fn margin(&self, machine: &Machine, needed: f64) -> f64 {
        let (mut low, mut high) = (-MARGIN, MARGIN);
        for _ in 0..22 {
            let middle = (low + high) / 2.0;
            if self.share(machine, middle, 1.0).0 >= needed { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    }
}

/// Two things that may be off are rarely both off by as much as each may be: at four fifths and at three fifths of
/// that, the two together are as rare as one alone.
pub(super) const LESS_FAR: f64 = 0.8;
const SPREAD_OFF: f64 = 1.2;
/// Margins beyond this are all alike.
const MARGIN: f64 = 4.0;
