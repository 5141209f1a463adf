//! The ladders of a run, and the probes in them that are evidence of their levels.

use std::collections::HashMap;

use ceiling_core::record::{CellRecord, LadderRecord, ProbeRecord, Run};

/// The ladders of a run by their id.
pub struct Ladders<'a>(HashMap<&'a str, &'a LadderRecord>);

impl<'a> Ladders<'a> {
    /// Those of a run.
    pub fn of(run: &'a Run) -> Self {
        Self(run.ladders.iter().map(|ladder| (ladder.id.as_str(), ladder)).collect())
    }

    /// The ladder that answers a cell.
    pub fn of_cell(&self, cell: &CellRecord) -> Option<&'a LadderRecord> {
        self.0.get(cell.ladder.as_str()).copied()
    }

    /// The newest probe at the highest level known to pass; one that ran as planned, if any did, since one that was
    /// stopped shows less.
    pub fn probe_at_ceiling(&self, cell: &CellRecord) -> Option<&'a ProbeRecord> {
        let at_ceiling = |probe: &&ProbeRecord| Some(probe.concurrency) == cell.highest_pass;
        let probes: Vec<_> = evidence(self.of_cell(cell)?).filter(at_ceiling).collect();
        probes.iter().rfind(|probe| probe.output_tokens_per_s.is_some()).or(probes.last()).copied()
    }
}

/// The probes of a ladder that are evidence of its levels, in order.
pub fn evidence(ladder: &LadderRecord) -> impl Iterator<Item = &ProbeRecord> {
    ladder.probes.iter().filter(|probe| probe.is_evidence(ladder.workload.load))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing::run_json;

    #[test]
    fn a_burst_says_nothing_of_the_level_that_a_sustained_load_passes() {
        let mut run = run_json();
        let probes = run["ladders"][0]["probes"].as_array_mut().unwrap();
        // The newest of eight is a burst to the first tokens.
        probes.push(probes[1].clone());
        probes[3]["number"] = json!(3);
        probes[3]["until"] = json!("first-tokens");
        let at_ceiling = |run: &serde_json::Value| {
            let run: Run = serde_json::from_value(run.clone()).unwrap();
            Ladders::of(&run).probe_at_ceiling(&run.cells[0]).map(|probe| probe.number)
        };
        assert_eq!(at_ceiling(&run), Some(3));
        run["ladders"][0]["workload"]["load"] = json!("sustained");
        assert_eq!(at_ceiling(&run), Some(1));
    }
}
