//! Watches a running probe and says when nothing more can be learnt from it.

use rustc_hash::FxHashSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Load, LoadPlan};
use crate::protocol::Event;
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla};
use crate::units::{Seconds, Share};

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

/// Part of a limit by which a moment must be past it before what has not been heard of is taken to have missed it: requests are
/// handed over one after the other, and their tokens told one after the other.
const GRACE: f64 = 0.02;

/// Follows the requests of one probe under the SLAs that it can still tell something about.
///
/// | load | judged requests are known | it stops |
/// | --- | --- | --- |
/// | burst | from the beginning | once the verdict of each SLA is certain |
/// | sustained | once its window has closed | then, and once it is known of each of them whether it was late |
///
/// Where the engine's own failures have made the verdict, it goes on until it is certain how the other requests fare: how many the
/// engine fails does not hang on the level, how many are late does.
///
/// Of a sustained load it is not enough to know the verdict: how many were late shows how far the level is from the ceiling.
/// Limits on what follows the first token are known of no request before it ends, so that a probe under one is not stopped.
#[derive(Debug)]
pub struct Watch {
    load: Load,
    goal: Goal,
    /// Judged requests, once it is known how many there are, and the moment from which on none of them is younger.
    judged: Option<(u32, Seconds)>,
    /// Requests that have a first token or an end, by index.
    heard: FxHashSet<u32>,
    /// The latest moment heard of, since the probe began.
    clock: f64,
}

#[derive(Debug)]
enum Goal {
    Decided(Vec<Following>),
    /// First tokens within this time.
    FirstTokens(Seconds),
}

/// The SLAs that differ in nothing but how many requests must keep them: what becomes of a request is the same under all of them.
#[derive(Debug)]
struct Following {
    sla: Sla,
    ok_rates: Vec<Share>,
    ok: u32,
    /// Requests known to have missed a limit; a late first token is known at once, before the request ends.
    late: FxHashSet<u32>,
    /// Requests that the engine failed.
    errors: FxHashSet<u32>,
}

impl Watch {
    /// Watches a probe of this load on a ladder with these SLAs.
    pub fn new(load: &LoadPlan, slas: &[Sla], until: &Until) -> Self {
        let goal = match until {
            Until::Decided(which) => Goal::Decided(Following::each(which.iter().filter_map(|index| slas.get(*index)))),
            Until::FirstTokens => Goal::FirstTokens(load.patience),
        };
        let judged = (load.load == Load::Burst).then_some((load.concurrency.get(), Seconds::ZERO));
        Self { load: load.load, goal, judged, heard: FxHashSet::default(), clock: 0.0 }
    }

    /// Takes note of what a worker reports. Other events than those of a probe change nothing.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::First { index, ttft_s } => self.first(*index, *ttft_s),
            Event::Ended(record) => self.ended(record),
            Event::WindowClosed { judged, at_s } => self.judged = Some((*judged, *at_s)),
            _ => {}
        }
    }

    /// A judged request's first token came.
    pub fn first(&mut self, index: u32, ttft: Seconds) {
        self.heard.insert(index);
        if self.load == Load::Burst {
            // The requests of a burst are as old as the probe.
            self.clock = self.clock.max(ttft.get());
        }
        if let Goal::Decided(slas) = &mut self.goal {
            for following in slas.iter_mut().filter(|following| ttft > following.sla.ttft) {
                following.late.insert(index);
            }
        }
    }

    /// A request ended.
    pub fn ended(&mut self, record: &RequestRecord) {
        self.clock = self.clock.max(record.ended_s.get());
        if !record.judged {
            return;
        }
        self.heard.insert(record.index);
        if let Goal::Decided(slas) = &mut self.goal {
            for following in slas {
                match following.sla.judge(record) {
                    Outcome::Ok => following.ok += 1,
                    Outcome::Failed if matches!(record.end, RequestEnd::Failed { .. }) => {
                        following.late.remove(&record.index);
                        following.errors.insert(record.index);
                    }
                    Outcome::Failed => {
                        following.late.insert(record.index);
                    }
                    Outcome::Undetermined => debug_assert!(record.end != RequestEnd::Finished, "an end decides"),
                }
            }
        }
    }

    /// Whether the probe can still tell anything.
    pub fn advice(&self) -> Advice {
        let Some((judged, youngest)) = self.judged else { return Advice::GoOn };
        let unheard = judged.saturating_sub(self.heard.len() as u32);
        // Whoever has not been heard of by its limit has missed it.
        let overdue = |limit: Seconds| {
            let is_past = self.clock > youngest.get() + limit.get() * (1.0 + GRACE);
            if is_past { unheard } else { 0 }
        };
        let over = match &self.goal {
            Goal::Decided(slas) => slas.iter().all(|following| {
                let overdue = overdue(following.sla.ttft);
                let is_known = self.load == Load::Burst || unheard == overdue && !following.sla.limits_later();
                is_known && following.is_decided(judged, overdue)
            }),
            Goal::FirstTokens(within) => unheard == 0 || self.clock > within.get(),
        };
        if over { Advice::Stop } else { Advice::GoOn }
    }
}

