//! What earlier runs took, for estimates.

use std::path::Path;

use anyhow::Result;
use ceiling_core::plan::{Measurements, Plan};
use ceiling_core::search::Status;

use serde::de::IgnoredAny;

use super::find::read_run;
use super::run_dir::runs;

/// Load times and ladder times of the newest runs that measured a part of this plan.
///
/// A run that cannot be read has nothing to tell here; `ceiling list` shows it as such.
pub fn measurements(results: &Path, plan: &Plan) -> Result<Measurements> {
    let mut earlier = Measurements::default();
    for directory in runs(results)?.into_iter().rev() {
        if earlier.loads.len() == plan.groups.len() && earlier.ladders.len() == plan.ladders.len() {
            break;
        }
        let Ok(run) = read_run::<IgnoredAny>(&directory) else { continue };
        for engine in run.engines.iter().filter(|engine| plan.groups.iter().any(|group| group.key == engine.key)) {
            if let Some(seconds) = engine.load_seconds {
                earlier.loads.entry(engine.key).or_insert(seconds);
            }
        }
        for ladder in run.ladders.iter().filter(|ladder| plan.ladders.iter().any(|known| known.key == ladder.key)) {
            let mut cells = run.cells.iter().filter(|cell| cell.ladder == ladder.id);
            if cells.all(|cell| cell.status.is_some_and(|status| status != Status::Failed)) {
                earlier.ladders.entry(ladder.key).or_insert(ladder.engine_s);
            }
        }
    }
    Ok(earlier)
}
