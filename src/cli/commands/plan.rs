//! `ceiling plan FILE…`

use std::path::Path;

use anyhow::Result;
use ceiling_core::plan::{Basis, Estimate, Guess, Plan, RULE, estimate};
use serde_json::{Value, json};

use super::experiments::{self, Planned};
use crate::args::{PlanArgs, PlanFormat};
use crate::exit::Exit;
use crate::output;
use crate::report::csv::{axis_value, text};
use crate::report::{about, printable, show, table::Table};
use crate::store::measurements;

/// Prints what a run would measure, and about how long it would take.
pub fn plan(args: &PlanArgs) -> Result<Exit> {
    let Some(Planned { plan, .. }) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    print(&plan, args.format, &args.results.results)?;
    Ok(Exit::Done)
}

/// Prints a plan; the estimate is taken from the runs under `results` where they measured the same.
pub fn print(plan: &Plan, format: PlanFormat, results: &Path) -> Result<()> {
    let estimate = || Ok::<_, anyhow::Error>(estimate(plan, &measurements(results, plan)?));
    match format {
        PlanFormat::Table => print_table(plan, &estimate()?),
        PlanFormat::Json => say!("{}", serde_json::to_string_pretty(&as_json(plan, &estimate()?))?),
        PlanFormat::Csv => output::text(&as_csv(plan)?),
    }
    Ok(())
}

fn print_table(plan: &Plan, estimate: &Estimate) {
    for (group, load) in plan.groups.iter().zip(&estimate.loads) {
        say!("engine {}: loads in about {}", printable(&group.label), about(load.seconds.get()));
        let head = ["ladder", "cell", "ok rate", "TTFT limit"].map(str::to_owned).to_vec();
        let rows = group.ladders.iter().flat_map(|&ladder| {
            plan.ladders[ladder].cells.iter().map(move |&cell| (&plan.ladders[ladder].id, &plan.cells[cell]))
        });
        let rows = rows.map(|(ladder, cell)| {
            vec![ladder.clone(), cell.id.clone(), cell.sla.ok_rate.to_string(), cell.sla.ttft.to_string()]
        });
        say!("{}", show(&Table { head, rows: rows.collect() }));
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    say!(
        "{} on {}, {}: about {} of engine time",
        count(plan.cells.len(), "cell"),
        count(plan.ladders.len(), "ladder"),
        count(plan.groups.len(), "engine load"),
        about(estimate.total().get()),
    );
    match estimate.measured() {
        (measured, all) if measured == all => say!("estimate: what earlier runs took"),
        (0, _) => say!("estimate, by rule of thumb: {RULE}"),
        (measured, all) => say!("estimate: {measured} of {all} times are what earlier runs took; the rest: {RULE}"),
    }
}

fn as_json(plan: &Plan, estimate: &Estimate) -> Value {
    let guess = |guess: &Guess| {
        let basis = match guess.basis {
            Basis::Measured => "measured",
            Basis::Rule => "rule",
        };
        json!({ "seconds": guess.seconds, "basis": basis })
    };
    let groups = plan.groups.iter().zip(&estimate.loads);
    let groups = groups.map(|(group, load)| json!({ "label": group.label, "key": group.key, "load": guess(load) }));
    let ladders = plan.ladders.iter().zip(&estimate.ladders).map(|(ladder, probes)| {
        let engine = &plan.groups[ladder.group].label;
        json!({ "id": ladder.id, "key": ladder.key, "engine": engine, "probes": guess(probes) })
    });
    let cells = plan.cells.iter().map(|cell| {
        let ladder = &plan.ladders[cell.ladder];
        json!({
            "experiment": plan.experiments[cell.experiment].name,
            "id": cell.id,
            "key": cell.key,
            "engine": plan.groups[ladder.group].label,
            "ladder": ladder.id,
            "axes": cell.axes,
            "sla": cell.sla,
        })
    });
    json!({
        "engine_loads": plan.groups.len(),
        "estimate_s": estimate.total(),
        "engines": groups.collect::<Vec<_>>(),
        "ladders": ladders.collect::<Vec<_>>(),
        "cells": cells.collect::<Vec<_>>(),
    })
}

fn as_csv(plan: &Plan) -> Result<String> {
    let mut axes: Vec<&str> = Vec::new();
    for (name, _) in plan.cells.iter().flat_map(|cell| cell.axes.iter()) {
        if !axes.contains(&name) {
            axes.push(name);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let of_axes = axes.iter().map(|axis| text(axis));
    writer.write_record(
        ["experiment", "engine", "ladder", "cell", "key"].map(str::to_owned).into_iter().chain(of_axes),
    )?;
    for cell in &plan.cells {
        let ladder = &plan.ladders[cell.ladder];
        let mut row = vec![
            text(plan.experiments[cell.experiment].name.as_str()),
            text(&plan.groups[ladder.group].label),
            text(&ladder.id),
            text(&cell.id),
            cell.key.to_string(),
        ];
        row.extend(axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, axis_value)));
        writer.write_record(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
