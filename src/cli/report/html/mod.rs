//! A run as one HTML file that needs nothing else: no network, no other file.
//!
//! Templates escape whatever they are given, so no text from a file becomes markup. Charts take their colours from the
//! style sheet, which has a light and a dark theme. The script only adds to what is there already: sorting, searching,
//! tooltips.

mod ceilings;
mod cells;
mod chart;
mod engine_charts;
mod failures;
mod first_tokens;
mod ladders;
mod level_table;
mod levels;
mod pareto;
mod provenance;
mod scale;

use ceiling_core::record::Run;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::markdown;
use crate::store::LogTails;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page may load: nothing. What is in it: its own style and script.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The report of a run, with the tails of the logs that its failures point to.
pub fn render(run: &Run, logs: &LogTails) -> String {
    let throughput = pareto::pareto(run);
    let body = html! {
        (header(run, throughput.is_some()))
        main {
            (ceilings::ceilings(run))
            (ladders::ladders(run))
            @if let Some(throughput) = &throughput { (throughput) }
            (cells::cells(run))
            (failures::left_open(run))
            (failures::failures(run, logs))
            (provenance::provenance(run))
        }
    };
    page(&format!("{}, {}", run.experiment.name, run.run_id), &body)
}

/// A page with this body, in the style of all reports.
pub fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                div #tip role="tooltip" hidden {}
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The name of a cell or a ladder, which may be broken where one of its parts ends.
pub fn name(text: &str) -> Markup {
    html! { @for part in text.split_inclusive(',') { (part) wbr; } }
}

fn header(run: &Run, has_throughput: bool) -> Markup {
    let has_failures = run.cells.iter().any(|cell| cell.failure.is_some())
        || run.engines.iter().any(|engine| !engine.failures.is_empty());
    let has_undecided = run.cells.iter().any(|cell| cell.undecided.is_some());
    html! {
        header {
            @if run.simulated { p.simulated role="note" { b { "Simulated." } " These numbers come from a model of an engine, not from an engine." } }
            @if run.trusts_remote_code() { p.simulated role="note" { b { "trust_remote_code." } " The engine ran code that came with the model." } }
            h1 { (run.experiment.name) }
            @if !run.experiment.description.is_empty() { p.lead { (run.experiment.description) } }
            p { (summary(run)) }
            p.note { (markdown::provenance(run)) }
            nav {
                a href="#ceilings" { "Ceilings" }
                a href="#ladders" { "Ladders" }
                @if has_throughput { a href="#throughput" { "Throughput" } }
                a href="#cells" { "Cells" }
                @if has_undecided { a href="#undecided" { "Undecided" } }
                @if has_failures { a href="#failures" { "Failures" } }
                a href="#provenance" { "Provenance" }
            }
        }
    }
}

/// How many cells ended how.
fn summary(run: &Run) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for status in run.cells.iter().map(cells::status) {
        match counts.iter_mut().find(|(other, _)| *other == status) {
            Some((_, count)) => *count += 1,
            None => counts.push((status, 1)),
        }
    }
    let parts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let seconds: f64 = run.ladders.iter().map(|ladder| ladder.engine_s.get()).sum();
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{} ({}) on {} and {}, {} s of engine time.",
        count(run.cells.len(), "cell"),
        parts.join(", "),
        count(run.ladders.len(), "ladder"),
        count(run.engines.len(), "engine"),
        scale::brief(seconds)
    )
}

#[cfg(test)]
mod tests {
    use ceiling_core::audit::Audit;
    use ceiling_core::record::{CellRecord, LadderRecord};
    use ceiling_core::units::Concurrency;

    use super::*;
    use crate::report::testing;

    #[test]
    fn the_same_run_gives_the_same_bytes() {
        let run = testing::run();
        let page = render(&run, &LogTails::new());
        assert_eq!(page, render(&run, &LogTails::new()));
        assert!(page.contains("<b>Simulated.</b>"));
    }

