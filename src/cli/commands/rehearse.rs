//! `ceiling rehearse FILE…`

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use ceiling_core::experiment::Engine;
use ceiling_core::plan::Plan;
use ceiling_core::rehearse::{Rehearsal, RehearsedTotal, Stage, StandIn, rehearse as rehearse_plan};
use ceiling_core::sim::SimEngine;
use indicatif::{ProgressBar, ProgressStyle};

use super::experiments::{self, Planned};
use crate::args::{RehearseArgs, RehearseFormat};
use crate::exit::Exit;
use crate::report::{about, printable, show, table::Table};

/// Runs the plan against the simulator many times and says what a night of it would cost, and how sure it would be.
pub fn rehearse(args: &RehearseArgs) -> Result<Exit> {
    let Some(Planned { plan, .. }) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    let plan = match &args.engine {
        None => plan,
        Some(file) => match simulated(file)? {
            None => return Ok(Exit::Usage),
            Some(engine) => stand_in(&plan, engine)?,
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

/// The simulated engine of an experiment file; `None` where the file is faulty, which has been said by then.
fn simulated(file: &Path) -> Result<Option<SimEngine>> {
    let Some(Planned { plan, .. }) = experiments::plan_files(&[file.to_owned()], &[], &crate::files::Disk) else {
        return Ok(None);
    };
    let [group] = plan.groups.as_slice() else {
        bail!("{} describes {} engines; a stand-in is one", file.display(), plan.groups.len());
    };
    match *group.engine {
        Engine::Sim(engine) => Ok(Some(engine)),
        Engine::Vllm(_) => bail!("{} describes a real engine; a stand-in has `kind = \"sim\"`", file.display()),
    }
}

/// The plan on a stand-in for every real engine; says what of the plan that leaves out.
fn stand_in(plan: &Plan, engine: SimEngine) -> Result<Plan> {
    let StandIn { plan, unheeded, shares_prefix } = ceiling_core::rehearse::stand_in(plan, engine)?;
    if !unheeded.is_empty() {
        let unheeded: Vec<String> = unheeded.iter().map(|field| printable(field)).collect();
        tell!("note: the stand-in is the same whatever these say: {}", unheeded.join(", "));
        if unheeded.iter().any(|field| field == "engine.num_gpu_blocks_override") {
            tell!("note: a KV cache in blocks is heeded where engine.block_size says how large they are");
        }
    }
    if shares_prefix {
        tell!("note: the stand-in computes every prompt whole, its shared prefix too, which vLLM takes from its cache");
    }
    Ok(plan)
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
        "dearest seed",
        "out of budget",
        "times the certificate",
        "reference: probes",
        "engine time",
        "bracket holds it",
    ];
    let ladders = rehearsal.ladders.iter().map(|ladder| {
        vec![
            ladder.ladder.clone(),
            format!("{:.1}", ladder.probes_mean),
            lasts(ladder.engine_s_mean),
            lasts(ladder.engine_s_max),
            format!("{} of {}", ladder.out_of_budget, rehearsal.seeds),
            text(ladder.certificate_ratio_mean.map(|ratio| format!("{ratio:.2}"))),
            format!("{:.1}", ladder.reference.probes_mean),
            lasts(ladder.reference.engine_s_mean),
            percent(ladder.reference.coverage),
        ]
    });
    say!("{}", show(&Table { head: head.map(str::to_owned).to_vec(), rows: ladders.collect() }));
    say!("means over {} seeds; the reference is ramp and bisection, each SLA on its own", rehearsal.seeds);
    let RehearsedTotal { load_s, engine_s_mean, engine_s_max } = rehearsal.total;
    say!(
        "in all {} of engine time, {} if every ladder were its dearest; {} of it to load engines",
        lasts(engine_s_mean),
        lasts(engine_s_max),
        lasts(load_s)
    );
}

/// A length of time in seconds, to a tenth where it is short: ladders on simulated engines often are.
fn lasts(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.1} s") } else { about(seconds) }
}
