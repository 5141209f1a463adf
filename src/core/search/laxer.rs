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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_shared_by_those_that_it_serves() {
        // The last one has its lower bound already.
        let expected = [(0, 95, 105), (0, 100, 112), (0, 110, 125), (118, 118, 130)];
        let laxer = Laxer(expected.map(|(floor, low, high)| Expected { floor, low, high }).into());
        let ends = [((90, 120), Some(112)), ((90, 104), None), ((96, 120), Some(112)), ((101, 200), Some(130))];
        for ((pass, most), end) in ends {
            assert_eq!(laxer.end_within(pass, most), end, "{pass} to {most}");
        }
        for (levels, start) in [(96..=110, Some(110)), (96..=109, Some(100)), (111..=120, None)] {
            assert_eq!(laxer.start_within(levels.clone()), start, "{levels:?}");
        }
    }
}
