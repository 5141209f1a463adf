//! One run, from its beginning to its end, with kills in between.

use std::fmt;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::books::Books;
use super::subject::Subject;
use crate::support::{Workplace, descendants, wait_for, wait_until};

/// No part of a run takes longer.
const PATIENCE: Duration = Duration::from_secs(900);

/// The variable that tells the processes of a campaign from all others.
const MARK: &str = "CEILING_FAULTS";

/// Kills, by whom they hit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kills {
    executor: u32,
    worker: u32,
    engine: u32,
    /// Times that `run --resume` was said.
    resumed: u32,
}

impl Kills {
    /// All of them.
    pub fn sum(&self) -> u32 {
        self.executor + self.worker + self.engine
    }
}

impl AddAssign for Kills {
    fn add_assign(&mut self, other: Self) {
        self.executor += other.executor;
        self.worker += other.worker;
        self.engine += other.engine;
        self.resumed += other.resumed;
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills ({} of an executor, {} of a worker, {} of an engine), {} resumptions",
            self.sum(),
            self.executor,
            self.worker,
            self.engine,
            self.resumed
        )
    }
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The process that a person started.
    Executor,
    /// A process that the executor started.
    Worker,
    /// A process that a worker started.
    Engine,
}

/// Runs to the end, with at most `most` kills, and checks after each of them and at the end.
pub fn night(subject: &dyn Subject, rng: &mut Rng, most: u32) -> Kills {
    let place = subject.place();
    if let Err(error) = std::fs::remove_dir_all(place.path("results")) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
    let mut kills = Kills::default();
    let mut books = Books::default();
    let mut run = Started::new(subject, place, false);
    loop {
        let victim = subject.victims()[rng.usize(..subject.victims().len())];
        let killed = kills.sum() < most && run.kill(subject, place, victim, rng);
        match (killed, victim) {
            (true, Victim::Executor) => kills.executor += 1,
            (true, Victim::Worker) => kills.worker += 1,
            (true, Victim::Engine) => kills.engine += 1,
            (false, _) => {}
        }
        let goes_on = killed && victim != Victim::Executor;
        if goes_on {
            continue;
        }
        run.wait();
        books.check_whole(place);
        if books.is_complete(place) {
            books.check_complete(place, !killed);
            break;
        }
        kills.resumed += u32::from(books.are_kept());
        run = Started::new(subject, place, books.are_kept());
    }
    subject.check();
    kills
}

/// A run that has been started or resumed.
struct Started {
    child: Child,
    /// An environment variable that everything it starts inherits.
    mark: String,
}

impl Started {
    fn new(subject: &dyn Subject, place: &Workplace, resumes: bool) -> Self {
        let mut command = subject.command();
        if resumes {
            command.arg("--resume");
        }
        let mark = place.path("mark").display().to_string();
        let child = command.env(MARK, &mark).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, mark: format!("{MARK}={mark}\0") }
    }

    /// Kills somebody at a random moment; false where the run ended before.
    fn kill(&mut self, subject: &dyn Subject, place: &Workplace, victim: Victim, rng: &mut Rng) -> bool {
        let moment = subject.moment(rng);
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            let chosen = if moment.has_come(place, began.elapsed()) { self.choose(victim, rng) } else { None };
            if let Some(pid) = chosen {
                return self.strike(pid, victim, rng);
            }
            std::thread::sleep(Duration::from_micros(500));
            assert!(began.elapsed() < PATIENCE, "the run neither goes on nor ends");
        }
        false
    }

    fn choose(&mut self, victim: Victim, rng: &mut Rng) -> Option<u64> {
        let executor = u64::from(self.child.id());
        let found = descendants(executor);
        let by = |is_executor: bool| found.iter().filter(move |(_, parent)| (*parent == executor) == is_executor);
        let chosen: Vec<u64> = match victim {
            Victim::Executor => vec![executor],
            Victim::Worker => by(true).map(|(pid, _)| *pid).collect(),
            Victim::Engine => by(false).map(|(pid, _)| *pid).filter(|pid| !tracks_resources(*pid)).collect(),
        };
        rng.choice(chosen)
    }

    /// The executor is mostly killed outright, and sometimes told to stop as a person or a batch system would.
    fn strike(&mut self, pid: u64, victim: Victim, rng: &mut Rng) -> bool {
        let signal = match victim {
            Victim::Executor if rng.u32(..5) == 0 => [Signal::SIGINT, Signal::SIGTERM][rng.usize(..2)],
            _ => Signal::SIGKILL,
        };
        // It may have ended in this very moment.
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).is_ok()
    }

    /// Waits for the end of the run, and for that of everything that it started.
    fn wait(&mut self) {
        wait_for(&mut self.child, PATIENCE);
        wait_until("no process of the run is left", Duration::from_secs(30), || marked(&self.mark).is_empty());
    }
}

/// Processes with this in their environment. One that has ended and waits to be reaped has none.
fn marked(mark: &str) -> Vec<PathBuf> {
    let all = glob::glob("/proc/[0-9]*/environ").unwrap().flatten();
    let has_mark = |path: &PathBuf| {
        // It may have ended, or be another user's.
        let environment = std::fs::read(path).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    all.filter(has_mark).collect()
}

/// Python's helper that frees shared memory: no part of an engine.
fn tracks_resources(pid: u64) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("resource_tracker")
}
