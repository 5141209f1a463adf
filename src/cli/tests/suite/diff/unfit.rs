//! Files that are broken, of another version or hostile.

use serde_json::{Value, json};

use super::{Repository, code, edit};
use crate::support::{stderr, stdout};

#[test]
fn a_run_that_cannot_be_read_says_what_is_wrong_with_it() {
    let repository = Repository::new(&[40_000]);
    let good = std::fs::read_to_string(repository.runs()[0].join("run.json")).unwrap();
    let with_schema = |schema: u32| good.replacen("\"schema\": 2", &format!("\"schema\": {schema}"), 1);
    // A list of rows is how schema 1 had the requests of a probe.
    let rows = with_schema(1).replacen("\"slas\": {\"ok\": ", "\"slas\": [{\"ok\": ", 1);
    let older_form = rows.replacen("]},", "]}],", 1);
    serde_json::from_str::<Value>(&older_form).expect("what is older is JSON all the same");
    let table = [
        (good[..good.len() / 2].to_owned(), "it was cut off"),
        (String::new(), "it was cut off"),
        (good.replacen(':', "", 1), "is not JSON"),
        ("{\"name\": \"left-pad\"}".to_owned(), "is not a run of ceiling"),
        ("[1, 2]".to_owned(), "is not a run of ceiling"),
        ("[".repeat(1_000_000), "is not JSON"),
        (format!("{{\"schema\": 2, \"ladders\": {}", "[".repeat(1_000_000)), "bad/run.json"),
        (with_schema(1), "has the older schema 1; this version reads schema 2: read it with the ceiling that wrote it"),
        (older_form, "has the older schema 1"),
        (with_schema(3), "has the newer schema 3; this version reads schema 2: read it with a newer ceiling"),
        ("{\"schema\": 3}".to_owned(), "read it with a newer ceiling"),
        (good.replacen("\"simulated\": true", "\"simulated\": \"yes\"", 1), "is broken"),
    ];
    for (text, complaint) in table {
        let bad = repository.place.write("bad/run.json", &text);
        for arguments in [["bad", "latest"], ["latest", "bad"]] {
            let output = repository.diff(&arguments);
            let said = stderr(&output);
            assert_eq!(code(&output), 2, "{said}");
            assert!(said.contains(complaint) && said.contains("bad/run.json"), "{complaint:?} in {said}");
        }
        assert!(bad.exists());
    }
    std::fs::write(repository.place.path("bad/run.json"), [0xff, 0xfe, 0]).unwrap();
    assert!(stderr(&repository.diff(&["bad", "latest"])).contains("is not JSON"));
    // A list shows what cannot be read beside what can.
    repository.place.write("results/sim/20260102T000000Z-broken0/run.json", "{");
    // It reads the beginnings of files, and sees all the same that one was cut off behind it.
    repository.place.write("results/sim/20260103T000000Z-broken1/run.json", &good[..good.len() - 20]);
    repository.place.write("results/sim/20260104T000000Z-older00/run.json", &with_schema(1));
    let list = repository.place.run(&["list"]);
    let shown = stdout(&list);
    assert_eq!(shown.matches("unreadable").count(), 3, "{shown}");
    assert!(shown.contains("cut off") && shown.contains("older schema 1"), "{shown}");
    assert!(shown.contains("complete, simulated"), "{shown}");
    let history = repository.place.run(&["history", "sim"]);
    assert_eq!(code(&history), 0);
    assert!(stderr(&history).contains("left out"), "{}", stderr(&history));
}

#[test]
fn hostile_names_stay_text() {
    let repository = Repository::new(&[40_000]);
    let run = repository.runs().remove(0);
    let hostile = "<script>alert(1)</script>`|![x](http://x/)\u{1b}[31m@all =cmd()\n../..";
    edit(&run, |run| {
        run["experiment"]["name"] = json!(hostile);
        run["run_id"] = json!(hostile);
        run["cells"][0]["id"] = json!(hostile);
        run["provenance"]["git"]["commit"] = json!("äöüäöüäöü");
        run["ladders"][0]["id"] = json!(hostile);
        run["cells"].as_array_mut().unwrap().iter_mut().for_each(|cell| cell["ladder"] = json!(hostile));
    });
    let place = &repository.place;
    place.write("other/run.json", &std::fs::read_to_string(run.join("run.json")).unwrap());
    edit(&place.path("other"), |run| {
        run["cells"][0]["status"] = json!("failed");
        run["cells"][0]["failure"] = json!({ "kind": "engine", "reason": hostile, "log": null });
    });
    let diff = |format: &str| stdout(&repository.diff(&[run.to_str().unwrap(), "other", "--format", format]));
    let html = diff("html");
    assert!(html.contains("&lt;script&gt;"), "{html}");
    // Its own script, its own (empty) icon, and the ways to its own parts.
    assert_eq!(html.matches("<script").count(), 1, "{html}");
    assert_eq!(html.matches("href=").count(), 1 + html.matches("href=\"#").count(), "{html}");
    assert!(!html.contains("http://x/)\"") && !html.contains("src="), "{html}");
    for text in [diff("table"), stdout(&place.run(&["list"])), stdout(&place.run(&["history", "sim"]))] {
        assert!(text.contains("<script>") && !text.contains('\u{1b}'), "{text:?}");
    }
    let markdown = diff("markdown");
    for line in markdown.lines().filter(|line| line.contains("<script>")) {
        let outside: String = line.split('`').step_by(2).collect();
        assert!(!outside.contains("script") && !outside.contains("!["), "{line}");
        if line.starts_with('|') {
            assert_eq!(line.replace("\\|", "").matches('|').count(), line_columns(line), "{line}");
        }
    }
    for name in ["../../etc", "..", "", "@{-1}", ":/", "--", "HEAD^{tree}", "a\u{0}b".trim_end_matches('\u{0}')] {
        if name.contains('\u{0}') || name.starts_with('-') {
            continue;
        }
        assert_eq!(code(&repository.diff(&[name, "latest"])), 2, "{name:?}");
    }
    assert_eq!(code(&place.run(&["history", "../sim"])), 2);
}

/// Eight bars around seven columns of cells, seven around six of ladders.
fn line_columns(line: &str) -> usize {
    let verdicts = ["improved", "regressed", "unchanged", "undecided", "incomparable", "added", "removed"];
    if verdicts.iter().any(|verdict| line.starts_with(&format!("| {verdict}"))) { 8 } else { 7 }
}
