//! Probes that serve several SLAs.

use std::ops::RangeInclusive;

use super::bounds::Bounds;

/// Where laxer SLAs than one expect their bounds.
pub(super) struct Laxer(Vec<Expected>);

struct Expected {
    /// The lower bound that stands, or 0.
    floor: u32,
    /// The highest level that is expected to pass for sure, and the lowest to fail.
    low: u32,
    high: u32,
}

impl Laxer {
    /// Those of which this stands.
    pub fn of<'a, 'b: 'a>(bounds: impl Iterator<Item = Bounds<'a, 'b>>) -> Self {
        let expected = |bounds: Bounds| {
            let (low, high) = bounds.foretold();
            Expected { floor: bounds.floor, low, high }
        };
        Self(bounds.map(expected).collect())
    }

    /// The highest upper bound of theirs up to `most`, of those that may start at `pass` as well: two probes serve all of them.
    pub fn end_within(&self, pass: u32, most: u32) -> Option<u32> {
        self.0.iter().filter(|sla| pass <= sla.low && sla.high <= most).map(|sla| sla.high).max()
    }

    /// The highest lower bound of theirs among these levels that is better than what stands: one probe there ends one bracket and starts
    /// another.
    pub fn start_within(&self, levels: RangeInclusive<u32>) -> Option<u32> {
        let starts = self.0.iter().filter(|sla| sla.low > sla.floor && levels.contains(&sla.low));
        starts.map(|sla| sla.low).max()
    }
}
