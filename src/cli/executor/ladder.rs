//! One ladder: ask the search, measure, tell the search, until it is done.

use anyhow::Result;
use ceiling_core::experiment;
use ceiling_core::load::{Load, LoadPlan};
use ceiling_core::plan::{EngineGroup, Ladder, Plan};
use ceiling_core::protocol::{Event, Measured, ProbeAsk, PromptAsk, Resolved};
use ceiling_core::record::{Entry, FailureKind, Probe, Replay, Taken};
use ceiling_core::request::RequestEnd;
use ceiling_core::search::{self, Answer, Observation, Status, Step};
use ceiling_core::secret::Secrets;
use ceiling_core::units::Seconds;
use ceiling_core::watch::Watch;
use futures_util::future::OptionFuture;

use super::guard::Guard;
use super::searching::Searching;
use super::session::{Session, SessionError};
use super::telemetry::{Recorder, Subject};
use super::{Happening, Surroundings};

/// A ladder that is to be measured, or to be gone on with.
pub struct LadderTask {
    /// Index into the plan's ladders.
    pub ladder: usize,
    /// What is known so far; nothing before an engine has said what it is like.
    pub search: Option<Searching>,
    /// What its probes showed in an earlier part of the run.
    pub seen: Vec<Observation>,
    /// Number of its next probe.
    pub next_number: u32,
    /// How long the longest of its probes took.
    pub longest: Seconds,
}

impl LadderTask {
    /// The ladders that have no answers yet.
    pub fn of(replay: Replay) -> Vec<Self> {
        let ladders = replay.ladders.into_iter().zip(replay.next_numbers).enumerate();
        ladders.filter_map(|(ladder, (seen, next_number))| Some(Self::new(ladder, seen?, next_number))).collect()
    }

    /// A ladder of which this was seen before.
    pub fn new(ladder: usize, seen: Vec<Observation>, next_number: u32) -> Self {
        let longest = seen.iter().map(|seen| seen.seconds).max().unwrap_or(Seconds::ZERO);
        Self { ladder, search: None, seen, next_number, longest }
    }

    /// What is known of each SLA.
    pub fn answers(&self, plan: &Plan) -> Vec<Answer> {
        let unknown = Answer {
            status: Status::Undecided,
            highest_pass: None,
            lowest_fail: None,
            confidence: None,
            undecided: None,
        };
        let cells = plan.ladders[self.ladder].cells.len();
        self.search.as_ref().map_or_else(|| vec![unknown; cells], Searching::answers)
    }
}

/// An engine that answers, and what it is like.
pub struct Engine<'a> {
    /// It.
    pub session: Session,
    /// What it made of its configuration.
    pub resolved: &'a Resolved,
    /// The GPUs that it has.
    pub gpus: &'a [String],
}

impl Engine<'_> {
    /// Begins to look at what a real engine does; the simulator uses nothing.
    async fn recorder(&self, around: &Surroundings<'_>) -> Option<Recorder> {
        let worker = self.session.worker()?;
        let subject = Subject { gpus: around.gpus.clone(), names: self.gpus.to_vec(), worker };
        Some(Recorder::begin(subject).await)
    }
}

