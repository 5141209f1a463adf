//! Watches a running probe and says when nothing more can be learnt from it.

use crate::protocol::Event;
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla};
use crate::units::{Concurrency, Seconds};

/// Whether to go on with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Some SLA of interest can still go either way.
    GoOn,
    /// Every verdict stands, whatever the requests in flight do.
    Stop,
}

/// Follows the requests of one probe of a burst load under the SLAs that it can still tell something about.
///
/// The number of judged requests must be known beforehand, which it is for a burst; a sustained probe is never
/// stopped early by this watch.
#[derive(Debug)]
pub struct Watch {
    total: u32,
    slas: Vec<Following>,
}

#[derive(Debug)]
struct Following {
    sla: Sla,
    ok: u32,
    /// Requests known to have failed; a late first token is known at once, before the request ends.
    failed: Vec<bool>,
    failures: u32,
}

impl Watch {
    /// Watches a burst of `concurrency` requests for the sake of `slas`.
    pub fn new(concurrency: Concurrency, slas: impl IntoIterator<Item = Sla>) -> Self {
        let total = concurrency.get();
        let follow = |sla| Following { sla, ok: 0, failed: vec![false; total as usize], failures: 0 };
        Self { total, slas: slas.into_iter().map(follow).collect() }
    }

    /// Takes note of what a worker reports. Other events than those of a request change nothing.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::First { index, ttft_s } => self.first(*index, *ttft_s),
            Event::Ended(record) if record.judged => self.ended(record),
            _ => {}
        }
    }

    /// A request's first token came.
    pub fn first(&mut self, index: u32, ttft: Seconds) {
        for following in &mut self.slas {
            if ttft > following.sla.ttft {
                following.fail(index);
            }
        }
    }

    /// A request ended.
    pub fn ended(&mut self, record: &RequestRecord) {
        for following in &mut self.slas {
            match following.sla.judge(record) {
                Outcome::Ok => following.ok += 1,
                Outcome::Failed => following.fail(record.index),
                Outcome::Undetermined => debug_assert!(record.end != RequestEnd::Finished, "an end decides"),
            }
        }
    }

    /// Whether the probe can still change a verdict.
    pub fn advice(&self) -> Advice {
        let decided = |following: &Following| {
            let needed = following.sla.ok_rate.least_of(self.total);
            following.ok >= needed || following.failures > self.total - needed
        };
        if self.slas.iter().all(decided) { Advice::Stop } else { Advice::GoOn }
    }
}

impl Following {
    fn fail(&mut self, index: u32) {
        let known = self.failed.get_mut(index as usize).map(|known| std::mem::replace(known, true));
        self.failures += u32::from(known == Some(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::testing::request;
    use crate::units::Share;

    fn sla(ok_rate: f64, ttft: f64) -> Sla {
        let ok_rate = Share::new(ok_rate).unwrap();
        Sla { ok_rate, ttft: Seconds::new(ttft).unwrap(), tpot: None, e2e: None, min_tokens_per_second: None }
    }

    fn held(index: u32, ttft: f64) -> RequestRecord {
        RequestRecord { index, ..request(Some(ttft), 4, Some(ttft + 1.0), RequestEnd::Held, ttft + 1.0) }
    }

    #[test]
    fn one_late_token_decides_a_strict_sla_but_not_a_lax_one() {
        let burst = Concurrency::new(4).unwrap();
        let late = Seconds::new(2.0).unwrap();
        let mut strict = Watch::new(burst, [sla(1.0, 1.0)]);
        strict.first(0, late);
        assert_eq!(strict.advice(), Advice::Stop);
        let mut both = Watch::new(burst, [sla(1.0, 1.0), sla(1.0, 3.0)]);
        both.first(0, late);
        both.ended(&held(0, 2.0));
        assert_eq!(both.advice(), Advice::GoOn);
    }

    #[test]
    fn a_failure_seen_twice_counts_once() {
        let mut watch = Watch::new(Concurrency::new(4).unwrap(), [sla(0.75, 1.0)]);
        watch.first(0, Seconds::new(2.0).unwrap());
        watch.ended(&held(0, 2.0));
        assert_eq!(watch.advice(), Advice::GoOn);
        watch.first(1, Seconds::new(2.0).unwrap());
        assert_eq!(watch.advice(), Advice::Stop);
    }

    #[test]
    fn enough_ok_requests_decide_too() {
        let mut watch = Watch::new(Concurrency::new(4).unwrap(), [sla(0.75, 1.0)]);
        for index in 0..3 {
            assert_eq!(watch.advice(), Advice::GoOn);
            watch.ended(&held(index, 0.5));
        }
        assert_eq!(watch.advice(), Advice::Stop);
    }
}
