//! What a run leaves for people and their tools: the table of requests in DuckDB, the report in a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Workplace, read_requests, stderr, stdout, workspace};

/// Runs an experiment on the simulator, with these fields in its tables `[sla]`, `[matrix]` and `[search]`.
fn simulated(place: &Workplace, sla: &str, matrix: &str, search: &str) {
    simulated_with_errors(place, sla, matrix, search, 0.0);
}

fn simulated_with_errors(place: &Workplace, sla: &str, matrix: &str, search: &str, error_rate: f64) {
    let experiment = format!(
        r#"
        schema = 1
        name = "sim"
        description = "How many?"
        [engine]
        kind = "sim"
        prefill_tokens_per_second = 40000
        decode_step = "8ms"
        kv_cache_tokens = 400000
        step_noise = 0.05
        error_rate = {error_rate}
        [workload]
        input_tokens = 2000
        output_tokens = 64
        [sla]
        {sla}
        [search]
        max_concurrency = 128
        {search}
        [matrix]
        {matrix}
        [execution]
        gpus = "none"
        "#
    );
    place.write("sim.toml", &experiment);
    let output = place.run(&["run", "sim.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

fn report(place: &Workplace, arguments: &[&str]) {
    let output = place.run(&[&["report", "latest"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn duckdb_reads_the_requests_that_run_json_sums_up() {
    let place = Workplace::new();
    simulated_with_errors(
        &place,
        "ok_rate = 0.9\nttft = [\"1s\", \"3s\"]",
        r#""engine.max_num_seqs" = [16, 64]"#,
        r#"strategy = "bisect""#,
        0.01,
    );
    let read = read_requests(&place.run_directory().join("requests.parquet"));
    for (column, kind) in [("ladder", "VARCHAR"), ("probe", "UINTEGER"), ("judged", "BOOLEAN"), ("first_s", "DOUBLE")] {
        assert_eq!(read["columns"][column], kind, "{column}");
    }
    let run = place.run_json();
    let mut published = Vec::new();
    for ladder in run["ladders"].as_array().unwrap() {
        published.extend(ladder["probes"].as_array().unwrap().iter().map(|probe| (ladder["id"].clone(), probe)));
    }
    published.sort_by_key(|(ladder, probe)| (ladder.to_string(), probe["number"].as_u64()));
    let rows = read["probes"].as_array().unwrap();
    assert_eq!(rows.len(), published.len());
    for (row, (ladder, probe)) in rows.iter().zip(published) {
        assert_eq!([&row[0], &row[1], &row[2]], [&ladder, &probe["number"], &probe["concurrency"]]);
        assert_eq!(row[4], probe["requests"]);
        // DuckDB says nothing where some request has no value; run.json may, where the median is not among those.
        for (found, said) in [(&row[5], &probe["ttft"]["p50_s"]), (&row[6], &probe["queued"]["p50_s"])] {
            let differs = |found: f64| (found - said.as_f64().unwrap()).abs() > 1e-9;
            assert!(!found.as_f64().is_some_and(differs), "{row} {probe}");
        }
        assert_eq!(row[7], probe["prompt_tokens"]);
    }
    assert!(rows.iter().any(|row| row[8] != 0), "some request failed");
    assert!(rows.iter().any(|row| row[5].is_f64() && row[6].is_f64()), "some probe shows all first tokens");
}

#[test]
fn the_requests_of_a_killed_run_are_not_lost() {
    let place = Workplace::new();
    simulated(&place, r#"ttft = ["1s"]"#, "", "");
    let (journal, table) = ["journal.jsonl", "requests.parquet"].map(|name| place.run_directory().join(name)).into();
    let all = read_requests(&table)["probes"].as_array().unwrap().len();
    // As a kill leaves it: no table, and a last probe of which half a line was written.
    std::fs::remove_file(&table).unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    let last = text.rfind(r#"{"entry":"probed""#).unwrap();
    std::fs::write(&journal, &text[..last + 100]).unwrap();
    report(&place, &["--format", "json"]);
    assert_eq!(read_requests(&table)["probes"].as_array().unwrap().len(), all - 1);
    // What is up to date is left alone.
    let made = table.metadata().unwrap().modified().unwrap();
    report(&place, &["--format", "json"]);
    assert_eq!(table.metadata().unwrap().modified().unwrap(), made);
}

#[test]
fn a_report_gives_back_what_was_published() {
    let place = Workplace::new();
    simulated(&place, r#"ttft = ["1s", "3s"]"#, r#""engine.max_num_seqs" = [16, 64]"#, "");
    for (format, name) in [("json", "run.json"), ("csv", "cells.csv")] {
        report(&place, &["--format", format, "--output", "copy"]);
        let published = std::fs::read_to_string(place.run_directory().join(name)).unwrap();
        assert_eq!(std::fs::read_to_string(place.path("copy")).unwrap(), published, "{name}");
    }
    report(&place, &["--format", "csv", "--only", "max_num_seqs=16", "--output", "part.csv"]);
    assert_eq!(std::fs::read_to_string(place.path("part.csv")).unwrap().lines().count(), 3);
    let output = place.run(&["report", "latest", "--only", "nothing like it"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("matches none of the 4 cells"), "{}", stderr(&output));
}

/// Runs a file of tests in `browser/` on the pages in a directory.
fn browse(tests: &str, pages: &Path) {
    let node = Command::new("node")
        .arg("--test")
        .arg(format!("src/cli/tests/suite/browser/{tests}"))
        .env("CEILING_REPORTS", pages)
        .current_dir(workspace())
        .output()
        .expect("node is there: run `make setup-tests`");
    assert!(node.status.success(), "{}\n{}", stdout(&node), stderr(&node));
}

#[test]
fn a_browser_shows_reports_and_comparisons_of_any_size() {
    let (reports, comparisons) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seqs = |count: u32| (1..=count).map(|n| (n * 8).to_string()).collect::<Vec<_>>().join(", ");
    for (sla, engines, search) in [
        (r#"ttft = ["1s", "3s", "9s"]"#, 2, ""),
        ("ok_rate = [0.95, 0.99]\nttft = [\"1s\", \"3s\", \"9s\"]", 4, ""),
        ("ok_rate = [0.9, 0.95]\nttft = [\"1s\", \"2s\", \"3s\", \"5s\", \"9s\"]", 100, "strategy = \"bisect\""),
    ] {
        let place = Workplace::new();
        simulated(&place, sla, &format!(r#""engine.max_num_seqs" = [{}]"#, seqs(engines)), search);
        let cells = place.run_json()["cells"].as_array().unwrap().len();
        let page = reports.path().join(format!("{cells}.html"));
        report(&place, &["--format", "html", "--output", page.to_str().unwrap()]);
        assert!(page.metadata().unwrap().len() < 5_000_000, "{cells} cells");
        if cells == 6 || cells == 1000 {
            compare(&place, &comparisons.path().join(format!("{cells}.html")));
        }
    }
    hostile(&reports.path().join("hostile.html"), &comparisons.path().join("hostile.html"));
    browse("report.test.mjs", reports.path());
    browse("diff.test.mjs", comparisons.path());
}

/// Compares the only run with another in which cells in turn are better, worse, much worse and as they were, or failed.
fn compare(place: &Workplace, page: &Path) {
    let mut run = place.run_json();
    for cell in run["cells"].as_array_mut().unwrap() {
        // As the guided search has it; the brackets of others decide nothing.
        cell["confidence"] = 0.95.into();
    }
    place.write("before/run.json", &run.to_string());
    for (number, cell) in run["cells"].as_array_mut().unwrap().iter_mut().enumerate() {
        let percent = [150, 75, 50, 100][number % 4];
        for level in ["ceiling", "highest_pass", "lowest_fail"] {
            if let Some(value) = cell[level].as_u64() {
                cell[level] = (value * percent / 100).max(1).into();
            }
        }
        if number % 7 == 6 {
            cell["status"] = "failed".into();
        }
    }
    run["provenance"]["git"] = serde_json::json!({ "commit": "1a2b3c4d5e6f7", "branch": "main", "dirty": false });
    place.write("after/run.json", &run.to_string());
    let output = place.run(&["diff", "before", "after", "--format", "html"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&place.run(&["diff", "before", "after"])));
    std::fs::write(page, output.stdout).unwrap();
}

/// A report of a run whose texts try to be markup, with a failure and its log, and a comparison of that run.
fn hostile(page: &Path, comparison: &Path) {
    const EVIL: &str =
        r#""'></title></style><script>window.harmed = true</script><img src=x onerror="window.harmed = true">"#;
    let place = Workplace::new();
    simulated(&place, r#"ttft = ["1s", "3s"]"#, r#""engine.max_num_seqs" = [16, 64]"#, "");
    let mut run = place.run_json();
    for text in [
        "/experiment/name",
        "/experiment/description",
        "/run_id",
        "/engines/0/label",
        "/ladders/0/id",
        "/provenance/cpu",
    ] {
        *run.pointer_mut(text).unwrap() = EVIL.into();
    }
    run["cells"][0]["axes"][EVIL] = EVIL.into();
    run["cells"][0]["id"] = EVIL.into();
    run["cells"][1]["status"] = "failed".into();
    let log: PathBuf = place.run_directory().join("logs/x.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, format!("before\n{EVIL}\n")).unwrap();
    let log = log.strip_prefix(place.path("results")).unwrap();
    run["cells"][1]["failure"] = serde_json::json!({ "kind": "engine", "reason": EVIL, "log": log });
    std::fs::write(place.run_directory().join("run.json"), run.to_string()).unwrap();
    report(&place, &["--format", "html", "--output", page.to_str().unwrap()]);
    assert!(std::fs::read_to_string(page).unwrap().contains("before\n&quot;"), "the log's tail");
    compare(&place, comparison);
}