/// How a ladder ended.
pub enum End {
    /// Every SLA has its answer.
    Answered,
    /// Going on would take too long, for this reason.
    Left(String),
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
    engine: &mut Engine<'_>,
    around: &Surroundings<'_>,
) -> Result<End> {
    let cells = plan.ladders[task.ladder].cells.len() as f64;
    let limit = Seconds::new(group.execution.cell_timeout.get() * cells).unwrap_or(group.execution.cell_timeout);
    match tokio::time::timeout(limit.to_std(), search_ladder(plan, task, group, engine, around)).await {
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
    engine: &mut Engine<'_>,
    around: &Surroundings<'_>,
) -> Result<End> {
    let ladder = &plan.ladders[task.ladder];
    let slas = plan.slas(task.ladder);
    let begin = || Searching::new(search::search(&ladder.search, &slas, &ladder.workload, engine.resolved));
    let search = task.search.get_or_insert_with(begin);
    search.observe(std::mem::take(&mut task.seen)).await;
    let mut guard = Guard::default();
    while let Step::Probe { concurrency, until } = search.next() {
        let number = task.next_number;
        let load = LoadPlan::new(&ladder.workload, &slas, concurrency, &until);
        if let Some(reason) =
            around.deadline.and_then(|deadline| deadline.forbids_probe(longest(&load, group, task.longest)))
        {
            return Ok(End::Left(reason));
        }
        let ask = probe_ask(ladder, group, number, load);
        (around.show)(Happening::ProbeStarted { ladder, number, concurrency, answers: &search.answers() });
        let mut watch = Watch::new(&load, &slas, &until);
        let mut seen = Seen::default();
        let mut on_event = |event: &Event| seen.show(event, around);
        let recorder = engine.recorder(around).await;
        let mut measured = match engine.session.probe(&ask, &mut watch, &mut on_event).await {
            Ok(measured) => measured,
            Err(error) if error.engine_lives => return Ok(End::Failed(error)),
            Err(error) => return Ok(End::EngineLost(error)),
        };
        hide_secrets(&mut measured, around.secrets);
        let telemetry = OptionFuture::from(recorder.map(Recorder::end)).await.flatten();
        let taken = Taken { number, concurrency, until: until.clone() };
        let mut probe = Probe::judge(ladder, &slas, engine.resolved, taken, measured, telemetry);
        probe.counts = guard.counts(concurrency, probe.audit);
        let observation = || Observation::new(&ladder.workload, &slas, concurrency, &until, &probe.measured);
        let probe_s = probe.measured.seconds;
        let observations = probe.counts.then(observation).into_iter().collect();
        (around.show)(Happening::ProbeDone { ladder, slas: &slas, probe: &probe });
        (around.record)(Entry::Probed(Box::new(probe)))?;
        task.next_number += 1;
        task.longest = task.longest.max(probe_s);
        search.observe(observations).await;
        if let Some(reason) = guard.gives_up() {
            return Ok(End::Failed(SessionError { kind: FailureKind::Engine, reason, engine_lives: true }));
        }
    }
    let answers = search.answers();
    (around.show)(Happening::LadderDone { ladder, answers: &answers });
    (around.record)(Entry::Answered { ladder: ladder.key, cells: plan.cell_keys(task.ladder), answers })?;
    Ok(End::Answered)
}

/// An engine may quote them where it says why it failed a request.
fn hide_secrets(measured: &mut Measured, secrets: &Secrets) {
    for request in &mut measured.requests {
        if let RequestEnd::Failed { reason } = &mut request.end {
            *reason = secrets.hide(reason);
        }
    }
}

/// The longest that a probe is expected to take, after others of its ladder of which the longest took that time. A simulated one takes none.
fn longest(load: &LoadPlan, group: &EngineGroup, earlier: Seconds) -> Seconds {
    match (&*group.engine, load.load) {
        (experiment::Engine::Sim(_), _) => Seconds::ZERO,
        (experiment::Engine::Vllm(_), Load::Burst) => load.laid_down(),
        (experiment::Engine::Vllm(_), Load::Sustained) => load.laid_down().max(earlier),
    }
}

fn probe_ask(ladder: &Ladder, group: &EngineGroup, probe: u32, load: LoadPlan) -> ProbeAsk {
    let workload = &ladder.workload;
    ProbeAsk {
        load,
        prompts: PromptAsk {
            source: workload.prompt.clone(),
            input_tokens: workload.input_tokens,
            shared_prefix: workload.shared_prefix,
            stream: workload.seed ^ ladder.key.number(),
            probe,
        },
        output_tokens: workload.output_tokens,
        silence: group.execution.probe_timeout,
    }
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
