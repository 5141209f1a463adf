//! Which probes of a ladder are evidence.

use ceiling_core::audit::Audit;
use ceiling_core::units::Concurrency;

/// Keeps what did not measure the engine from being taken for evidence.
#[derive(Default)]
pub struct Guard {
    /// Void probes in a row.
    void: u32,
    /// The level whose last probe is being repeated, the harness having been late.
    repeating: Option<Concurrency>,
    /// The lowest level at which the harness was late again in a repeated probe: from there on it always may be, and probes
    /// are flagged only. It has less to do at lower ones.
    late_from: Option<Concurrency>,
}

impl Guard {
    /// Whether a probe is evidence. One that is not is asked for again by the search.
    pub fn counts(&mut self, level: Concurrency, audit: Audit) -> bool {
        let repeated = self.repeating.take() == Some(level);
        self.void = if matches!(audit, Audit::Void { .. }) { self.void + 1 } else { 0 };
        match audit {
            Audit::Clean | Audit::Throttled => true,
            Audit::Void { .. } => false,
            Audit::HarnessBound { .. } if self.late_from.is_some_and(|from| level >= from) => true,
            Audit::HarnessBound { .. } if repeated => {
                self.late_from = Some(level);
                true
            }
            Audit::HarnessBound { .. } => {
                self.repeating = Some(level);
                false
            }
        }
    }

    /// Why the ladder cannot be measured, after too many void probes.
    pub fn gives_up(&self) -> Option<String> {
        const MOST: u32 = 3;
        let reason = "the engine keeps taking prompts from its prefix cache that no two requests share: set \
                      engine.enable_prefix_caching = false, or workload.shared_prefix if that is meant";
        (self.void >= MOST).then(|| reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use ceiling_core::units::Seconds;

    use super::*;

    const CLEAN: Audit = Audit::Clean;
    const VOID: Audit = Audit::Void { cached_tokens: 16 };

    fn late() -> Audit {
        Audit::HarnessBound { delay_s: Seconds::new(0.1).unwrap() }
    }

    /// Whether each of these probes is evidence.
    fn counted(probes: &[(u32, Audit)]) -> Vec<bool> {
        let mut guard = Guard::default();
        probes.iter().map(|&(level, audit)| guard.counts(Concurrency::new(level).unwrap(), audit)).collect()
    }

    #[test]
    fn a_probe_of_a_late_harness_is_repeated_once() {
        assert_eq!(counted(&[(8, late()), (8, CLEAN), (9, late())]), [false, true, false]);
        assert_eq!(counted(&[(8, late()), (9, late()), (9, late())]), [false, false, true]);
    }

    #[test]
    fn where_the_harness_is_always_late_probes_are_flagged_only_and_below_they_are_repeated() {
        let probes = [(80, late()), (80, late()), (90, late()), (80, late()), (20, late()), (20, late()), (30, late())];
        assert_eq!(counted(&probes), [false, true, true, true, false, true, true]);
    }

    #[test]
    fn a_ladder_is_given_up_after_three_void_probes_in_a_row() {
        let given_up = |audits: &[Audit]| {
            let mut guard = Guard::default();
            for &audit in audits {
                guard.counts(Concurrency::ONE, audit);
            }
            guard.gives_up().is_some()
        };
        assert!(!given_up(&[VOID, VOID, CLEAN, VOID, VOID]));
        assert!(given_up(&[CLEAN, VOID, VOID, VOID]));
    }
}
