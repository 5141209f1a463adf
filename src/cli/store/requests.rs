//! `requests.csv`: one row per request. Times are in seconds since the probe began.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ceiling_core::plan::Plan;
use ceiling_core::record::Entry;
use ceiling_core::request::{RequestEnd, RequestRecord};
use ceiling_core::units::{Concurrency, Seconds};
use serde::Serialize;

/// The table of requests of a run that is being written.
#[derive(Debug)]
pub struct Requests {
    writer: csv::Writer<File>,
    path: PathBuf,
}

#[derive(Serialize)]
struct Row<'a> {
    ladder: &'a str,
    probe: u32,
    concurrency: Concurrency,
    request: u32,
    judged: bool,
    planned_s: Seconds,
    submitted_s: Seconds,
    first_s: Option<Seconds>,
    last_s: Option<Seconds>,
    ended_s: Seconds,
    end: &'static str,
    reason: &'a str,
    output_tokens: u32,
    itl_max_s: Option<Seconds>,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    queued_s: Option<Seconds>,
    preemptions: u32,
}

impl Requests {
    /// Begins a new table, in the place of one that is there.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { writer: csv::Writer::from_writer(file), path: path.to_owned() })
    }

    /// Appends the requests of an entry, if it is that of a probe.
    pub fn append_entry(&mut self, plan: &Plan, entry: &Entry) -> Result<()> {
        let Entry::Probed(probe) = entry else { return Ok(()) };
        // A ladder that is no longer part of the plan is named by its key.
        let known = plan.ladders.iter().find(|known| known.key == probe.ladder);
        let name = known.map_or_else(|| probe.ladder.to_string(), |known| known.id.clone());
        self.append(&name, probe.number, probe.concurrency, &probe.measured.requests)
    }

    fn append(&mut self, ladder: &str, probe: u32, level: Concurrency, requests: &[RequestRecord]) -> Result<()> {
        let mut write = || -> csv::Result<()> {
            for request in requests {
                self.writer.serialize(Row::new(ladder, probe, level, request))?;
            }
            Ok(self.writer.flush()?)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl<'a> Row<'a> {
    fn new(ladder: &'a str, probe: u32, concurrency: Concurrency, request: &'a RequestRecord) -> Self {
        let (end, reason) = match &request.end {
            RequestEnd::Finished => ("finished", ""),
            RequestEnd::Held => ("held", ""),
            RequestEnd::Stopped => ("stopped", ""),
            RequestEnd::Failed { reason } => ("failed", reason.as_str()),
        };
        Self {
            ladder,
            probe,
            concurrency,
            request: request.index,
            judged: request.judged,
            planned_s: request.planned_s,
            submitted_s: request.submitted_s,
            first_s: request.first_s,
            last_s: request.last_s,
            ended_s: request.ended_s,
            end,
            reason,
            output_tokens: request.tokens,
            itl_max_s: request.itl_max_s,
            prompt_tokens: request.prompt_tokens,
            cached_tokens: request.cached_tokens,
            queued_s: request.queued_s,
            preemptions: request.preemptions,
        }
    }
}
