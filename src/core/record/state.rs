//! All that the entries of a run add up to.

use std::collections::HashMap;

use crate::attribution::{LimitedBy, attribute_to_errors};
use crate::experiment::Engine;
use crate::load::Load;
use crate::plan::{Key, Plan};
use crate::protocol::Resolved;
use crate::search::{Answer, Status, certificate_seconds};
use crate::secret;
use crate::sla::{Sla, Tally, Verdict};
use crate::units::{Concurrency, Seconds};

use super::{
    Brief, CellRecord, EngineRecord, EngineVersion, Entry, ExperimentRecord, Failure, LadderRecord, ProbeRecord,
    Provenance, RUN_SCHEMA, Run, RunStatus,
};

/// What is known of a plan that is being carried out: a fold over its entries.
#[derive(Clone, Debug, Default)]
pub struct State {
    groups: HashMap<Key, GroupState>,
    ladders: HashMap<Key, LadderState>,
}

#[derive(Clone, Debug, Default)]
struct GroupState {
    resolved: Option<Resolved>,
    load_seconds: Option<Seconds>,
    loads: u32,
    failures: Vec<Failure>,
}

/// What is known of one ladder.
#[derive(Clone, Debug, Default)]
pub struct LadderState {
    /// Its probes so far.
    pub probes: Vec<ProbeRecord>,
    /// The answer to each of its cells, once it is over.
    pub answers: Option<HashMap<Key, Answer>>,
    /// Why it could not be measured.
    pub failure: Option<Failure>,
    /// Why it was left for another time.
    pub left: Option<String>,
    /// Number of its next probe; it goes on where an engine changed.
    pub next_number: u32,
}

impl LadderState {
    /// Forgets what was measured.
    fn forget(&mut self) {
        *self = Self { next_number: self.next_number, ..Self::default() };
    }

    /// What keeps the ceiling of this SLA from being higher, on a ladder of this load.
    fn limit(&self, answer: &Answer, place: usize, sla: &Sla, load: Load) -> Option<LimitedBy> {
        let level = answer.lowest_fail?;
        let above = || self.probes.iter().rev().filter(|probe| probe.is_evidence(load) && probe.concurrency >= level);
        let fails = |probe: &&ProbeRecord| probe.slas[place].verdict(sla.ok_rate) == Verdict::Fail;
        let failing = Self::lowest(above().filter(fails), place);
        // A share of failures so small that the one request of a probe most often escapes it shows in all probes only; what binds far above
        // one does not tell why not even one request is sustained. Nor does a probe that fails by the engine's failures alone tell whether
        // there are too many of them, since how many one meets is luck.
        let is_luck = match failing {
            Some((probe, limit)) => {
                answer.status == Status::BelowOne && probe.concurrency > Concurrency::ONE
                    || fails_by_errors_alone(probe.slas[place], limit.errors, sla)
            }
            None => answer.status == Status::BelowOne,
        };
        let of_all = || {
            let answered = self.probes.iter().filter(|probe| probe.counts).map(|probe| probe.answered);
            attribute_to_errors(answered.sum(), sla.ok_rate)
        };
        let of_one = || failing.or_else(|| Self::lowest(above(), place)).map(|(_, limit)| limit);
        is_luck.then(of_all).flatten().or_else(of_one)
    }

