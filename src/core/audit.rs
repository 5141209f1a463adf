//! Whether a probe measured the engine, or something else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::Workload;
use crate::protocol::{HarnessSeen, Measured};
use crate::sla::Sla;
use crate::telemetry::Telemetry;
use crate::units::Seconds;
use crate::watch::Until;

/// The part of a TTFT limit that the harness may add by itself.
const TOLERANCE: f64 = 0.02;

/// What a look at a probe says; of several things that which weighs most.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audit {
    /// It measured the engine.
    Clean,
    /// Requests were handed over, or outputs stamped, so late that the harness is part of what was measured.
    HarnessBound {
        /// The longest delay that the harness added.
        delay_s: Seconds,
    },
    /// Heat or lack of power slowed a GPU down: the engine is faster where neither does. Its telemetry says what was seen.
    Throttled,
    /// The engine took prompt tokens from its prefix cache that the workload did not ask to share: they cost nothing, so
    /// the times are those of shorter prompts.
    Void {
        /// Such tokens, over all requests.
        cached_tokens: u64,
    },
}

impl Audit {
    /// Whether the harness was so late that it has a part in how requests fared under this SLA.
    pub fn is_harness_bound_for(self, sla: &Sla) -> bool {
        matches!(self, Self::HarnessBound { delay_s } if is_late_for(sla, delay_s))
    }
}

/// Whether outputs were stamped so late that later tokens seem late under this SLA too: a late hand-over delays first tokens only.
pub(crate) fn is_stamped_late_for(harness: &HarnessSeen, sla: &Sla) -> bool {
    harness.lag_s.is_some_and(|lag_s| is_late_for(sla, lag_s))
}

fn is_late_for(sla: &Sla, delay_s: Seconds) -> bool {
    delay_s.get() > TOLERANCE * sla.ttft.get()
}

/// Looks at a probe that was measured for this, of a ladder with these SLAs. The harness is late where it is for an SLA whose
/// verdict was asked for: a large burst takes longer to hand over than the tightest limit of a grid allows, and is there for
/// a laxer one.
pub fn audit(
    measured: &Measured,
    telemetry: Option<&Telemetry>,
    workload: &Workload,
    slas: &[Sla],
    until: &Until,
) -> Audit {
    let shared = workload.shared_prefix;
    let unasked = measured.requests.iter().filter_map(|request| request.cached_tokens?.checked_sub(shared));
    let cached_tokens: u64 = unasked.map(u64::from).sum();
    if cached_tokens > 0 {
        return Audit::Void { cached_tokens };
    }
    let harness = &measured.harness;
    let delay_s = harness.submit_delay_s.max(harness.lag_s).unwrap_or(Seconds::ZERO);
    let is_asked = |index: usize| match until {
        Until::Decided(which) => which.contains(&index),
        Until::FirstTokens => true,
    };
    if slas.iter().enumerate().any(|(index, sla)| is_asked(index) && is_late_for(sla, delay_s)) {
        Audit::HarnessBound { delay_s }
    } else if telemetry.is_some_and(|seen| seen.throttled_by().next().is_some()) {
        Audit::Throttled
    } else {
        Audit::Clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::testing::{measured, workload};
    use crate::telemetry::{GpuSeen, Throttle};
    use crate::units::Share;

    /// Of 5 s, and of 1 s.
    fn slas() -> [Sla; 2] {
        [5.0, 1.0].map(|ttft| Sla {
            ok_rate: Share::ALL,
            ttft: Seconds::new(ttft).unwrap(),
            tpot: None,
            e2e: None,
            min_tokens_per_second: None,
        })
    }

    fn both() -> Until {
        Until::Decided(vec![0, 1])
    }

    fn late(delay_s: f64) -> Audit {
        Audit::HarnessBound { delay_s: Seconds::new(delay_s).unwrap() }
    }

    fn with(submit: Option<f64>, lag: Option<f64>, until: &Until) -> Audit {
        let mut measured = measured(&[0.5]);
        let seconds = |value: Option<f64>| value.and_then(Seconds::new);
        measured.harness = HarnessSeen { cpu_us_per_token: None, submit_delay_s: seconds(submit), lag_s: seconds(lag) };
        audit(&measured, None, &workload(), &slas(), until)
    }

    #[test]
    fn the_harness_may_add_two_percent_of_the_tightest_limit() {
        for until in [both(), Until::FirstTokens] {
            assert_eq!(with(None, None, &until), Audit::Clean);
            assert_eq!(with(Some(0.02), Some(0.001), &until), Audit::Clean);
            assert_eq!(with(Some(0.021), None, &until), late(0.021));
            assert_eq!(with(Some(0.001), Some(0.5), &until), late(0.5));
        }
    }

    #[test]
    fn what_was_not_asked_does_not_make_the_harness_late() {
        let [lax, tight] = [0, 1].map(|index| Until::Decided(vec![index]));
        assert_eq!(with(Some(0.035), None, &tight), late(0.035));
        assert_eq!(with(Some(0.035), None, &lax), Audit::Clean);
        assert_eq!(with(Some(0.101), None, &lax), late(0.101));
    }

    #[test]
    fn a_late_harness_binds_the_slas_that_it_is_late_for() {
        let bound = |audit: Audit| slas().map(|sla| audit.is_harness_bound_for(&sla));
        assert_eq!(bound(late(0.035)), [false, true]);
        assert_eq!(bound(late(0.101)), [true, true]);
        assert_eq!(bound(Audit::Clean), [false, false]);
    }

    #[test]
    fn cached_tokens_that_nobody_asked_for_void_a_probe() {
        let cached = |tokens, shared_prefix| {
            let mut measured = measured(&[0.5, 0.6]);
            measured.requests[1].cached_tokens = Some(tokens);
            audit(&measured, None, &Workload { shared_prefix, ..workload() }, &slas(), &both())
        };
        assert_eq!(cached(0, 0), Audit::Clean);
        assert_eq!(cached(16, 0), Audit::Void { cached_tokens: 16 });
        assert_eq!(cached(16, 16), Audit::Clean);
        assert_eq!(cached(48, 16), Audit::Void { cached_tokens: 32 });
    }

    #[test]
    fn a_hot_gpu_is_named_where_nothing_weighs_more() {
        let gpu = GpuSeen { throttle: Some([Throttle::HwThermalSlowdown].into()), ..GpuSeen::default() };
        let hot = Telemetry { gpus: vec![gpu], ..Telemetry::default() };
        let mut probe = measured(&[0.5]);
        assert_eq!(audit(&probe, Some(&hot), &workload(), &slas(), &both()), Audit::Throttled);
        assert_eq!(audit(&probe, Some(&Telemetry::default()), &workload(), &slas(), &both()), Audit::Clean);
        probe.harness.lag_s = Seconds::new(0.5);
        assert!(matches!(audit(&probe, Some(&hot), &workload(), &slas(), &both()), Audit::HarnessBound { .. }));
    }
}
