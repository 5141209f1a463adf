//! `ceiling history EXPERIMENT`

use anyhow::{Context, Result, bail};
use ceiling_core::compare::{Across, ComparedRun, Options, history as trace};
use ceiling_core::record::CellRecord;

use super::pattern::Pattern;
use crate::args::{HistoryArgs, HistoryFormat};
use crate::exit::Exit;
use crate::output;
use crate::report::history;
use crate::store::Past;

/// Shows the ceilings of an experiment over all its runs.
pub fn history(args: &HistoryArgs) -> Result<Exit> {
    let runs = runs_of(args)?;
    let wanted = args.cell.as_deref().map(Pattern::new);
    let matches = |cell: &CellRecord| wanted.as_ref().is_none_or(|wanted| wanted.matches(&cell.id));
    let options = Options { threshold: args.threshold, across: Across::new(args.across.iter().cloned()) };
    let traces = trace(&runs, matches, &options)?;
    if let ([], Some(pattern)) = (traces.as_slice(), &args.cell) {
        let ids: Vec<&str> = runs.iter().next_back().into_iter().flat_map(|run| &run.cells).map(|c| &*c.id).collect();
        bail!("--cell {pattern} matches none of the {} cells of the newest run: {}", ids.len(), some(&ids));
    }
    match args.format {
        HistoryFormat::Table => output::text(&history::table(&traces)),
        HistoryFormat::Markdown => output::text(&history::markdown(&traces)),
        HistoryFormat::Json => say!("{}", serde_json::to_string_pretty(&traces)?),
    }
    Ok(Exit::Done)
}

/// All runs of the experiment that can be read, oldest first; what cannot is said.
fn runs_of(args: &HistoryArgs) -> Result<Vec<ComparedRun>> {
    let results = &args.results.results;
    let past = Past::of(results, &args.experiment)?;
    for gap in &past.gaps {
        tell!("note: there may be more runs: {gap:#}");
    }
    let mut found = Vec::new();
    for run in past.read() {
        match run {
            Ok(run) => found.push(run),
            Err(error) => tell!("warning: left out: {error:#}"),
        }
    }
    if found.is_empty() {
        let names: Vec<&str> = past.others.iter().map(String::as_str).collect();
        Err(anyhow::anyhow!("the experiments there: {}", some(&names)))
            .with_context(|| format!("there is no run of `{}` under {}", args.experiment, results.display()))?;
    }
    Ok(found)
}

/// The first few of a list.
fn some(names: &[&str]) -> String {
    const MOST: usize = 10;
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{}, … ({count})", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}