impl Following {
    /// All of these SLAs.
    fn each<'a>(slas: impl Iterator<Item = &'a Sla>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for sla in slas {
            match all.iter_mut().find(|other| Sla { ok_rate: sla.ok_rate, ..other.sla } == *sla) {
                Some(alike) => alike.ok_rates.push(sla.ok_rate),
                None => all.push(Self {
                    sla: *sla,
                    ok_rates: vec![sla.ok_rate],
                    ok: 0,
                    late: FxHashSet::default(),
                    errors: FxHashSet::default(),
                }),
            }
        }
        all
    }

    /// Whether the requests still in flight change nothing any more, where so many that were never heard of are overdue.
    fn is_decided(&self, judged: u32, overdue: u32) -> bool {
        let (late, errors) = (self.late.len() as u32 + overdue, self.errors.len() as u32);
        let answered = judged.saturating_sub(errors);
        self.ok_rates.iter().all(|ok_rate| {
            let (needed, of_answered) = (ok_rate.least_of(judged), ok_rate.least_of(answered));
            let fails = late + errors > judged - needed;
            self.ok >= needed || late > answered - of_answered || fails && self.ok >= of_answered
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Hold;
    use crate::request::testing::request;
    use crate::units::Concurrency;

    /// Watches a burst for the sake of all these SLAs.
    fn watch(concurrency: u32, slas: &[Sla]) -> Watch {
        Watch::new(&burst(concurrency), slas, &Until::Decided((0..slas.len()).collect()))
    }

    fn burst(concurrency: u32) -> LoadPlan {
        LoadPlan {
            load: Load::Burst,
            concurrency: Concurrency::new(concurrency).unwrap(),
            hold: Hold::UntilFinished,
            window: Seconds::ZERO,
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
    fn failures_of_the_engine_do_not_keep_the_other_requests_from_being_seen() {
        let begun = || {
            let mut watch = watch(4, &[sla(1.0, 5.0)]);
            watch.ended(&request(None, 0, None, RequestEnd::Failed { reason: "no".into() }, 0.1));
            assert_eq!(watch.advice(), Advice::GoOn);
            (1..3).for_each(|index| watch.ended(&held(index, 0.5)));
            assert_eq!(watch.advice(), Advice::GoOn);
            watch
        };
        let (mut in_time, mut late) = (begun(), begun());
        late.first(3, Seconds::new(5.1).unwrap());
        assert_eq!(late.advice(), Advice::Stop);
        in_time.ended(&held(3, 0.5));
        assert_eq!(in_time.advice(), Advice::Stop);
    }

    #[test]
    fn an_engine_that_fails_everything_is_not_waited_for() {
        let mut watch = watch(2, &[sla(0.5, 1.0)]);
        for index in 0..2 {
            assert_eq!(watch.advice(), Advice::GoOn);
            let failed = request(None, 0, None, RequestEnd::Failed { reason: "no".into() }, 0.1);
            watch.ended(&RequestRecord { index, ..failed });
        }
        assert_eq!(watch.advice(), Advice::Stop);
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

    /// A sustained load of two in flight, of which requests 2 to 5 are judged; the window closes at 8 s.
    fn sustained(sla: Sla) -> Watch {
        Watch::new(&LoadPlan { load: Load::Sustained, ..burst(2) }, &[sla], &Until::Decided(vec![0]))
    }

    fn closed() -> Event {
        Event::WindowClosed { judged: 4, at_s: Seconds::new(8.0).unwrap() }
    }

    fn tokens(watch: &mut Watch, ttfts: [f64; 3]) {
        for (index, ttft) in (2..).zip(ttfts) {
            watch.first(index, Seconds::new(ttft).unwrap());
        }
    }

    #[test]
    fn a_sustained_load_is_not_stopped_before_its_window_has_closed_and_all_first_tokens_have_come() {
        let mut watch = sustained(sla(0.75, 1.0));
        tokens(&mut watch, [2.0, 2.0, 0.5]);
        assert_eq!(watch.advice(), Advice::GoOn);
        watch.observe(&closed());
        assert_eq!(watch.advice(), Advice::GoOn);
        watch.first(5, Seconds::new(0.7).unwrap());
        assert_eq!(watch.advice(), Advice::Stop);
    }

    #[test]
    fn nor_before_those_that_have_not_been_heard_of_are_overdue() {
        let mut watch = sustained(sla(0.75, 1.0));
        tokens(&mut watch, [2.0, 0.5, 0.5]);
        watch.observe(&closed());
        let unjudged =
            |ended: f64| RequestRecord { judged: false, ..request(Some(0.5), 4, None, RequestEnd::Finished, ended) };
        watch.ended(&unjudged(8.9));
        assert_eq!(watch.advice(), Advice::GoOn);
        // The last of them is submitted by 8 s, so that by 9 s the second of four is late.
        watch.ended(&unjudged(9.1));
        assert_eq!(watch.advice(), Advice::Stop);
    }

    #[test]
    fn nor_under_a_limit_on_later_tokens() {
        let mut watch = sustained(Sla { e2e: Seconds::new(9.0), ..sla(0.75, 1.0) });
        tokens(&mut watch, [2.0, 2.0, 2.0]);
        watch.first(5, Seconds::new(2.0).unwrap());
        watch.observe(&closed());
        assert_eq!(watch.advice(), Advice::GoOn);
    }

    #[test]
    fn a_sustained_load_that_may_yet_pass_goes_on() {
        let mut watch = sustained(sla(0.75, 1.0));
        tokens(&mut watch, [2.0, 0.5, 0.5]);
        watch.first(5, Seconds::new(0.5).unwrap());
        watch.observe(&closed());
        assert_eq!(watch.advice(), Advice::GoOn);
        (3..6).for_each(|index| watch.ended(&held(index, 0.5)));
        assert_eq!(watch.advice(), Advice::Stop);
    }

    #[test]
    fn a_worker_that_tells_of_requests_that_nobody_made_does_no_harm() {
        let mut watch = watch(2, &[sla(1.0, 1.0)]);
        for index in [0, 1, 7, u32::MAX] {
            assert_eq!(watch.advice(), Advice::GoOn);
            watch.first(index, Seconds::new(0.5).unwrap());
        }
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
