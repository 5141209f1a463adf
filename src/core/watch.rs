//! Watches a running probe and says when nothing more can be learnt from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Load, LoadPlan};
use crate::protocol::Event;
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla};
use crate::units::Seconds;

/// Whether to go on with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// There is more to learn.
    GoOn,
    /// Whatever the requests in flight do changes nothing any more.
    Stop,
}

/// What a probe is measured for.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// The verdicts of these SLAs, by index.
    Decided(Vec<usize>),
    /// The times of the first tokens, as far as they are waited for: nothing is held.
    FirstTokens,
}

/// Part of a limit by which a moment must be past it before what has not been heard of is taken to have missed it:
/// the requests of a burst are handed over one after the other, and their tokens told one after the other.
const GRACE: f64 = 0.02;

/// Follows the requests of one probe of a burst load under the SLAs that it can still tell something about.
///
/// The number of judged requests must be known beforehand, which it is for a burst; a sustained probe is never
/// stopped early by this watch.
#[derive(Debug)]
pub struct Watch {
    load: Load,
    goal: Goal,
    /// Requests that have a first token or an end.
    heard: Vec<bool>,
    heard_of: usize,
    /// The latest moment heard of, since the probe began.
    clock: f64,
}

#[derive(Debug)]
enum Goal {
    Decided(Vec<Following>),
    /// First tokens within this time.
    FirstTokens(Seconds),
}

#[derive(Debug)]
struct Following {
    sla: Sla,
    ok: u32,
    /// Requests known to have failed; a late first token is known at once, before the request ends.
    failed: Vec<bool>,
    failures: u32,
    /// Whether all that had not been heard of by the TTFT limit were counted as failed.
    overdue_counted: bool,
}

impl Watch {
    /// Watches a probe of this load on a ladder with these SLAs.
    pub fn new(load: &LoadPlan, slas: &[Sla], until: &Until) -> Self {
        let total = load.concurrency.get() as usize;
        let follow =
            |sla: &Sla| Following { sla: *sla, ok: 0, failed: vec![false; total], failures: 0, overdue_counted: false };
        let goal = match until {
            Until::Decided(which) => {
                Goal::Decided(which.iter().filter_map(|index| slas.get(*index)).map(follow).collect())
            }
            Until::FirstTokens => Goal::FirstTokens(load.patience),
        };
        Self { load: load.load, goal, heard: vec![false; total], heard_of: 0, clock: 0.0 }
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
        self.hear(index, ttft);
        if let Goal::Decided(slas) = &mut self.goal {
            for following in slas.iter_mut().filter(|following| ttft > following.sla.ttft) {
                following.fail(index);
            }
        }
        self.count_overdue();
    }

    /// A request ended.
    pub fn ended(&mut self, record: &RequestRecord) {
        self.hear(record.index, record.ended_s);
        if let Goal::Decided(slas) = &mut self.goal {
            for following in slas {
                match following.sla.judge(record) {
                    Outcome::Ok => following.ok += 1,
                    Outcome::Failed => following.fail(record.index),
                    Outcome::Undetermined => debug_assert!(record.end != RequestEnd::Finished, "an end decides"),
                }
            }
        }
        self.count_overdue();
    }

    /// Whether the probe can still tell anything.
    pub fn advice(&self) -> Advice {
        let total = self.heard.len();
        let over = self.load == Load::Burst
            && match &self.goal {
                Goal::Decided(slas) => slas.iter().all(|following| following.is_decided(total as u32)),
                Goal::FirstTokens(within) => self.heard_of == total || self.clock > within.get(),
            };
        if over { Advice::Stop } else { Advice::GoOn }
    }

    fn hear(&mut self, index: u32, at: Seconds) {
        self.clock = self.clock.max(at.get());
        if let Some(heard) = self.heard.get_mut(index as usize) {
            self.heard_of += usize::from(!std::mem::replace(heard, true));
        }
    }

    /// The requests of a burst are as old as the probe: once one has been heard of past a limit, those that have not
    /// been heard of at all have missed it.
    fn count_overdue(&mut self) {
        let (Goal::Decided(slas), Load::Burst) = (&mut self.goal, self.load) else { return };
        for following in slas {
            if !following.overdue_counted && self.clock > following.sla.ttft.get() * (1.0 + GRACE) {
                following.overdue_counted = true;
                let unheard = self.heard.iter().enumerate().filter(|(_, heard)| !**heard);
                unheard.for_each(|(index, _)| following.fail(index as u32));
            }
        }
    }
}

