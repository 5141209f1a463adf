//! Runs a plan against the simulator many times: what would it cost, and how often would its answers be true?

mod stand_in;

use rayon::prelude::*;
use serde::Serialize;

use crate::experiment::{Engine, SearchSettings, Strategy, Workload};
use crate::metric::quantile;
use crate::plan::{Ladder, Plan};
use crate::search::{Answer, Observation, Status, Step, Undecided, certificate_seconds, search};
use crate::sim::{SimEngine, SimSession, Trial, true_ceilings};
use crate::sla::Sla;
use crate::units::{Concurrency, Seconds};
use crate::watch::Until;

pub use stand_in::{NoLimit, StandIn, stand_in};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rehearsal {
    /// How often each ladder was run.
    pub seeds: u32,
    /// How true the answers were, cell by cell.
    pub cells: Vec<RehearsedCell>,
    /// What they cost, ladder by ladder.
    pub ladders: Vec<RehearsedLadder>,
    /// What all of it costs.
    pub total: RehearsedTotal,
}

/// What one run of the plan costs, every engine loaded once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsedTotal {
    /// Seconds of engine loads.
    pub load_s: f64,
    /// Engine seconds of all ladders, by their means, and of the loads.
    pub engine_s_mean: f64,
    /// The same by the dearest seed of each ladder.
    pub engine_s_max: f64,
}

/// One cell over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsedCell {
    /// Its id.
    pub cell: String,
    /// By brute force; absent where not even one request in flight keeps the SLA.
    pub true_ceiling: Option<Concurrency>,
    /// Share of seeds whose published bracket `[highest_pass, lowest_fail)` holds the true ceiling; one with neither bound holds nothing.
    pub coverage: f64,
    /// Median width of the bracket as a part of the true ceiling; absent where no seed gave both bounds.
    pub median_relative_width: Option<f64>,
    /// Share of seeds that ended undecided.
    pub undecided: f64,
}

/// One ladder over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsedLadder {
    /// Its id.
    pub ladder: String,
    /// Probes of one run.
    pub probes_mean: f64,
    /// Engine seconds of one run.
    pub engine_s_mean: f64,
    /// Engine seconds of the dearest seed.
    pub engine_s_max: f64,
    /// Seeds that left a cell undecided since the budget ended first.
    pub out_of_budget: u32,
    /// Engine seconds over those of one probe at each published bound; absent where no seed had a bound.
    pub certificate_ratio_mean: Option<f64>,
    /// The same SLAs by ramp and bisection, on single verdicts, each on its own.
    pub reference: RehearsedReference,
}

/// The reference over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsedReference {
    /// Probes of one run.
    pub probes_mean: f64,
    /// Engine seconds of one run.
    pub engine_s_mean: f64,
    /// Share of its brackets, over seeds and cells, that hold the true ceiling.
    pub coverage: f64,
}

/// Why a plan cannot be rehearsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RehearseError {
    /// The simulator cannot stand in for an engine of which it knows nothing.
    #[error(
        "engine `{0}` is a real one: give the `[engine]` table of a simulated one to rehearse it on, with `--engine FILE`, such as `ceiling fit RUN` writes"
    )]
    RealEngine(String),
}

