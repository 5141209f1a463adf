//! How far a stand-in is off the levels that were probed, and hence those between them.

/// Engines that are no farther apart than this are alike.
const ALIKE: f64 = 3e-4;

/// By how much, as logarithms, the margin of some levels is greater than that of the stand-in.
#[derive(Debug, Default)]
pub(super) struct Offsets(Vec<(u32, f64)>);

impl Offsets {
    /// Of these levels, ascending.
    pub fn new(mut known: Vec<(u32, f64)>) -> Self {
        known.iter_mut().filter(|(_, offset)| offset.abs() < ALIKE).for_each(|(_, offset)| *offset = 0.0);
        Self(known)
    }

    /// On the line between the levels on either side, in the logarithm of the level; as at the nearest beyond all of them.
    pub fn at(&self, level: u32) -> f64 {
        let next = self.0.partition_point(|(known, _)| *known < level);
        match (next.checked_sub(1).map(|before| self.0[before]), self.0.get(next)) {
            (None, None) => 0.0,
            (Some((_, offset)), None) | (None, Some(&(_, offset))) => offset,
            (Some((below, at_below)), Some(&(above, at_above))) => {
                let part = (f64::from(level) / f64::from(below)).ln() / (f64::from(above) / f64::from(below)).ln();
                at_below + part * (at_above - at_below)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_levels_it_is_off_by_what_is_between_them() {
        let offsets = Offsets::new(vec![(10, 0.2), (1000, -0.2)]);
        for (level, expected) in [(1, 0.2), (10, 0.2), (100, 0.0), (1000, -0.2), (4000, -0.2)] {
            assert!((offsets.at(level) - expected).abs() < 1e-12, "{level}: {}", offsets.at(level));
        }
        assert_eq!(Offsets::new(vec![(10, 1e-4)]).at(5), 0.0);
        assert_eq!(Offsets::default().at(5), 0.0);
    }
}
