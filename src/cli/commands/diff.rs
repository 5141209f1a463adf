//! `ceiling diff BASELINE CANDIDATE`

use std::thread;

use anyhow::{Context, Result};
use ceiling_core::compare::{Across, ComparedRun, Comparison, Options, Verdict, compare};

use crate::args::{DiffArgs, DiffFormat, FailOn};
use crate::exit::Exit;
use crate::output;
use crate::report::diff;
use crate::store::{Finder, Found};

/// Compares two runs and says whether the caller should worry.
pub fn diff(args: &DiffArgs) -> Result<Exit> {
    let (baseline, candidate) = find(args)?;
    let (before, after) = read_both(&baseline, &candidate)?;
    let options = Options { threshold: args.threshold, across: Across::new(args.across.iter().cloned()) };
    let comparison = compare(&before, &after, &options)?;
    let text = match args.format {
        DiffFormat::Table => diff::table::render(&comparison),
        DiffFormat::Markdown => diff::markdown::render(&comparison),
        DiffFormat::Json => format!("{}\n", serde_json::to_string_pretty(&comparison)?),
        DiffFormat::Html => diff::html::render(&comparison),
    };
    output::text(&text);
    if baseline.place == candidate.place {
        tell!("note: baseline and candidate are the same run, {}", baseline.place);
    }
    Ok(decide(&comparison, args.fail_on))
}

/// The candidate first: a baseline that could be of several experiments is looked for among those of its own.
fn find(args: &DiffArgs) -> Result<(Found, Found)> {
    let results = &args.results.results;
    let asked = args.experiment.as_deref();
    let candidate = Finder::new(results, asked).find(&args.candidate).and_then(|found| found.of_experiment(asked));
    let candidate = candidate.context("cannot find the candidate")?;
    let experiment = match &args.experiment {
        Some(name) => name.clone(),
        None => candidate.experiment().context("cannot read the candidate")?,
    };
    let baseline = Finder::new(results, Some(&experiment)).find_baseline(&args.baseline, &candidate);
    let baseline = baseline.and_then(|found| found.of_experiment(asked));
    Ok((baseline.context("cannot find the baseline")?, candidate))
}

fn read_both(baseline: &Found, candidate: &Found) -> Result<(ComparedRun, ComparedRun)> {
    thread::scope(|scope| {
        let before = scope.spawn(|| baseline.read());
        let after = candidate.read().context("cannot read the candidate")?;
        let before = before.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((before.context("cannot read the baseline")?, after))
    })
}

/// What the caller's question comes to. Without `--fail-on` a regression fails and nothing else was asked to be decided.
fn decide(comparison: &Comparison<'_>, fail_on: Option<FailOn>) -> Exit {
    let count = |verdict| comparison.summary.count(verdict);
    // Cells that the baseline was asked to leave out; others are new.
    let not_in_baseline = if comparison.baseline.left_out > 0 { count(Verdict::Added) } else { 0 };
    let (failing, open) = match fail_on {
        Some(FailOn::Never) => return Exit::Done,
        None => (count(Verdict::Regressed), 0),
        Some(FailOn::Regression) => {
            let threshold = comparison.threshold;
            let open = comparison.cells.iter().filter(|cell| cell.may_have_regressed(threshold)).count();
            // Of a cell that was measured once only nothing is excluded.
            (count(Verdict::Regressed), open + count(Verdict::Removed) + not_in_baseline)
        }
        Some(FailOn::Change) => {
            let changed = [Verdict::Regressed, Verdict::Improved, Verdict::Added, Verdict::Removed];
            let open = count(Verdict::Undecided) + count(Verdict::Incomparable);
            (changed.into_iter().map(count).sum(), open)
        }
    };
    if !comparison.comparable {
        tell!("not comparable: {}", diff::why_not_comparable(comparison));
        Exit::Undecided
    } else if failing > 0 {
        Exit::Failed
    } else if open > 0 {
        tell!("undecided: what --fail-on asks about can be neither told nor excluded for {open} cells");
        if let removed @ 1.. = count(Verdict::Removed) {
            tell!(
                "{removed} cells of the baseline are not in the candidate: was it measured with another --only, --set or file?"
            );
        }
        if not_in_baseline > 0 {
            tell!(
                "{not_in_baseline} cells of the candidate are not in the baseline, which left cells out: name a whole run"
            );
        }
        Exit::Undecided
    } else {
        Exit::Done
    }
}