/// How far a rehearsal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage<'a> {
    /// It looks for the true ceilings of this ladder.
    Truth(&'a str),
    /// It runs this ladder.
    Running(&'a str),
    /// That was run once more.
    Ran,
}

/// Rehearses every ladder of a plan `seeds` times, on all cores, and tells how far it is.
pub fn rehearse(plan: &Plan, seeds: u32, tell: &(dyn Fn(Stage) + Sync)) -> Result<Rehearsal, RehearseError> {
    let mut cells: Vec<Option<RehearsedCell>> = vec![None; plan.cells.len()];
    let mut ladders = Vec::new();
    for ladder in &plan.ladders {
        let group = &plan.groups[ladder.group];
        let Engine::Sim(engine) = group.engine.as_ref() else {
            return Err(RehearseError::RealEngine(group.label.clone()));
        };
        let slas: Vec<Sla> = ladder.cells.iter().map(|cell| plan.cells[*cell].sla).collect();
        let rehearsed = rehearse_ladder(*engine, ladder, &slas, seeds, tell);
        for ((index, sla), truth) in ladder.cells.iter().zip(0..).zip(&rehearsed.truths) {
            cells[*index] = Some(rehearsed.cell(&plan.cells[*index].id, sla, *truth));
        }
        ladders.push(rehearsed.ladder(&ladder.id));
    }
    let total = total(plan, &ladders);
    Ok(Rehearsal { seeds, cells: cells.into_iter().flatten().collect(), ladders, total })
}

fn total(plan: &Plan, ladders: &[RehearsedLadder]) -> RehearsedTotal {
    let load = |engine: &Engine| match engine {
        Engine::Sim(engine) => engine.load_time.get(),
        Engine::Vllm(_) => 0.0,
    };
    let load_s: f64 = plan.groups.iter().map(|group| load(&group.engine)).sum();
    RehearsedTotal {
        load_s,
        engine_s_mean: load_s + ladders.iter().map(|ladder| ladder.engine_s_mean).sum::<f64>(),
        engine_s_max: load_s + ladders.iter().map(|ladder| ladder.engine_s_max).sum::<f64>(),
    }
}

/// All runs of one ladder.
struct Runs {
    truths: Vec<Option<Concurrency>>,
    guided: Vec<Climb>,
    /// By seed, then by SLA.
    reference: Vec<Vec<Climb>>,
}

fn rehearse_ladder(
    engine: SimEngine,
    ladder: &Ladder,
    slas: &[Sla],
    seeds: u32,
    tell: &(dyn Fn(Stage) + Sync),
) -> Runs {
    tell(Stage::Truth(&ladder.id));
    let truths = true_ceilings(engine, &ladder.workload, slas, ladder.search.max_concurrency);
    let bisect = SearchSettings { strategy: Strategy::Bisect, ..ladder.search };
    tell(Stage::Running(&ladder.id));
    let runs: Vec<(Climb, Vec<Climb>)> = (0..seeds)
        .into_par_iter()
        .map(|seed| {
            let climb = |settings, slas: &[Sla], stream| {
                Climb::run(SimSession::new(engine, u64::from(seed)), &ladder.workload, settings, slas, stream)
            };
            let alone = slas.iter().zip(1..).map(|(sla, stream)| climb(&bisect, &[*sla], stream)).collect();
            let guided = climb(&ladder.search, slas, 0);
            tell(Stage::Ran);
            (guided, alone)
        })
        .collect();
    let (guided, reference) = runs.into_iter().unzip();
    Runs { truths, guided, reference }
}

/// One ladder, climbed once on the simulator.
#[derive(Clone, Debug, PartialEq)]
pub struct Climb {
    /// What was found of each SLA.
    pub answers: Vec<Answer>,
    /// Every probe in order: its level, what it was for, and its engine time.
    pub probes: Vec<(Concurrency, Until, Seconds)>,
}

impl Climb {
    /// Searches the ceilings of a ladder on a simulated engine. Climbs of one stream on one session meet the same luck.
    pub fn run(session: SimSession, workload: &Workload, settings: &SearchSettings, slas: &[Sla], stream: u64) -> Self {
        let mut search = search(settings, slas, workload, &session.resolved());
        let mut probes = Vec::new();
        while let Step::Probe { concurrency, until } = search.next() {
            let number = (stream, probes.len() as u32);
            let trial = Trial { workload, slas, concurrency, until: &until, number };
            let observation = Observation::of_trial(&trial, &trial.measure(session));
            probes.push((concurrency, until, observation.seconds));
            search.observe(observation);
        }
        Self { answers: search.answers(), probes }
    }

    /// Engine time of all probes.
    pub fn seconds(&self) -> f64 {
        self.probes.iter().map(|(_, _, seconds)| seconds.get()).sum()
    }

    /// Whether the budget ended before every SLA was answered.
    fn is_out_of_budget(&self) -> bool {
        self.answers.iter().any(|answer| answer.undecided == Some(Undecided::Budget))
    }

    /// Engine time over that of one probe at each bound; absent without a bound.
    pub fn certificate_ratio(&self) -> Option<f64> {
        certificate_seconds(&self.answers, &self.probes).map(|certificate| self.seconds() / certificate.get())
    }
}

impl Runs {
    fn cell(&self, id: &str, sla: usize, truth: Option<Concurrency>) -> RehearsedCell {
        let answers: Vec<&Answer> = self.guided.iter().map(|climb| &climb.answers[sla]).collect();
        let share = |of: &dyn Fn(&Answer) -> bool| {
            answers.iter().filter(|answer| of(answer)).count() as f64 / answers.len().max(1) as f64
        };
        let width = |answer: &&Answer| Some(f64::from(answer.lowest_fail?.get() - answer.highest_pass?.get()));
        let mut widths: Vec<f64> = answers.iter().filter_map(width).collect();
        widths.sort_by(f64::total_cmp);
        let median = quantile(&widths, widths.len(), 0.5);
        RehearsedCell {
            cell: id.to_owned(),
            true_ceiling: truth,
            coverage: share(&|answer| answer.holds(truth)),
            median_relative_width: median.map(|width| width / f64::from(truth.map_or(1, Concurrency::get))),
            undecided: share(&|answer| answer.status == Status::Undecided),
        }
    }

    fn ladder(&self, id: &str) -> RehearsedLadder {
        let ratios: Vec<f64> = self.guided.iter().filter_map(Climb::certificate_ratio).collect();
        let reference: Vec<&Climb> = self.reference.iter().flatten().collect();
        let held = self.reference.iter().flat_map(|climbs| climbs.iter().zip(&self.truths));
        let held = held.filter(|(climb, truth)| climb.answers[0].holds(**truth)).count();
        let seeds = self.guided.len().max(1) as f64;
        RehearsedLadder {
            ladder: id.to_owned(),
            probes_mean: self.guided.iter().map(|climb| climb.probes.len() as f64).sum::<f64>() / seeds,
            engine_s_mean: self.guided.iter().map(Climb::seconds).sum::<f64>() / seeds,
            engine_s_max: self.guided.iter().map(Climb::seconds).fold(0.0, f64::max),
            out_of_budget: self.guided.iter().filter(|climb| climb.is_out_of_budget()).count() as u32,
            certificate_ratio_mean: (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64),
            reference: RehearsedReference {
                probes_mean: reference.iter().map(|climb| climb.probes.len() as f64).sum::<f64>() / seeds,
                engine_s_mean: reference.iter().map(|climb| climb.seconds()).sum::<f64>() / seeds,
                coverage: held as f64 / reference.len().max(1) as f64,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::testing::read_text;
    use crate::plan::plan;

    fn rehearsed(search: &str) -> Rehearsal {
        let text = format!(
            "schema = 1\nname = \"e\"\nengine.kind = \"sim\"\nengine.probe_drift = 0.1\n[workload]\ninput_tokens = [1000, 2000]\n\
             [sla]\nttft = \"3s\"\n[search]\n{search}\n[matrix]\n\"engine.load_time\" = [\"20s\", \"40s\"]"
        );
        rehearse(&plan(&[read_text(&text).unwrap()]), 10, &|_| {}).unwrap()
    }

    #[test]
    fn a_search_without_budget_is_right_of_nothing_and_said_to_lack_it() {
        let found = rehearsed("budget = \"1ms\"");
        for cell in &found.cells {
            assert_eq!(cell.undecided, 1.0, "{cell:?}");
            assert_eq!(cell.coverage > 0.0, cell.median_relative_width.is_some(), "{cell:?}");
        }
        assert!(found.ladders.iter().all(|ladder| ladder.out_of_budget == 10), "{:?}", found.ladders);
        assert!(rehearsed("").ladders.iter().all(|ladder| ladder.out_of_budget == 0));
    }

    #[test]
    fn what_it_costs_is_told_of_the_dearest_seed_and_of_all() {
        let found = rehearsed("");
        assert!(found.ladders.iter().all(|ladder| ladder.engine_s_max > ladder.engine_s_mean), "{:?}", found.ladders);
        let sum = |of: fn(&RehearsedLadder) -> f64| 60.0 + found.ladders.iter().map(of).sum::<f64>();
        let total = RehearsedTotal {
            load_s: 60.0,
            engine_s_mean: sum(|ladder| ladder.engine_s_mean),
            engine_s_max: sum(|ladder| ladder.engine_s_max),
        };
        assert_eq!((found.ladders.len(), found.total), (4, total));
    }
}
