//! As much of `run.json` as a list of runs shows, or a comparison needs: read without what is large.

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::{CellRecord, Git, RunStatus};
use crate::search::Status;
use crate::units::Concurrency;

/// A run in brief.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RunSummary {
    /// The schema of its file.
    pub schema: u32,
    /// UTC time and short commit.
    pub run_id: String,
    /// How far it came.
    pub status: RunStatus,
    /// Cells of the experiment that it leaves out.
    #[serde(default)]
    pub left_out: usize,
    /// Whether every number comes from the simulator.
    pub simulated: bool,
    /// When it was started, UTC, in RFC 3339.
    pub started: String,
    /// When it ended; absent while it goes on, and where it was killed.
    pub finished: Option<String>,
    /// What was asked.
    pub experiment: ExperimentSummary,
    /// Where it comes from.
    pub provenance: ProvenanceSummary,
    /// Its cells.
    pub brief: Brief,
}

/// What was asked, in brief.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExperimentSummary {
    /// Name of the experiment.
    pub name: String,
}

/// Where a run comes from, in brief.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProvenanceSummary {
    /// The repository in whose working tree it was started.
    pub git: Option<Git>,
}

/// The cells of a run in brief.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Brief {
    /// How many there are.
    pub cells: usize,
    /// The first few, in the order of the experiment.
    pub first: Vec<CellSummary>,
}

impl Brief {
    /// The most cells of which it tells more than that they are there.
    const MOST: usize = 8;

    /// Sums cells up.
    pub fn of(cells: &[CellRecord]) -> Self {
        let first = cells.iter().take(Self::MOST);
        let first = first.map(|cell| CellSummary { status: cell.status, highest_pass: cell.highest_pass });
        Self { cells: cells.len(), first: first.collect() }
    }
}

/// A cell in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CellSummary {
    /// How the search ended; absent while it has not.
    pub status: Option<Status>,
    /// The highest level known to pass.
    pub highest_pass: Option<Concurrency>,
}

/// A probe in brief: what two runs are compared by.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ProbeSummary {
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// What it was measured for.
    pub until: UntilSummary,
    /// Whether it is evidence.
    pub counts: bool,
    /// Time to first token.
    pub ttft: Option<QuantilesSummary>,
    /// Output tokens of all requests in a second.
    pub output_tokens_per_s: Option<f64>,
}

/// What a probe was measured for, in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UntilSummary {
    /// Verdicts of some SLAs.
    Decided(Ignored),
    /// The times of the first tokens.
    FirstTokens,
}

/// What is there, whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Order statistics in brief, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct QuantilesSummary {
    /// Median.
    pub p50_s: Option<f64>,
    /// 99th percentile.
    pub p99_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LadderRecord, ProbeRecord};
    use crate::watch::Until;

    #[derive(Deserialize)]
    struct Part<P> {
        ladders: Vec<LadderRecord<P>>,
    }

    #[test]
    fn a_probe_in_brief_says_what_the_whole_says() {
        let pattern = concat!(env!("CARGO_MANIFEST_DIR"), "/../../results/quickstart/*/run.json");
        let path = glob::glob(pattern).unwrap().next().unwrap().unwrap();
        let text = std::fs::read(path).unwrap();
        let whole: Part<ProbeRecord> = serde_json::from_slice(&text).unwrap();
        let brief: Part<ProbeSummary> = serde_json::from_slice(&text).unwrap();
        let whole: Vec<_> = whole.ladders.iter().flat_map(|ladder| &ladder.probes).collect();
        let brief: Vec<_> = brief.ladders.iter().flat_map(|ladder| &ladder.probes).collect();
        assert!(whole.len() > 1);
        let in_brief = whole.iter().map(|probe| ProbeSummary {
            concurrency: probe.concurrency,
            until: match probe.until {
                Until::Decided(_) => UntilSummary::Decided(Ignored),
                Until::FirstTokens => UntilSummary::FirstTokens,
            },
            counts: probe.counts,
            ttft: probe.ttft.map(|ttft| QuantilesSummary { p50_s: ttft.p50_s, p99_s: ttft.p99_s }),
            output_tokens_per_s: probe.output_tokens_per_s,
        });
        assert!(in_brief.eq(brief.into_iter().cloned()));
    }
}
