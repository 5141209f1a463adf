//! `requests.parquet`: one row per request, in columns that pandas, polars and DuckDB read.
//!
//! A Parquet file is only a file once its footer is written, so one that grew with the run would be lost with it. The
//! journal holds every request anyway and survives: the table is made from it when the run ends. Where a run was killed,
//! its resumption makes the table, or whoever asks for a report.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use ceiling_core::plan::Key;
use ceiling_core::record::{Entry, LadderRecord, Probe, Run};
use ceiling_core::request::{RequestEnd, RequestRecord};
use ceiling_core::units::Seconds;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::RecordWriter;
use parquet_derive::ParquetRecordWriter;

use super::journal;

/// Rows that are held in memory and written together: enough for columns to compress, little enough for any machine.
const ROW_GROUP: usize = 50_000;

/// Times ending in `_s` are in seconds; the moments among them count from the beginning of the probe.
#[derive(ParquetRecordWriter)]
struct Row<'a> {
    ladder: &'a str,
    probe: u32,
    concurrency: u32,
    /// Whether the probe is evidence.
    counts: bool,
    request: u32,
    judged: bool,
    planned_s: f64,
    submitted_s: f64,
    first_s: Option<f64>,
    last_s: Option<f64>,
    ended_s: f64,
    end: &'a str,
    reason: Option<&'a str>,
    output_tokens: u32,
    itl_max_s: Option<f64>,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    queued_s: Option<f64>,
    preemptions: u32,
}

/// Makes the table where a journal knows more than it does; a run without a journal was read from elsewhere.
pub fn complete(directory: &Path, run: &Run) -> Result<()> {
    let changed = |name: &str| directory.join(name).metadata().and_then(|file| file.modified()).ok();
    match (changed("journal.jsonl"), changed("requests.parquet")) {
        (None, _) => Ok(()),
        (Some(journal), Some(table)) if table >= journal => Ok(()),
        _ => write(directory, run),
    }
}

/// Makes the table of a run from its journal; a reader sees the old one or the new.
pub fn write(directory: &Path, run: &Run) -> Result<()> {
    let ids = run.ladders.iter().map(|ladder| (ladder.key, ladder.id.as_str())).collect();
    let numbers = |ladder: &LadderRecord| {
        let key = ladder.key;
        ladder.probes.iter().map(move |probe| (key, probe.number)).collect::<Vec<_>>()
    };
    let published: HashSet<(Key, u32)> = run.ladders.iter().flat_map(numbers).collect();
    let path = directory.join("requests.parquet");
    let new = path.with_added_extension("new");
    let context = || format!("cannot write {}", path.display());
    let mut table = Table::create(&new, run, ids).with_context(context)?;
    let mut entries = journal::entries(&directory.join("journal.jsonl"))?;
    let mut next_group = || {
        let (mut probes, mut rows) = (Vec::new(), 0);
        while rows < ROW_GROUP {
            let Some(entry) = entries.next() else { break };
            match entry?.1 {
                // What was measured on an engine that has changed since is not published either.
                Entry::Probed(probe) if published.contains(&(probe.ladder, probe.number)) => {
                    rows += probe.measured.requests.len();
                    probes.push(*probe);
                }
                _ => {}
            }
        }
        Ok::<_, anyhow::Error>(probes)
    };
    let mut group = next_group()?;
    while !group.is_empty() {
        // While one is written, the next is read.
        let (written, next) = rayon::join(|| table.add(&group), &mut next_group);
        written.with_context(context)?;
        group = next?;
    }
    table.finish().and_then(|file| Ok(file.sync_all()?)).with_context(context)?;
    std::fs::rename(&new, &path).with_context(context)
}

/// A table that is being written.
struct Table<'a> {
    writer: SerializedFileWriter<File>,
    ids: HashMap<Key, &'a str>,
}

impl<'a> Table<'a> {
    fn create(path: &Path, run: &Run, ids: HashMap<Key, &'a str>) -> Result<Self> {
        let none: &[Row<'_>] = &[];
        let schema = none.schema()?;
        let about = [("experiment", &run.experiment.name), ("run_id", &run.run_id)];
        let about = about.map(|(key, value)| KeyValue::new(key.to_owned(), value.clone())).to_vec();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(about))
            .build();
        let writer = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
        Ok(Self { writer, ids })
    }

    /// The id of a ladder; one that is no longer part of the experiment is named by its key.
    fn name(&self, probe: &Probe) -> String {
        self.ids.get(&probe.ladder).map_or_else(|| probe.ladder.to_string(), |id| (*id).to_owned())
    }

    /// Adds a row group: the requests of these probes.
    fn add(&mut self, probes: &[Probe]) -> Result<()> {
        let names: Vec<String> = probes.iter().map(|probe| self.name(probe)).collect();
        let rows = names.iter().zip(probes).flat_map(|(name, probe)| probe_rows(name, probe));
        let rows: Vec<Row<'_>> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        rows.as_slice().write_to_row_group(&mut group)?;
        group.close()?;
        Ok(())
    }

    fn finish(self) -> Result<File> {
        Ok(self.writer.into_inner()?)
    }
}

fn probe_rows<'a>(ladder: &'a str, probe: &'a Probe) -> impl Iterator<Item = Row<'a>> {
    probe.measured.requests.iter().map(move |request| Row::new(ladder, probe, request))
}

impl<'a> Row<'a> {
    fn new(ladder: &'a str, probe: &Probe, request: &'a RequestRecord) -> Self {
        let (end, reason) = match &request.end {
            RequestEnd::Finished => ("finished", None),
            RequestEnd::Held => ("held", None),
            RequestEnd::Stopped => ("stopped", None),
            RequestEnd::Failed { reason } => ("failed", Some(reason.as_str())),
        };
        Self {
            ladder,
            probe: probe.number,
            concurrency: probe.concurrency.get(),
            counts: probe.counts,
            request: request.index,
            judged: request.judged,
            planned_s: request.planned_s.get(),
            submitted_s: request.submitted_s.get(),
            first_s: request.first_s.map(Seconds::get),
            last_s: request.last_s.map(Seconds::get),
            ended_s: request.ended_s.get(),
            end,
            reason,
            output_tokens: request.tokens,
            itl_max_s: request.itl_max_s.map(Seconds::get),
            prompt_tokens: request.prompt_tokens,
            cached_tokens: request.cached_tokens,
            queued_s: request.queued_s.map(Seconds::get),
            preemptions: request.preemptions,
        }
    }
}