    /// The first of these probes that has the lowest level, and what bound the engine in it: a level fails in the long run, and the probe that
    /// was made at it may have been a lucky one, so that one at the next above it tells more, or if none failed what the lucky one would have
    /// failed by.
    fn lowest<'a>(probes: impl Iterator<Item = &'a ProbeRecord>, place: usize) -> Option<(&'a ProbeRecord, LimitedBy)> {
        let limited = probes.filter_map(|probe| Some((probe, (*probe.limits.get(place)?)?)));
        limited.min_by_key(|(probe, _)| probe.concurrency)
    }

    /// Engine time of all probes over that of the least that could prove the answers.
    fn certificate_ratio(&self) -> Option<f64> {
        let cost = |probe: &ProbeRecord| (probe.concurrency, probe.until.clone(), probe.seconds);
        let costs: Vec<_> = self.probes.iter().map(cost).collect();
        let answers: Vec<Answer> = self.answers.as_ref()?.values().copied().collect();
        let certificate = certificate_seconds(&answers, &costs)?;
        Some(self.engine_seconds() / certificate.get())
    }

    fn engine_seconds(&self) -> f64 {
        self.probes.iter().map(|probe| probe.seconds.get()).sum()
    }
}

/// Whether the requests of a probe that fails, other than those that the engine failed, keep an SLA by themselves.
fn fails_by_errors_alone(tally: Tally, errors: u32, sla: &Sla) -> bool {
    let others = Tally { failed: tally.failed.saturating_sub(errors), ..tally };
    others.verdict(sla.ok_rate) == Verdict::Pass
}

