//! Shows people what goes on: two live lines on a terminal, one plain line per event elsewhere. Always on stderr.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use ceiling_core::audit::Audit;
use ceiling_core::record::Probe;
use ceiling_core::request::RequestRecord;
use ceiling_core::search::{Answer, Status};
use ceiling_core::sla::{Sla, Tally};
use ceiling_core::telemetry::Telemetry;
use ceiling_core::units::Seconds;
use ceiling_core::watch::Until;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::executor::Happening;
use crate::report::{printable, table};

/// Where the news goes.
pub struct Progress {
    screen: Screen,
    live: RefCell<Live>,
    noted: RefCell<String>,
}

enum Screen {
    /// The bar counts cells, the line says what goes on now.
    Terminal {
        bars: MultiProgress,
        cells: ProgressBar,
        now: ProgressBar,
    },
    Lines,
}

/// What the live line shows.
#[derive(Default)]
struct Live {
    probe: String,
    in_flight: u32,
}

impl Progress {
    /// News of a run of this many cells.
    pub fn new(cells: usize) -> Self {
        let screen = if std::io::stderr().is_terminal() { Self::terminal(cells) } else { Screen::Lines };
        Self { screen, live: RefCell::default(), noted: RefCell::default() }
    }

    fn terminal(cells: usize) -> Screen {
        let bars = MultiProgress::new();
        let now = bars.add(ProgressBar::new_spinner());
        now.enable_steady_tick(Duration::from_millis(120));
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cells, {elapsed} so far");
        let total = bars.add(ProgressBar::new(cells as u64));
        // The template is a literal; the default style serves where it could not be read.
        total.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Screen::Terminal { bars, cells: total, now }
    }

    /// Takes note of one thing that goes on.
    pub fn show(&self, happening: Happening<'_>) {
        match happening {
            Happening::AwaitingMemory { group, gpus } => {
                self.now(&format!("{}: waiting for the memory of GPU {}", group.label, gpus.join(", ")), true);
            }
            Happening::MemoryHeld { group, reason } => self.line(&format!("{}: {reason}", group.label)),
            Happening::EngineLoading { group, attempt } => {
                let again = if attempt == 0 { String::new() } else { format!(" again (attempt {})", attempt + 1) };
                self.now(&format!("{}: loading the engine{again}", group.label), true);
            }
            Happening::EngineLoaded { group, resolved, seconds } => {
                let kv = resolved.kv_cache_tokens.map_or_else(String::new, |tokens| format!(", {tokens} KV tokens"));
                let loaded =
                    format!("{}: engine {} up after {:.0} s{kv}", group.label, resolved.version, seconds.get());
                self.line(&loaded);
            }
            Happening::EngineChanged { group, changes } => {
                let changes = changes.join("; ");
                self.line(&format!("{}: not the engine that it was ({changes}): measured again", group.label));
            }
            Happening::EngineFailed { group, failure, tries_again } => {
                let then = if tries_again { "; trying again" } else { "" };
                self.line(&format!("{}: engine failed: {}{then}", group.label, failure.reason));
            }
            Happening::ProbeStarted { ladder, number, concurrency, answers } => {
                let probe =
                    format!("{}: probe {number} with {concurrency} in flight ({})", ladder.id, brackets(answers));
                self.now(&probe, false);
                *self.live.borrow_mut() = Live { probe, in_flight: concurrency.get() };
            }
            Happening::ProbeGoesOn { first_tokens, ended } => {
                let live = self.live.borrow();
                let news = format!("{}; first tokens {first_tokens}/{}, ended {ended}", live.probe, live.in_flight);
                self.now(&news, false);
            }
            Happening::ProbeDone { ladder, slas, probe } => {
                let (level, seconds) = (probe.concurrency, probe.measured.seconds.get());
                let (showed, note) = (showed(slas, probe), note(probe));
                self.line(&format!("{}: {level} in flight, {seconds:.2} s: {showed}{note}", ladder.id));
            }
            Happening::LadderDone { ladder, answers } => {
                self.line(&format!("{}: done: {}", ladder.id, brackets(answers)));
                self.count(ladder.cells.len());
            }
            Happening::LadderLeft { ladder, reason } => {
                self.line(&format!("{}: left: {reason}", ladder.id));
                self.count(ladder.cells.len());
            }
            Happening::LadderFailed { ladder, failure } => {
                self.line(&format!("{}: failed: {}", ladder.id, failure.reason));
                self.count(ladder.cells.len());
            }
        }
    }

