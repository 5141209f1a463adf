//! One ladder: ask the search, measure, tell the search, until it is done.

use anyhow::Result;
use ceiling_core::load::{Load, LoadPlan};
use ceiling_core::plan::{EngineGroup, Ladder, Plan};
use ceiling_core::protocol::{Event, Measured, ProbeAsk, PromptAsk};
use ceiling_core::record::{Entry, FailureKind};
use ceiling_core::search::{self, Observation, Search, Step};
use ceiling_core::sla::{Sla, Tally};
use ceiling_core::units::{Concurrency, Seconds};
use ceiling_core::watch::Watch;

use super::session::{Session, SessionError};
use super::{Happening, Surroundings};

/// A ladder that is to be measured, or to be gone on with.
pub struct LadderTask {
    /// Index into the plan's ladders.
    pub ladder: usize,
    /// What is known so far.
    pub search: Box<dyn Search>,
    /// Number of its next probe.
    pub next_number: u32,
}

impl LadderTask {
    /// A ladder of which nothing is known yet.
    pub fn new(plan: &Plan, ladder: usize) -> Self {
        let search = search::search(&plan.ladders[ladder].search, &slas(plan, &plan.ladders[ladder]));
        Self { ladder, search, next_number: 0 }
    }
}

/// How a ladder ended.
pub enum End {
    /// Every SLA has its answer.
    Answered,
    /// This ladder cannot be measured; trying again would not help.
    Failed(SessionError),
    /// The engine was lost; the ladder can go on with another.
    EngineLost(SessionError),
}

/// Measures one ladder to its end, or to the end of its time.
pub async fn run_ladder(
    plan: &Plan,
    task: &mut LadderTask,
    group: &EngineGroup,
    session: &mut Session,
    around: &Surroundings<'_>,
) -> Result<End> {
    let cells = plan.ladders[task.ladder].cells.len() as f64;
    let limit = Seconds::new(group.execution.cell_timeout.get() * cells).unwrap_or(group.execution.cell_timeout);
    match tokio::time::timeout(limit.to_std(), search_ladder(plan, task, group, session, around)).await {
        Ok(end) => end,
        Err(_) => {
            let reason = format!("not done after {limit} (execution.cell_timeout for each of its {cells} cells)");
            Ok(End::Failed(SessionError::fatal(FailureKind::Timeout, reason)))
        }
    }
}

async fn search_ladder(
    plan: &Plan,
    task: &mut LadderTask,
    group: &EngineGroup,
    session: &mut Session,
    around: &Surroundings<'_>,
) -> Result<End> {
    let ladder = &plan.ladders[task.ladder];
    let slas = slas(plan, ladder);
    while let Step::Probe { concurrency, for_slas } = task.search.next() {
        let wanted: Vec<Sla> = for_slas.iter().map(|&index| slas[index]).collect();
        let ask = probe_ask(plan, ladder, group, task.next_number, concurrency, &wanted);
        (around.show)(Happening::ProbeStarted {
            ladder,
            number: task.next_number,
            concurrency,
            answers: &task.search.answers(),
        });
        // The number of requests that count is known beforehand only for a burst.
        let mut watch = (ladder.workload.load == Load::Burst).then(|| Watch::new(concurrency, wanted));
        let mut seen = Seen::default();
        let mut on_event = |event: &Event| seen.show(event, around);
        let measured = match session.probe(&ask, watch.as_mut(), &mut on_event).await {
            Ok(measured) => measured,
            Err(error) if error.engine_lives => return Ok(End::Failed(error)),
            Err(error) => return Ok(End::EngineLost(error)),
        };
        let tallies: Vec<Tally> = slas.iter().map(|sla| Tally::of(sla, &measured.requests)).collect();
        task.search.observe(observation(concurrency, &tallies, &measured));
        (around.show)(Happening::ProbeDone { ladder, concurrency, measured: &measured, tallies: &tallies });
        (around.record)(Entry::Probed {
            ladder: ladder.key.clone(),
            number: task.next_number,
            concurrency,
            tallies,
            measured: Box::new(measured),
        })?;
        task.next_number += 1;
    }
    let answers = task.search.answers();
    (around.show)(Happening::LadderDone { ladder, answers: &answers });
    (around.record)(Entry::Answered { ladder: ladder.key.clone(), answers })?;
    Ok(End::Answered)
}

/// The SLAs of a ladder, in the order of its cells.
pub fn slas(plan: &Plan, ladder: &Ladder) -> Vec<Sla> {
    ladder.cells.iter().map(|&cell| plan.cells[cell].sla).collect()
}

fn probe_ask(
    plan: &Plan,
    ladder: &Ladder,
    group: &EngineGroup,
    number: u32,
    concurrency: Concurrency,
    wanted: &[Sla],
) -> ProbeAsk {
    let workload = &ladder.workload;
    let hold = ladder.hold(&plan.cells);
    let patience = wanted.iter().map(Sla::patience).max().unwrap_or(Seconds::ZERO);
    ProbeAsk {
        load: LoadPlan { load: workload.load, concurrency, hold, patience },
        prompts: PromptAsk {
            source: workload.prompt.clone(),
            input_tokens: workload.input_tokens,
            shared_prefix: workload.shared_prefix,
            stream: workload.seed ^ ladder.key.number(),
            probe: number,
        },
        output_tokens: workload.output_tokens,
        silence: group.execution.probe_timeout,
    }
}

/// What the search is told of a probe.
pub fn observation(concurrency: Concurrency, tallies: &[Tally], measured: &Measured) -> Observation {
    let judged = measured.requests.iter().filter(|request| request.judged);
    let mut ttft: Vec<f64> = judged.clone().filter_map(|request| request.ttft().map(Seconds::get)).collect();
    ttft.sort_by(f64::total_cmp);
    let requests = u32::try_from(judged.count()).unwrap_or(u32::MAX);
    Observation { concurrency, seconds: measured.seconds, tallies: tallies.to_vec(), ttft, requests }
}

/// Counts the requests of a running probe for those who look on.
#[derive(Default)]
struct Seen {
    first_tokens: u32,
    ended: u32,
}

impl Seen {
    fn show(&mut self, event: &Event, around: &Surroundings<'_>) {
        match event {
            Event::First { .. } => self.first_tokens += 1,
            Event::Ended(_) => self.ended += 1,
            _ => return,
        }
        (around.show)(Happening::ProbeGoesOn { first_tokens: self.first_tokens, ended: self.ended });
    }
}