impl Following {
    fn fail(&mut self, index: u32) {
        let known = self.failed.get_mut(index as usize).map(|known| std::mem::replace(known, true));
        self.failures += u32::from(known == Some(false));
    }

    fn is_decided(&self, total: u32) -> bool {
        let needed = self.sla.ok_rate.least_of(total);
        self.ok >= needed || self.failures > total - needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Hold;
    use crate::request::testing::request;
    use crate::units::{Concurrency, Share};

    /// Watches a burst for the sake of all these SLAs.
    fn watch(concurrency: u32, slas: &[Sla]) -> Watch {
        Watch::new(&burst(concurrency), slas, &Until::Decided((0..slas.len()).collect()))
    }

    fn burst(concurrency: u32) -> LoadPlan {
        LoadPlan {
            load: Load::Burst,
            concurrency: Concurrency::new(concurrency).unwrap(),
            hold: Hold::UntilFinished,
            patience: Seconds::new(10.0).unwrap(),
        }
    }

    fn sla(ok_rate: f64, ttft: f64) -> Sla {
        let ok_rate = Share::new(ok_rate).unwrap();
        Sla { ok_rate, ttft: Seconds::new(ttft).unwrap(), tpot: None, e2e: None, min_tokens_per_second: None }
    }

    fn held(index: u32, ttft: f64) -> RequestRecord {
        RequestRecord { index, ..request(Some(ttft), 4, Some(ttft + 1.0), RequestEnd::Held, ttft + 1.0) }
    }

    #[test]
    fn one_late_token_decides_a_strict_sla_but_not_a_lax_one() {
        let late = Seconds::new(2.0).unwrap();
        let mut strict = watch(4, &[sla(1.0, 1.0)]);
        strict.first(0, late);
        assert_eq!(strict.advice(), Advice::Stop);
        let mut both = watch(4, &[sla(1.0, 1.0), sla(1.0, 3.0)]);
        both.first(0, late);
        both.ended(&held(0, 2.0));
        assert_eq!(both.advice(), Advice::GoOn);
    }

    #[test]
    fn a_failure_seen_twice_counts_once() {
        let mut watch = watch(4, &[sla(0.75, 1.0)]);
        for index in 1..4 {
            watch.first(index, Seconds::new(0.5).unwrap());
        }
        watch.first(0, Seconds::new(2.0).unwrap());
        watch.ended(&held(0, 2.0));
        assert_eq!(watch.advice(), Advice::GoOn);
    }

    #[test]
    fn what_was_not_heard_of_by_the_limit_has_missed_it() {
        let mut watch = watch(4, &[sla(0.75, 1.0)]);
        watch.first(0, Seconds::new(0.5).unwrap());
        watch.first(1, Seconds::new(1.0).unwrap());
        assert_eq!(watch.advice(), Advice::GoOn);
        // The third is late, so the fourth is as well.
        watch.first(2, Seconds::new(1.1).unwrap());
        assert_eq!(watch.advice(), Advice::Stop);
    }

    #[test]
    fn first_tokens_are_waited_for_as_long_as_anyone_has_patience() {
        let mut all = Watch::new(&burst(2), &[sla(1.0, 10.0)], &Until::FirstTokens);
        all.first(0, Seconds::new(0.5).unwrap());
        assert_eq!(all.advice(), Advice::GoOn);
        all.first(1, Seconds::new(0.6).unwrap());
        assert_eq!(all.advice(), Advice::Stop);
        let mut late = Watch::new(&burst(3), &[sla(1.0, 10.0)], &Until::FirstTokens);
        late.first(0, Seconds::new(10.5).unwrap());
        assert_eq!(late.advice(), Advice::Stop);
    }

    #[test]
    fn a_sustained_load_is_not_stopped() {
        let load = LoadPlan { load: Load::Sustained, ..burst(1) };
        let mut watch = Watch::new(&load, &[sla(1.0, 1.0)], &Until::Decided(vec![0]));
        watch.first(0, Seconds::new(2.0).unwrap());
        assert_eq!(watch.advice(), Advice::GoOn);
    }

    #[test]
    fn enough_ok_requests_decide_too() {
        let mut watch = watch(4, &[sla(0.75, 1.0)]);
        for index in 0..4 {
            watch.first(index, Seconds::new(0.5).unwrap());
        }
        for index in 0..3 {
            assert_eq!(watch.advice(), Advice::GoOn);
            watch.ended(&held(index, 0.5));
        }
        assert_eq!(watch.advice(), Advice::Stop);
    }
}