impl State {
    /// Takes in what happened.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Loaded { group, resolved, seconds } => {
                let state = self.groups.entry(*group).or_default();
                state.resolved = Some((**resolved).clone());
                state.load_seconds = Some(*seconds);
                state.loads += 1;
            }
            Entry::EngineChanged { ladders, .. } => {
                for ladder in ladders {
                    self.ladders.entry(*ladder).and_modify(LadderState::forget);
                }
            }
            Entry::EngineFailed { group, failure } => {
                self.groups.entry(*group).or_default().failures.push(failure.clone());
            }
            Entry::Probed(probe) => self.add_probe(probe.ladder, ProbeRecord::new(probe)),
            Entry::Answered { ladder, cells, answers } => {
                let state = self.ladders.entry(*ladder).or_default();
                state.answers = Some(cells.iter().copied().zip(answers.iter().copied()).collect());
                state.failure = None;
            }
            Entry::LadderLeft { ladder, reason } => {
                self.ladders.entry(*ladder).or_default().left = Some(reason.clone());
            }
            Entry::LadderFailed { ladder, cells, answers, failure } => {
                let state = self.ladders.entry(*ladder).or_default();
                state.answers = Some(cells.iter().copied().zip(answers.iter().copied()).collect());
                state.failure = Some(failure.clone());
            }
        }
    }

    /// Takes in a probe of a ladder that is summed up already.
    pub fn add_probe(&mut self, ladder: Key, probe: ProbeRecord) {
        let state = self.ladders.entry(ladder).or_default();
        state.next_number = state.next_number.max(probe.number + 1);
        state.probes.push(probe);
    }

    /// Forgets what was measured of a ladder. Its next probe is numbered no lower than this: lower ones were made, though they count no more.
    pub fn begin_anew(&mut self, ladder: Key, next_number: u32) {
        let state = self.ladders.entry(ladder).or_default();
        state.forget();
        state.next_number = state.next_number.max(next_number);
    }

    /// What the engine of a group made of its configuration, if it has come up.
    pub fn resolved(&self, group: &Key) -> Option<&Resolved> {
        self.groups.get(group)?.resolved.as_ref()
    }

    /// What is known of a ladder, if anything is.
    pub fn ladder(&self, key: &Key) -> Option<&LadderState> {
        self.ladders.get(key)
    }

    /// What is published of one experiment of the plan.
    pub fn publish(&self, plan: &Plan, experiment: usize, heading: Heading) -> Run {
        let head = &plan.experiments[experiment];
        let cells: Vec<_> = plan.cells.iter().filter(|cell| cell.experiment == experiment).collect();
        let mine =
            |ladder: usize| plan.ladders[ladder].cells.iter().any(|&cell| plan.cells[cell].experiment == experiment);
        let ladders: Vec<usize> = (0..plan.ladders.len()).filter(|&ladder| mine(ladder)).collect();
        let groups = (0..plan.groups.len()).filter(|group| ladders.iter().any(|&l| plan.ladders[l].group == *group));
        let engines: Vec<_> = groups.map(|group| self.engine_record(plan, group)).collect();
        let cells: Vec<_> = cells.into_iter().map(|cell| self.cell_record(plan, cell)).collect();
        let is_simulated = |group: &crate::plan::EngineGroup| matches!(*group.engine, Engine::Sim(_));
        let is_answered = cells.iter().all(CellRecord::is_answered);
        let status = match (is_answered, head.left_out, heading.interrupted) {
            (true, 0, _) => RunStatus::Complete,
            (false, _, true) => RunStatus::Interrupted,
            _ => RunStatus::Partial,
        };
        Run {
            schema: RUN_SCHEMA,
            run_id: heading.run_id,
            status,
            left_out: head.left_out,
            simulated: ladders.iter().all(|&ladder| is_simulated(&plan.groups[plan.ladders[ladder].group])),
            started: heading.started,
            finished: heading.finished,
            experiment: ExperimentRecord {
                name: head.name.to_string(),
                description: head.description.clone(),
                digest: head.digest,
                source: head.source.clone(),
            },
            provenance: Provenance {
                engine: self.engine_version(plan, &engines),
                python: engines.iter().find_map(|engine| engine.resolved.as_ref()?.packages.get("python").cloned()),
                ..heading.provenance
            },
            brief: Brief::of(&cells),
            engines,
            ladders: ladders.into_iter().map(|ladder| self.ladder_record(plan, ladder)).collect(),
            cells,
        }
    }

    fn engine_version(&self, plan: &Plan, engines: &[EngineRecord]) -> Option<EngineVersion> {
        let (record, resolved) = engines.iter().find_map(|record| record.resolved.as_ref().map(|r| (record, r)))?;
        let group = plan.groups.iter().find(|group| group.key == record.key)?;
        let kind = match *group.engine {
            Engine::Vllm(_) => "vllm",
            Engine::Sim(_) => "sim",
        };
        Some(EngineVersion { kind: kind.to_owned(), version: resolved.version.clone() })
    }

    fn engine_record(&self, plan: &Plan, group: usize) -> EngineRecord {
        let group = &plan.groups[group];
        let state = self.groups.get(&group.key).cloned().unwrap_or_default();
        EngineRecord {
            key: group.key,
            label: group.label.clone(),
            files: group.files,
            args: secret::hide(serde_json::to_value(&*group.engine).unwrap_or_default()),
            resolved: state.resolved,
            load_seconds: state.load_seconds,
            loads: state.loads,
            failures: state.failures,
        }
    }

    fn ladder_record(&self, plan: &Plan, ladder: usize) -> LadderRecord {
        let ladder = &plan.ladders[ladder];
        let state = self.ladders.get(&ladder.key).cloned().unwrap_or_default();
        LadderRecord {
            id: ladder.id.clone(),
            key: ladder.key,
            engine: plan.groups[ladder.group].label.clone(),
            texts: ladder.texts,
            workload: (*ladder.workload).clone(),
            search: ladder.search,
            slas: ladder.cells.iter().map(|&cell| plan.cells[cell].sla).collect(),
            engine_s: Seconds::new(state.engine_seconds()).unwrap_or(Seconds::ZERO),
            certificate_ratio: state.certificate_ratio(),
            probes: state.probes,
        }
    }

    fn cell_record(&self, plan: &Plan, cell: &crate::plan::Cell) -> CellRecord {
        let ladder = &plan.ladders[cell.ladder];
        let state = self.ladders.get(&ladder.key);
        let answer = state.and_then(|state| state.answers.as_ref()?.get(&cell.key));
        let place = ladder.cells.iter().position(|&index| plan.cells[index].key == cell.key);
        let limit = answer.and_then(|answer| state?.limit(answer, place?, &cell.sla, ladder.workload.load));
        CellRecord {
            id: cell.id.clone(),
            key: cell.key,
            engine: plan.groups[ladder.group].label.clone(),
            ladder: ladder.id.clone(),
            axes: cell.axes.to_map(),
            sla: cell.sla,
            status: answer.map(|answer| answer.status),
            ceiling: answer.and_then(super::super::search::Answer::ceiling),
            highest_pass: answer.and_then(|answer| answer.highest_pass),
            lowest_fail: answer.and_then(|answer| answer.lowest_fail),
            confidence: answer.and_then(|answer| answer.confidence),
            limited_by: limit.map(|limit| limit.limit),
            limit,
            undecided: answer.filter(|a| a.status == Status::Undecided).and_then(|answer| answer.undecided),
            left: state.filter(|_| answer.is_none()).and_then(|state| state.left.clone()),
            failure: state
                .filter(|_| answer.is_some_and(|a| a.status == Status::Failed))
                .and_then(|s| s.failure.clone()),
        }
    }
}

