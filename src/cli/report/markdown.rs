//! A run as Markdown, for pull requests and notes.

use std::fmt::Write;

use ceiling_core::record::{CellRecord, Failure, LadderRecord, Run};

use super::ladders::Ladders;
use super::table::{self, Table, grid};

/// The ceilings as a grid and as a table, what failed and why, and where it comes from.
pub fn render(run: &Run) -> String {
    let mut text = format!("# {}\n\n", escape(&run.experiment.name));
    if !run.experiment.description.is_empty() {
        text += &format!("{}\n\n", escape(&run.experiment.description));
    }
    if run.simulated {
        text += "**Simulated**: these numbers come from a model of an engine, not from an engine.\n\n";
    }
    if let Some(grid) = grid(run) {
        text += &format!("Most requests in flight:\n\n{}\n", rows(&grid));
    }
    text += &rows(&table::table(run));
    text += &failures(run);
    text += &format!("\n{}\n", escape(&provenance(run)));
    text
}

/// A table in Markdown.
pub fn rows(table: &Table) -> String {
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" | "));
    let rule = format!("|{}\n", " --- |".repeat(table.head.len()));
    line(&table.head) + &rule + &table.rows.iter().map(|row| line(row)).collect::<String>()
}

fn failures(run: &Run) -> String {
    let mut text = String::new();
    for (failure, cells) in failed(run) {
        let log = failure.log.as_ref().map_or_else(String::new, |log| format!(" (log: {})", escape(log)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {} failed: {}{log}", escape(&names(&cells)), escape(&failure.reason));
    }
    for (reason, cells) in undecided(run) {
        let _ = writeln!(text, "- {} undecided: {}", escape(&names(&cells)), escape(&reason));
    }
    for (reason, cells) in left(run) {
        let _ = writeln!(text, "- {} left: {}", escape(&names(&cells)), escape(reason));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// Why cells failed, each reason once with the ids of its cells, in the order of the cells.
pub fn failed(run: &Run) -> Vec<(&Failure, Vec<&str>)> {
    by_reason(run, |cell| cell.failure.as_ref())
}

/// Why the searches for cells ended undecided, in the same way.
pub fn undecided(run: &Run) -> Vec<(String, Vec<&str>)> {
    let ladders = Ladders::of(run);
    by_reason(run, |cell| table::undecided(cell, ladders.of_cell(cell)))
}

/// Why cells were left for another time, in the same way.
pub fn left(run: &Run) -> Vec<(&str, Vec<&str>)> {
    by_reason(run, |cell| cell.left.as_deref())
}

fn by_reason<'a, R: PartialEq>(run: &'a Run, why: impl Fn(&'a CellRecord) -> Option<R>) -> Vec<(R, Vec<&'a str>)> {
    let mut reasons: Vec<(R, Vec<&str>)> = Vec::new();
    for (cell, reason) in run.cells.iter().filter_map(|cell| Some((cell, why(cell)?))) {
        match reasons.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, cells)) => cells.push(&cell.id),
            None => reasons.push((reason, vec![&cell.id])),
        }
    }
    reasons
}

/// A few cells by their ids, many by their number.
pub fn names(cells: &[&str]) -> String {
    if cells.len() > 3 { format!("{} cells", cells.len()) } else { cells.join("; ") }
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
    let mut devices: Vec<&str> =
        run.engines.iter().filter_map(|e| e.resolved.as_ref()).flat_map(|r| &r.devices).map(String::as_str).collect();
    devices.dedup();
    let gpu = (!devices.is_empty()).then(|| devices.join(", "));
    let load = Some(loads(run)).filter(|loads| !loads.is_empty());
    let trust = run.trusts_remote_code().then(|| "trust_remote_code: the engine ran code of the model's".to_owned());
    let status = Some(run.status.to_string());
    let parts =
        [Some(format!("run {}", run.run_id)), status, left_out(run.left_out), load, engine, trust, git, gpu, cpu];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many cells a run leaves out, where it does.
pub fn left_out(cells: usize) -> Option<String> {
    match cells {
        0 => None,
        1 => Some("1 cell left out".to_owned()),
        _ => Some(format!("{cells} cells left out")),
    }
}

/// What was put on the engines: loads differ by a factor, and a shared prefix makes prompts cheap.
fn loads(run: &Run) -> String {
    let words = |ladder: &LadderRecord| match ladder.workload.shared_prefix {
        0 => format!("{} load", ladder.workload.load),
        tokens => format!("{} load with a shared prefix of {tokens} tokens", ladder.workload.load),
    };
    let loads: std::collections::BTreeSet<String> = run.ladders.iter().map(words).collect();
    loads.into_iter().collect::<Vec<_>>().join(" and ")
}

/// A row of a table whose columns are Markdown already.
pub fn row(columns: &[String]) -> String {
    format!("| {} |\n", columns.join(" | "))
}

/// Text from a file, as code: nothing in it is a link, an image, a tag or a mention. Empty text stays empty.
pub fn code(text: &str) -> String {
    let clean = text.replace('`', "'").replace('|', "\\|").replace(char::is_control, " ");
    if clean.trim().is_empty() { String::new() } else { format!("`{clean}`") }
}

/// A text in which Markdown finds no markup: no link, no image, no HTML, no end of a table's cell.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '[' | ']' | '|' | '#' | '~' => escaped.extend(['\\', c]),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use ceiling_core::search::{Status, Undecided};

    use super::*;
    use crate::report::testing;

    #[test]
    fn a_run_reads_as_a_page() {
        insta::assert_snapshot!(render(&testing::run()));
    }

    #[test]
    fn trust_in_remote_code_is_said() {
        let mut run = testing::run();
        assert!(!provenance(&run).contains("trust_remote_code"));
        run.engines[0].args["spec"]["args"]["trust_remote_code"] = true.into();
        assert!(provenance(&run).contains("trust_remote_code"));
    }

    #[test]
    fn what_was_left_is_said_with_its_reason() {
        let mut run = testing::run();
        run.cells[0].left = Some("no time".to_owned());
        assert!(render(&run).contains(" left: no time"), "{}", render(&run));
    }

    #[test]
    fn what_stayed_undecided_is_said_with_what_may_help() {
        let mut run = testing::run();
        assert!(!render(&run).contains("undecided:"), "{}", render(&run));
        run.cells[0].status = Some(Status::Undecided);
        run.cells[0].undecided = Some(Undecided::Budget);
        let says =
            "- max_num_seqs=64,ttft=1s undecided: the budget of 30m of engine time ended first: raise search.budget";
        assert!(render(&run).contains(says), "{}", render(&run));
    }

    #[test]
    fn what_comes_from_files_stays_text() {
        let mut run = testing::run();
        run.experiment.description = "<script>alert(1)</script> ![x](https://example.com/x.png)\n# head".to_owned();
        let text = render(&run);
        assert!(
            text.contains("&lt;script&gt;alert(1)&lt;/script&gt; !\\[x\\](https://example.com/x.png) \\# head"),
            "{text}"
        );
    }
}
