//! What a campaign is waged on.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::books::{files, read_json};
use super::night::Victim;
use crate::support::{Workplace, without_telemetry};
use crate::vllm;

/// Something that runs, and that can be told from one that was left alone.
pub trait Subject {
    /// For the report.
    fn name(&self) -> &'static str;
    /// A place with all it takes.
    fn place(&self) -> &Workplace;
    /// What starts it there.
    fn command(&self) -> Command;
    /// Whom to kill.
    fn victims(&self) -> &'static [Victim];
    /// When to kill.
    fn moment(&self, rng: &mut Rng) -> Moment;
    /// The result is that of a run that was left alone.
    fn check(&self);
}

/// A moment in a run.
pub struct Moment {
    /// The journals are this long by then.
    bytes: u64,
    /// So long after a start or a kill.
    after: Duration,
}

impl Moment {
    pub fn has_come(&self, place: &Workplace, elapsed: Duration) -> bool {
        elapsed >= self.after && journal_bytes(place) >= self.bytes
    }
}

fn journal_bytes(place: &Workplace) -> u64 {
    files(place, "journal.jsonl").iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

/// What is published, but for times, the name of the run, and what became of its engines.
struct Outcome(Vec<(PathBuf, String)>);

impl Outcome {
    fn of(place: &Workplace) -> Self {
        let mut outcome = Vec::new();
        for path in files(place, "run.json") {
            let mut run = read_json(&path);
            for field in ["run_id", "started", "finished"] {
                run[field] = Value::Null;
            }
            for engine in run["engines"].as_array_mut().unwrap() {
                for field in ["loads", "load_seconds", "failures"] {
                    engine[field] = Value::Null;
                }
            }
            for ladder in run["ladders"].as_array_mut().unwrap() {
                without_telemetry(&mut ladder["probes"]);
            }
            let run_id = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let cells = std::fs::read_to_string(path.with_file_name("cells.csv")).unwrap().replace(run_id, "");
            let experiment = path.parent().unwrap().parent().unwrap();
            outcome.push((experiment.to_owned(), format!("{run:#}\n{cells}")));
        }
        Self(outcome)
    }

    fn assert_is(&self, other: &Self) {
        assert_eq!(self.0.len(), other.0.len());
        for ((name, mine), (_, theirs)) in self.0.iter().zip(&other.0) {
            let differs = mine.lines().zip(theirs.lines()).find(|(mine, theirs)| mine != theirs);
            assert!(mine == theirs, "{} is not that of a run left alone: {differs:?}", name.display());
        }
    }
}

/// A subject of which every run comes to the same.
pub struct Repeatable {
    name: &'static str,
    place: Workplace,
    start: fn(&Workplace) -> Command,
    victims: &'static [Victim],
    /// How long a run takes that is left alone, and what it comes to.
    takes: Duration,
    outcome: Outcome,
    /// Part of that time in which kills fall.
    until: f64,
}

impl Repeatable {
    /// Runs once and leaves it alone.
    fn new(
        name: &'static str,
        place: Workplace,
        start: fn(&Workplace) -> Command,
        victims: &'static [Victim],
        until: f64,
    ) -> Self {
        let began = Instant::now();
        let output = start(&place).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (takes, outcome) = (began.elapsed(), Outcome::of(&place));
        Self { name, place, start, victims, takes, outcome, until }
    }

    /// The simulator: two experiments that share cells, with noise.
    pub fn simulated() -> Self {
        let place = Workplace::new();
        let text = include_str!("simulated.toml");
        place.write("one.toml", text);
        place.write("two.toml", &text.replace("\"one\"", "\"two\"").replace("[300, 600, 900]", "[600, 900, 1200]"));
        Self::new("simulator", place, |place| place.ceiling(&["run", "one.toml", "two.toml"]), &[Victim::Executor], 1.0)
    }

    /// Real processes that speak the worker's protocol and have an engine process each, in two groups side by side.
    pub fn worker_processes() -> Self {
        let place = Workplace::new();
        let python = place.write("fake_worker.py", include_str!("../fake_worker.py"));
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        place.write("libceiling_worker.so", "");
        place.write("behaviour", "takes-time");
        let text = include_str!("fake.toml");
        let text = text.replace("(place)", place.path("").to_str().unwrap().trim_end_matches('/'));
        place.write("fake.toml", &text.replace("(version)", env!("CARGO_PKG_VERSION")));
        let start = |place: &Workplace| {
            let mut command = place.ceiling(&["run", "fake.toml"]);
            command.env("CEILING_WORKER", place.path("libceiling_worker.so"));
            command
        };
        Self::new("worker processes", place, start, &[Victim::Executor, Victim::Worker, Victim::Engine], 0.7)
    }
}

impl Subject for Repeatable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn place(&self) -> &Workplace {
        &self.place
    }

    fn command(&self) -> Command {
        (self.start)(&self.place)
    }

    fn victims(&self) -> &'static [Victim] {
        self.victims
    }

    fn moment(&self, rng: &mut Rng) -> Moment {
        Moment { bytes: 0, after: self.takes.mul_f64(rng.f64() * self.until) }
    }

    fn check(&self) {
        Outcome::of(&self.place).assert_is(&self.outcome);
    }
}

/// Real vLLM on a tiny model. Two measurements of it differ, so the result is not compared.
pub struct Vllm {
    place: Workplace,
    _alone: MutexGuard<'static, ()>,
}

impl Vllm {
    pub fn new() -> Self {
        Self { place: Workplace::new(), _alone: vllm::alone() }
    }
}

impl Subject for Vllm {
    fn name(&self) -> &'static str {
        "real vLLM"
    }

    fn place(&self) -> &Workplace {
        &self.place
    }

    fn command(&self) -> Command {
        vllm::quickstart(&self.place, &["execution.retries=1", "workload.hold=\"2s\"", "workload.output_tokens=400"])
    }

    fn victims(&self) -> &'static [Victim] {
        &[Victim::Executor, Victim::Worker, Victim::Engine]
    }

    /// Loads take nearly all of the time: half of the kills wait until something more was measured.
    fn moment(&self, rng: &mut Rng) -> Moment {
        let measured = if rng.bool() { journal_bytes(&self.place) + 5_000 } else { 0 };
        Moment { bytes: measured, after: Duration::from_secs(1) + Duration::from_secs(60).mul_f64(rng.f64()) }
    }

    fn check(&self) {
        let run = read_json(&files(&self.place, "run.json")[0]);
        let cells = run["cells"].as_array().unwrap();
        assert!(cells.iter().all(|cell| cell["status"].is_string() && cell["status"] != "failed"), "{run}");
    }
}