/// What is known of a run as a whole, beside its entries.
#[derive(Clone, Debug)]
pub struct Heading {
    /// UTC time and short commit.
    pub run_id: String,
    /// When it was started, UTC, in RFC 3339.
    pub started: String,
    /// When it ended.
    pub finished: Option<String>,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Where it runs.
    pub provenance: Provenance,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::testing::{all, measured, sla, workload};
    use crate::attribution::{Answered, Limit, attribute};
    use crate::audit::Audit;
    use crate::protocol::Measured;
    use crate::record::Probe;
    use crate::units::Share;
    use crate::watch::Until;

    const QUICK: [f64; 2] = [0.2, 0.4];
    const NEARLY: [f64; 2] = [0.4, 0.9];
    const SLOW: [f64; 2] = [0.4, 1.4];

    /// A probe whose requests got their first token at these moments, in an engine that ran so many of its two at once.
    fn probe(concurrency: u32, first_tokens: &[f64], ran: u32, counts: bool) -> ProbeRecord {
        let mut measured: Measured = measured(first_tokens);
        measured.scheduler.running_peak = Some(ran);
        let engine = Resolved { max_num_seqs: Some(1), ..Resolved::default() };
        ProbeRecord::new(&Probe {
            ladder: Key::of(&serde_json::Value::Null),
            number: 0,
            concurrency: Concurrency::new(concurrency).unwrap(),
            until: Until::Decided(vec![0]),
            audit: Audit::Clean,
            counts,
            tallies: vec![Tally::of(&sla(), &measured.requests)],
            limits: vec![attribute(&measured, all(&measured), Audit::Clean, &sla(), &workload(), &engine)],
            telemetry: None,
            measured,
        })
    }

    fn found(lowest_fail: u32) -> Answer {
        let level = Concurrency::new(lowest_fail);
        Answer { status: Status::Found, highest_pass: level, lowest_fail: level, confidence: None, undecided: None }
    }

    #[test]
    fn failures_of_all_probes_tell_why_not_one_request_is_sustained_where_none_of_one_failed() {
        let answered = |requests, errors| Answered { requests, errors };
        let failing = |errors| ProbeRecord { answered: answered(40, errors), ..probe(15, &SLOW, 2, true) };
        let lucky = || ProbeRecord { answered: answered(1, 0), ..probe(1, &QUICK[..1], 1, true) };
        let unlucky = || probe(1, &SLOW[1..], 2, true);
        let below_one = Answer {
            status: Status::BelowOne,
            highest_pass: None,
            lowest_fail: Some(Concurrency::ONE),
            confidence: None,
            undecided: None,
        };
        let table = [
            (vec![lucky(), failing(30)], Some(Limit::EngineError)),
            (vec![unlucky(), failing(30)], Some(Limit::Prefill)),
            // Too few to be the reason.
            (vec![lucky(), failing(0)], Some(Limit::Prefill)),
        ];
        for (probes, expected) in table {
            let state = LadderState { probes, ..LadderState::default() };
            assert_eq!(state.limit(&below_one, 0, &sla(), Load::Burst).map(|limit| limit.limit), expected);
        }
    }

