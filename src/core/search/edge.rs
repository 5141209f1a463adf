//! Looks for the level up to which something holds.

/// How finely levels are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Each from the next.
    Request,
    /// By about a fiftieth, on a grid that all SLAs share: what was foretold for one need not be for another.
    Fiftieth,
}

/// How far on it is looked for first, as a part of where that is, and at last.
const FIRST_STRIDE: f64 = 0.06;
const LAST_STRIDE: f64 = 1.0;

impl Grain {
    /// The nearest level that is not above this one.
    pub fn below(self, level: u32) -> u32 {
        match self {
            Self::Request => level,
            Self::Fiftieth => level - level % (level / 64).max(1).next_power_of_two(),
        }
    }

    /// The highest level up to `cap` that holds, where all below it do, and the next, which does not; looked for from `start` on.
    pub fn edge(self, start: u32, cap: u32, holds: impl Fn(u32) -> bool) -> (u32, u32) {
        let (mut pass, mut fail) = (0, cap.saturating_add(1));
        let (mut level, mut stride) = (start.clamp(1, cap), FIRST_STRIDE);
        while level > pass && level < fail {
            if holds(level) {
                pass = level;
            } else {
                fail = level;
            }
            // It is mostly close to where it is looked for.
            level = match (pass, fail) {
                (pass, fail) if fail > cap => pass.saturating_add((f64::from(pass) * stride) as u32 + 1).min(cap),
                (0, fail) => ((f64::from(fail) / (1.0 + stride)) as u32).min(fail - 1),
                (pass, fail) => pass + (fail - pass) / 2,
            };
            stride = (2.0 * stride).min(LAST_STRIDE);
            level = self.below(level);
        }
        (pass, fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_found_from_anywhere_as_finely_as_was_asked_for() {
        for cap in [1, 2, 100, 4096] {
            for truth in [0, 1, 2, 7, 63, 64, 65, 99, 100, 101, 1000, 4095, 4096] {
                for start in [1, 2, 50, 100, 3000] {
                    let edge = |grain: Grain| grain.edge(start, cap, |level| level <= truth);
                    let pass = truth.min(cap);
                    assert_eq!(edge(Grain::Request), (pass, pass + 1), "{truth} from {start} up to {cap}");
                    let (pass, fail) = edge(Grain::Fiftieth);
                    assert!(pass <= truth && (truth < fail || fail > cap), "{truth} from {start} up to {cap}");
                    assert!(fail - pass <= 1 + pass / 25 || fail > cap && cap - pass <= cap / 25, "{pass} {fail}");
                }
            }
        }
    }
}
