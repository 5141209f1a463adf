//! `ceiling plan FILE…`

use anyhow::Result;
use ceiling_core::plan::Plan;
use serde_json::{Value, json};

use super::experiments;
use crate::args::{PlanArgs, PlanFormat};
use crate::exit::Exit;
use crate::report::csv::plain;
use crate::report::{show, table::Table};

/// Prints what a run would measure.
pub fn plan(args: &PlanArgs) -> Result<Exit> {
    let Some(plan) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    print(&plan, args.format)?;
    Ok(Exit::Done)
}

/// Prints a plan.
pub fn print(plan: &Plan, format: PlanFormat) -> Result<()> {
    match format {
        PlanFormat::Table => print_table(plan),
        PlanFormat::Json => println!("{}", serde_json::to_string_pretty(&as_json(plan))?),
        PlanFormat::Csv => print!("{}", as_csv(plan)?),
    }
    Ok(())
}

fn print_table(plan: &Plan) {
    for group in &plan.groups {
        println!("engine {}", group.label);
        let head = ["ladder", "cell", "ok rate", "TTFT limit"].map(str::to_owned).to_vec();
        let rows = group.ladders.iter().flat_map(|&ladder| {
            plan.ladders[ladder].cells.iter().map(move |&cell| (&plan.ladders[ladder].id, &plan.cells[cell]))
        });
        let rows = rows.map(|(ladder, cell)| {
            vec![ladder.clone(), cell.id.clone(), cell.sla.ok_rate.to_string(), cell.sla.ttft.to_string()]
        });
        println!("{}", show(&Table { head, rows: rows.collect() }));
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    println!(
        "{} on {}, {}",
        count(plan.cells.len(), "cell"),
        count(plan.ladders.len(), "ladder"),
        count(plan.groups.len(), "engine load")
    );
}

fn as_json(plan: &Plan) -> Value {
    let cells: Vec<Value> = plan
        .cells
        .iter()
        .map(|cell| {
            let ladder = &plan.ladders[cell.ladder];
            json!({
                "experiment": plan.experiments[cell.experiment].name,
                "id": cell.id,
                "key": cell.key,
                "engine": plan.groups[ladder.group].label,
                "ladder": ladder.id,
                "axes": cell.axes.to_map(),
                "sla": cell.sla,
            })
        })
        .collect();
    json!({ "engine_loads": plan.groups.len(), "ladders": plan.ladders.len(), "cells": cells })
}

fn as_csv(plan: &Plan) -> Result<String> {
    let mut axes: Vec<&str> = Vec::new();
    for (name, _) in plan.cells.iter().flat_map(|cell| cell.axes.iter()) {
        if !axes.contains(&name) {
            axes.push(name);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["experiment", "engine", "ladder", "cell", "key"].iter().chain(&axes))?;
    for cell in &plan.cells {
        let ladder = &plan.ladders[cell.ladder];
        let mut row = vec![
            plan.experiments[cell.experiment].name.to_string(),
            plan.groups[ladder.group].label.clone(),
            ladder.id.clone(),
            cell.id.clone(),
            cell.key.to_string(),
        ];
        row.extend(axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, plain)));
        writer.write_record(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
