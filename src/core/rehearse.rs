//! Runs a plan against the simulator many times: what would it cost, and how often would its answers be true?

use rayon::prelude::*;
use serde::Serialize;

use crate::experiment::{Engine, SearchSettings, Strategy, Workload};
use crate::metric::quantile;
use crate::plan::{Ladder, Plan};
use crate::search::{Answer, Observation, Status, Step, certificate_seconds, search};
use crate::sim::{SimEngine, SimSession, Trial, true_ceilings};
use crate::sla::Sla;
use crate::units::{Concurrency, Seconds};
use crate::watch::Until;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rehearsal {
    /// How often each ladder was run.
    pub seeds: u32,
    /// How true the answers were, cell by cell.
    pub cells: Vec<RehearsedCell>,
    /// What they cost, ladder by ladder.
    pub ladders: Vec<RehearsedLadder>,
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
    Ok(Rehearsal { seeds, cells: cells.into_iter().flatten().collect(), ladders })
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
            certificate_ratio_mean: (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64),
            reference: RehearsedReference {
                probes_mean: reference.iter().map(|climb| climb.probes.len() as f64).sum::<f64>() / seeds,
                engine_s_mean: reference.iter().map(|climb| climb.seconds()).sum::<f64>() / seeds,
                coverage: held as f64 / reference.len().max(1) as f64,
            },
        }
    }
}