    #[test]
    fn a_level_that_fails_by_the_engines_failures_alone_is_put_down_to_them_where_they_are_too_many() {
        // One of two is failed: the other is nearly late, so that the level fails by that one alone.
        let failing = || {
            let mut probe = probe(8, &NEARLY[1..], 2, true);
            probe.slas[0].failed += 1;
            probe.limits[0].as_mut().unwrap().errors = 1;
            ProbeRecord { answered: Answered { requests: 2, errors: 1 }, ..probe }
        };
        let below = |errors| ProbeRecord { answered: Answered { requests: 98, errors }, ..probe(4, &QUICK, 2, true) };
        let rate = |ok_rate| Sla { ok_rate: Share::new(ok_rate).unwrap(), ..sla() };
        let of = |probes: Vec<ProbeRecord>, ok_rate| {
            let state = LadderState { probes, ..LadderState::default() };
            state
                .limit(&found(8), 0, &rate(ok_rate), Load::Burst)
                .map(|limit| (limit.limit, limit.answered, limit.errors))
        };
        assert_eq!(of(vec![below(2), failing()], 0.95), Some((Limit::Prefill, Some(1), 1)), "3 of 100");
        assert_eq!(of(vec![below(5), failing()], 0.95), Some((Limit::EngineError, Some(100), 6)), "6 of 100");
        let mut late = failing();
        (late.slas[0].ok, late.slas[0].failed) = (0, 2);
        assert_eq!(of(vec![below(5), late], 0.95), Some((Limit::Prefill, Some(1), 1)), "the other is late too");
    }

    #[test]
    fn a_burst_to_the_first_tokens_tells_nothing_of_a_sustained_load() {
        let burst = ProbeRecord { until: Until::FirstTokens, ..probe(8, &SLOW, 1, true) };
        let state = LadderState { probes: vec![probe(9, &SLOW, 2, true), burst], ..LadderState::default() };
        let of = |load| state.limit(&found(8), 0, &sla(), load).map(|limit| limit.limit);
        assert_eq!(of(Load::Burst), Some(Limit::MaxNumSeqs));
        assert_eq!(of(Load::Sustained), Some(Limit::Prefill));
    }

    #[test]
    fn a_limit_is_that_of_the_newest_probe_that_fails_at_the_bound_or_next_above_it() {
        let (prefill, seqs) = (Some(Limit::Prefill), Some(Limit::MaxNumSeqs));
        let table = [
            ("the newest at the bound", vec![probe(8, &SLOW, 1, true), probe(8, &SLOW, 2, true)], prefill),
            ("one above is farther off", vec![probe(8, &SLOW, 1, true), probe(9, &SLOW, 2, true)], seqs),
            ("a lucky one at the bound", vec![probe(9, &SLOW, 1, true), probe(8, &QUICK, 2, true)], seqs),
            ("one below is of another level", vec![probe(7, &SLOW, 1, true), probe(8, &QUICK, 2, true)], None),
            ("one that is nearly late", vec![probe(7, &SLOW, 1, true), probe(8, &NEARLY, 2, true)], prefill),
            ("one that is late tells more", vec![probe(9, &SLOW, 1, true), probe(8, &NEARLY, 2, true)], seqs),
            ("one that is no evidence", vec![probe(8, &SLOW, 2, true), probe(8, &SLOW, 1, false)], prefill),
        ];
        for (what, probes, expected) in table {
            let state = LadderState { probes, ..LadderState::default() };
            assert_eq!(state.limit(&found(8), 0, &sla(), Load::Burst).map(|limit| limit.limit), expected, "{what}");
        }
    }
}