    #[test]
    fn no_text_of_a_file_becomes_markup() {
        const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";
        let mut json = testing::run_json();
        poison(&mut json, EVIL);
        let run: Run = serde_json::from_value(json).unwrap();
        let logs = LogTails::from([(EVIL.to_owned(), EVIL.to_owned())]);
        let page = render(&run, &logs);
        assert_eq!(page.matches("<script>").count(), 1, "our own");
        assert!(!page.contains("<img") && !page.contains("\"'>"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 20);
    }

    /// Puts a text wherever a run has free text.
    fn poison(value: &mut serde_json::Value, evil: &str) {
        const FREE: [&str; 19] = [
            "run_id",
            "started",
            "finished",
            "name",
            "description",
            "source",
            "ceiling",
            "commit",
            "branch",
            "kind",
            "version",
            "platform",
            "cpu",
            "label",
            "engine",
            "ladder",
            "id",
            "reason",
            "log",
        ];
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    let is_failure_kind = name == "kind" && value == "engine";
                    if value.is_string() && FREE.contains(&name.as_str()) && !is_failure_kind {
                        *value = evil.into();
                    }
                    if name == "axes" {
                        *value = serde_json::json!({ "sla.ttft": value["sla.ttft"], evil: evil });
                    }
                    poison(value, evil);
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| poison(item, evil)),
            _ => {}
        }
    }

    #[test]
    fn a_run_without_anything_is_a_page_too() {
        let mut run = testing::run();
        (run.cells, run.ladders, run.engines) = (Vec::new(), Vec::new(), Vec::new());
        assert!(render(&run, &LogTails::new()).contains("0 cells"));
    }

    #[test]
    fn every_way_within_the_page_leads_to_a_part_of_it() {
        let whole = testing::run();
        let mut unmeasured = whole.clone();
        unmeasured.ladders.iter_mut().for_each(|ladder| ladder.probes.clear());
        for (run, measured) in [(whole, true), (unmeasured, false)] {
            let page = render(&run, &LogTails::new());
            assert_eq!(page.contains("href=\"#throughput\""), measured);
            for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(page.contains(&format!("id=\"{target}\"")), "#{target}");
            }
        }
    }

    #[test]
    fn a_thousand_ladders_fit_a_page() {
        let mut run = testing::run();
        let probes = &mut run.ladders[0].probes;
        for number in 3..40u32 {
            let mut probe = probes[1].clone();
            probe.concurrency = Concurrency::new(number * 3).unwrap();
            probes.push(probe);
        }
        let (ladder, cell) = (run.ladders[0].clone(), run.cells[0].clone());
        let id =
            |number: u32| format!("a_long_name_of_an_engine=256,max_num_batched_tokens=8192,input_tokens={number}");
        run.ladders = (0..1000).map(|number| LadderRecord { id: id(number), ..ladder.clone() }).collect();
        let axes = |number: u32| [("workload.input_tokens".to_owned(), number.into())].into_iter().collect();
        let cell = |number| CellRecord { id: id(number), ladder: id(number), axes: axes(number), ..cell.clone() };
        run.cells = (0..1000).map(cell).collect();
        let size = render(&run, &LogTails::new()).len();
        assert!(size < 5_000_000, "{size}");
    }

    #[test]
    fn probes_on_a_hot_gpu_are_counted() {
        let mut run = testing::run();
        assert!(!render(&run, &LogTails::new()).contains("throttled"));
        run.ladders[0].probes[1].audit = Audit::Throttled;
        let page = render(&run, &LogTails::new());
        assert_eq!(page.matches("; 1 of them on a GPU that was throttled").count(), 1);
    }

    #[test]
    fn what_failed_stands_with_its_log() {
        let run = testing::run();
        let log = run.cells[2].failure.clone().unwrap().log.unwrap();
        let page = render(&run, &LogTails::from([(log, "the last <words>".to_owned())]));
        assert!(page.contains("ValueError: No memory for &lt;blocks&gt;") && page.contains("the last &lt;words&gt;"));
    }
}
