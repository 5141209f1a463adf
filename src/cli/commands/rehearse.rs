//! `ceiling rehearse FILE…`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::Engine;
use ceiling_core::plan::Plan;
use ceiling_core::rehearse::{Rehearsal, Stage, rehearse as rehearse_plan};
use indicatif::{ProgressBar, ProgressStyle};

use super::experiments::{self, Planned};
use crate::args::{RehearseArgs, RehearseFormat};
use crate::exit::Exit;
use crate::report::{printable, show, table::Table};

/// Runs the plan against the simulator many times and says what a night of it would cost, and how sure it would be.
pub fn rehearse(args: &RehearseArgs) -> Result<Exit> {
    let Some(Planned { plan, .. }) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    let plan = match &args.engine {
        None => plan,
        Some(file) => match stand_in(&plan, file)? {
            None => return Ok(Exit::Usage),
            Some(plan) => plan,
        },
    };
    let bar = bar(plan.ladders.len() as u64 * u64::from(args.seeds.get()));
    let rehearsal = rehearse_plan(&plan, args.seeds.get(), &|stage| match stage {
        Stage::Truth(ladder) => bar.set_message(format!("{}: true ceilings by brute force", printable(ladder))),
        Stage::Running(ladder) => bar.set_message(printable(ladder)),
        Stage::Ran => bar.inc(1),
    });
    bar.finish_and_clear();
    let rehearsal = rehearsal?;
    match args.format {
        RehearseFormat::Json => say!("{}", serde_json::to_string_pretty(&rehearsal)?),
        RehearseFormat::Table => print_tables(&rehearsal),
    }
    Ok(Exit::Done)
}

/// Shows on a terminal how far so many runs are; nowhere else.
fn bar(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {elapsed} so far; {wide_msg}");
    // The template is a literal; the default style serves where it could not be read.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The plan with every real engine replaced by the simulated one of an experiment file, which keeps its own
/// `max_num_seqs` where a group names one. `None` where the file is faulty.
fn stand_in(plan: &Plan, file: &Path) -> Result<Option<Plan>> {
    let Some(Planned { plan: other, .. }) = experiments::plan_files(&[file.to_owned()], &[], &crate::files::Disk)
    else {
        return Ok(None);
    };
    let [group] = other.groups.as_slice() else {
        bail!("{} describes {} engines; a stand-in is one", file.display(), other.groups.len());
    };
    let Engine::Sim(engine) = *group.engine else {
        bail!("{} describes a real engine; a stand-in has `kind = \"sim\"`", file.display());
    };
    let mut plan = plan.clone();
    for group in &mut plan.groups {
        if let Engine::Vllm(real) = &*group.engine {
            let limit = real.spec.args.get("max_num_seqs").and_then(serde_json::Value::as_u64);
            let max_num_seqs = match limit {
                None => engine.max_num_seqs,
                Some(limit) => u32::try_from(limit).with_context(|| format!("max_num_seqs = {limit} is too large"))?,
            };
            group.engine = Arc::new(Engine::Sim(ceiling_core::sim::SimEngine { max_num_seqs, ..engine }));
        }
    }
    Ok(Some(plan))
}

fn print_tables(rehearsal: &Rehearsal) {
    let text = |value: Option<String>| value.unwrap_or_default();
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let head = ["cell", "true ceiling", "bracket holds it", "median width", "undecided"].map(str::to_owned).to_vec();
    let cells = rehearsal.cells.iter().map(|cell| {
        vec![
            cell.cell.clone(),
            cell.true_ceiling.map_or_else(|| "below one".to_owned(), |level| level.to_string()),
            percent(cell.coverage),
            text(cell.median_relative_width.map(percent)),
            percent(cell.undecided),
        ]
    });
    say!("{}", show(&Table { head, rows: cells.collect() }));
    let head = [
        "ladder",
        "probes",
        "engine time",
        "times the certificate",
        "reference: probes",
        "engine time",
        "bracket holds it",
    ];
    let ladders = rehearsal.ladders.iter().map(|ladder| {
        vec![
            ladder.ladder.clone(),
            format!("{:.1}", ladder.probes_mean),
            format!("{:.1} s", ladder.engine_s_mean),
            text(ladder.certificate_ratio_mean.map(|ratio| format!("{ratio:.2}"))),
            format!("{:.1}", ladder.reference.probes_mean),
            format!("{:.1} s", ladder.reference.engine_s_mean),
            percent(ladder.reference.coverage),
        ]
    });
    say!("{}", show(&Table { head: head.map(str::to_owned).to_vec(), rows: ladders.collect() }));
    say!("means over {} seeds; the reference is ramp and bisection, each SLA on its own", rehearsal.seeds);
}
