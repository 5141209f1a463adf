//! What may still be started before a run is to be over.

use std::time::{Duration, Instant};

use ceiling_core::plan::Estimate;
use ceiling_core::units::Seconds;

/// When a run is to be over, and how long its parts are expected to take.
#[derive(Debug)]
pub struct Deadline {
    limit: Seconds,
    ends: Instant,
    estimate: Estimate,
}

impl Deadline {
    /// So long after `began`. `None` where that is further off than clocks count.
    pub fn new(limit: Seconds, began: Instant, estimate: Estimate) -> Option<Self> {
        Some(Self { limit, ends: began.checked_add(limit.to_std())?, estimate })
    }

    /// Why an engine is not loaded any more: neither it nor the shortest of these ladders with it would end in time.
    pub fn forbids_load(&self, group: usize, ladders: impl Iterator<Item = usize>) -> Option<String> {
        let shortest = ladders.map(|ladder| self.estimate.ladders[ladder].seconds).min().unwrap_or(Seconds::ZERO);
        let load = self.estimate.loads[group].seconds;
        self.forbids("loading the engine and measuring", load.get() + shortest.get())
    }

    /// Why a ladder is not begun any more.
    pub fn forbids_ladder(&self, ladder: usize) -> Option<String> {
        self.forbids("measuring", self.estimate.ladders[ladder].seconds.get())
    }

    /// Why a ladder is not gone on with: its next probe may take this long.
    pub fn forbids_probe(&self, longest: Seconds) -> Option<String> {
        self.forbids("its next probe", longest.get())
    }

    fn forbids(&self, what: &str, seconds: f64) -> Option<String> {
        let left = self.ends.saturating_duration_since(Instant::now());
        let fits = Duration::try_from_secs_f64(seconds).is_ok_and(|needed| needed < left);
        let (limit, left) = (self.limit, left.as_secs_f64());
        (!fits).then(|| format!("{what} takes about {seconds:.0} s, and {left:.0} s were left of --deadline {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use ceiling_core::plan::{Basis, Guess};

    use super::*;

    fn seconds(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    fn deadline(limit: f64) -> Deadline {
        let guess = |value| Guess { seconds: seconds(value), basis: Basis::Rule };
        let estimate = Estimate { loads: vec![guess(90.0)], ladders: vec![guess(50.0), guess(400.0)] };
        Deadline::new(seconds(limit), Instant::now(), estimate).unwrap()
    }

    #[test]
    fn only_what_ends_in_time_is_begun() {
        // Limit in seconds, and whether a load, each ladder, and a probe of 20 s may begin.
        let table = [
            (1000.0, [true, true, true, true]),
            (300.0, [true, true, false, true]),
            (100.0, [false, true, false, true]),
            (30.0, [false, false, false, true]),
            (0.0, [false, false, false, false]),
        ];
        for (limit, may) in table {
            let deadline = deadline(limit);
            let forbidden = [
                deadline.forbids_load(0, 0..2),
                deadline.forbids_ladder(0),
                deadline.forbids_ladder(1),
                deadline.forbids_probe(seconds(20.0)),
            ];
            assert_eq!(forbidden.map(|reason| reason.is_none()), may, "{limit}");
        }
    }

    #[test]
    fn the_reason_has_both_figures() {
        let reason = deadline(60.0).forbids_ladder(1).unwrap();
        assert!(reason.contains("about 400 s") && reason.contains("--deadline 60s"), "{reason}");
    }
}