    /// What a batch system says, each time that it is something new.
    pub fn note(&self, text: &str) {
        if self.noted.replace(text.to_owned()) != text {
            self.now(text, true);
        }
    }

    /// Clears the live lines, so that what is printed next stands alone.
    pub fn close(&self) {
        if let Screen::Terminal { bars, cells, now } = &self.screen {
            now.finish_and_clear();
            cells.finish_and_clear();
            // Failing to clear a terminal that is gone harms nobody.
            let _ = bars.clear();
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.screen {
            Screen::Terminal { bars, .. } => {
                let _ = bars.println(printable(text));
            }
            Screen::Lines => tell!("{text}"),
        }
    }

    /// What goes on now; off a terminal it is worth a line only where it takes long.
    fn now(&self, text: &str, takes_long: bool) {
        match &self.screen {
            Screen::Terminal { now, .. } => now.set_message(printable(text)),
            Screen::Lines if takes_long => tell!("{text}"),
            Screen::Lines => {}
        }
    }

    fn count(&self, cells: usize) {
        if let Screen::Terminal { cells: bar, .. } = &self.screen {
            bar.inc(cells as u64);
        }
    }
}

/// What a probe was made for: how many were ok under the limits of each SLA, or when first tokens came.
fn showed(slas: &[Sla], probe: &Probe) -> String {
    if probe.until == Until::FirstTokens {
        let times = probe.measured.requests.iter().filter_map(RequestRecord::ttft);
        let last = times.map(Seconds::get).reduce(f64::max);
        return last.map_or("no first token".to_owned(), |last| format!("first tokens within {last:.2} s"));
    }
    let mut shown: Vec<String> = Vec::new();
    for (sla, of) in slas.iter().zip(&probe.tallies) {
        // SLAs that differ in their ok rate only have the same requests ok.
        let text = format!("{} in {}", tally(of), limits(sla));
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    format!("ok {}", shown.join(", "))
}

/// `500ms`, and the further limits where there are some.
fn limits(sla: &Sla) -> String {
    let further = table::further_limits(sla).into_iter().map(|limit| format!(" with {limit}"));
    sla.ttft.to_string() + &further.collect::<String>()
}

/// `9/10`, and how many are undetermined where some are.
fn tally(tally: &Tally) -> String {
    let unknown = if tally.undetermined == 0 { String::new() } else { format!("(+{}?)", tally.undetermined) };
    format!("{}/{}{unknown}", tally.ok, tally.total())
}

/// What a person should know of a probe beside its numbers.
fn note(probe: &Probe) -> String {
    let repeated = if probe.counts { "" } else { ", to be repeated" };
    match probe.audit {
        Audit::Clean => String::new(),
        Audit::HarnessBound { delay_s } => format!(" (harness late by up to {:.0} ms{repeated})", delay_s.get() * 1e3),
        Audit::Throttled => throttled(probe),
        Audit::Void { cached_tokens } => format!(" (void: {cached_tokens} prompt tokens came from the prefix cache)"),
    }
}

fn throttled(probe: &Probe) -> String {
    let reasons = probe.telemetry.iter().flat_map(Telemetry::throttled_by);
    let names: BTreeSet<String> = reasons.map(|reason| reason.to_string()).collect();
    format!(" (GPU throttled: {})", names.into_iter().collect::<Vec<_>>().join(", "))
}

fn brackets(answers: &[Answer]) -> String {
    answers.iter().map(bracket).collect::<Vec<_>>().join(" ")
}

fn bracket(answer: &Answer) -> String {
    let level =
        |level: Option<ceiling_core::units::Concurrency>| level.map_or("?".to_owned(), |level| level.to_string());
    match answer.status {
        Status::Found => level(answer.highest_pass),
        Status::AboveCap => format!(">={}", level(answer.highest_pass)),
        Status::BelowOne => "<1".to_owned(),
        Status::Failed => "failed".to_owned(),
        Status::Undecided => format!("{}..{}", level(answer.highest_pass), level(answer.lowest_fail)),
    }
}
