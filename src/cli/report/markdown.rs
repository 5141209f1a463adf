//! A run as Markdown.

use std::fmt::Write;

use ceiling_core::record::{CellRecord, Run};

use super::table::{Table, table};

/// The table of ceilings, what failed and why, and where it comes from.
pub fn render(run: &Run) -> String {
    let mut text = format!("# {}\n\n", escape(&run.experiment.name));
    if !run.experiment.description.is_empty() {
        text += &format!("{}\n\n", escape(&run.experiment.description));
    }
    if run.simulated {
        text += "**Simulated**: these numbers come from a model of an engine, not from an engine.\n\n";
    }
    text += &rows(&table(run));
    text += &failures(run);
    text += &format!("\n{}\n", escape(&provenance(run)));
    text
}

fn rows(table: &Table) -> String {
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" | "));
    let rule = format!("|{}\n", " --- |".repeat(table.head.len()));
    line(&table.head) + &rule + &table.rows.iter().map(|row| line(row)).collect::<String>()
}

fn failures(run: &Run) -> String {
    let failed: Vec<_> = run.cells.iter().filter_map(|cell| Some((cell, cell.failure.as_ref()?))).collect();
    let mut text = String::new();
    for (cell, failure) in &failed {
        let log = failure.log.as_ref().map_or_else(String::new, |log| format!(" (see `{log}`)"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- `{}` failed: {}{log}", cell_name(cell), escape(&failure.reason));
    }
    if failed.is_empty() { text } else { format!("\n{text}") }
}

fn cell_name(cell: &CellRecord) -> String {
    cell.id.replace('`', "'")
}

/// One line on where a result comes from.
pub fn provenance(run: &Run) -> String {
    let from = &run.provenance;
    let engine = from.engine.as_ref().map(|engine| format!("{} {}", engine.kind, engine.version));
    let git = from.git.as_ref().map(|git| {
        let dirty = if git.dirty { " (dirty)" } else { "" };
        format!("commit {}{dirty}", git.commit.get(..7).unwrap_or(&git.commit))
    });
    let cpu = from.cpus.map(|count| format!("{count} x {}", from.cpu.as_deref().unwrap_or("CPU")));
    let devices: Vec<&str> =
        run.engines.iter().filter_map(|e| e.resolved.as_ref()).flat_map(|r| &r.devices).map(String::as_str).collect();
    let mut devices: Vec<&str> = devices;
    devices.dedup();
    let gpu = (!devices.is_empty()).then(|| devices.join(", "));
    let parts = [Some(format!("run {}", run.run_id)), Some(run.status.to_string()), engine, git, gpu, cpu];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}
