//! Two runs judged, printed, and decided on.

use serde_json::json;

use super::{PACE, Repository, code, edit, json_of};
use crate::support::{stderr, stdout};

#[test]
fn a_pull_request_is_gated_by_the_results_that_are_checked_in() {
    let repository = Repository::new(&[40_000, 30_000]);
    let comment = repository.diff(&["HEAD~1", "HEAD", "--format", "markdown"]);
    assert_eq!(code(&comment), 1, "{}", stderr(&comment));
    let text = stdout(&comment);
    assert!(text.starts_with("## Ceilings: regressed\n"), "{text}");
    assert!(text.contains("| **regressed** | `ttft=1s` |") && text.contains("- changed: commit"), "{text}");

    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--fail-on", "never"])), 0);
    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--fail-on", "regression"])), 1);
    // The other way round it is an improvement.
    assert_eq!(code(&repository.diff(&["HEAD", "HEAD~1", "--fail-on", "regression"])), 0);
    assert_eq!(code(&repository.diff(&["HEAD", "HEAD~1", "--fail-on", "change"])), 1);
    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--threshold", "60%", "--fail-on", "change"])), 0);
    // Without --across the two paces are two questions.
    let refused = repository.place.run(&["diff", "HEAD~1", "HEAD"]);
    assert_eq!(code(&refused), 3);
    assert!(stderr(&refused).contains(&format!("{PACE}: 40000.0 -> 30000.0")), "{}", stderr(&refused));
}

#[test]
fn the_json_is_as_promised() {
    let repository = Repository::new(&[40_000, 30_000]);
    let diff = json_of(&repository.diff(&["HEAD~1", "HEAD", "--format", "json"]));
    assert_eq!(diff["comparable"], true);
    let words = ["improved", "regressed", "unchanged", "undecided", "incomparable", "added", "removed"];
    let counts: Vec<u64> = words.iter().map(|word| diff["summary"][word].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 2, 0, 0, 0, 0, 0]);
    let cell = &diff["cells"][0];
    assert_eq!((&cell["axes"]["sla.ttft"], &cell["sla"]["ttft"]), (&json!("1s"), &json!(1.0)));
    assert_eq!(cell["verdict"], "regressed");
    assert_eq!(cell["key"].as_str().unwrap().len(), 16);
    for side in ["baseline", "candidate"] {
        let level = |name: &str| cell[side][name].as_u64().unwrap();
        assert!(level("ceiling") == level("highest_pass") && level("highest_pass") < level("lowest_fail"));
        assert!(diff[side]["commit"].as_str().unwrap().len() == 40);
    }
    let ratio = cell["candidate"]["ceiling"].as_f64().unwrap() / cell["baseline"]["ceiling"].as_f64().unwrap();
    assert!((cell["change"].as_f64().unwrap() - (ratio - 1.0)).abs() < 1e-12);
    assert_eq!(diff["ladders"][0]["kv_cache_tokens"], json!([10_000_000, 10_000_000]));
}

#[test]
fn what_was_asked_to_be_decided_and_cannot_be_is_code_3() {
    let repository = Repository::new(&[40_000]);
    let place = &repository.place;
    let text = std::fs::read_to_string(repository.runs()[0].join("run.json")).unwrap();
    place.write("other/run.json", &text);
    let diff = |arguments: &[&str]| repository.diff(&[&["latest", "other"], arguments].concat());
    assert_eq!(code(&diff(&["--fail-on", "regression"])), 0);

    edit(&place.path("other"), |run| run["cells"][0]["status"] = json!("undecided"));
    assert_eq!(code(&diff(&[])), 0);
    assert_eq!(code(&diff(&["--fail-on", "regression"])), 3);
    assert_eq!(code(&diff(&["--fail-on", "change"])), 3);
    assert_eq!(code(&diff(&["--fail-on", "never"])), 0);

    place.write("other/run.json", &text);
    edit(&place.path("other"), |run| run["engines"][0]["args"]["kind"] = json!("vllm"));
    edit(&place.path("other"), |run| {
        run["simulated"] = json!(false);
        run["cells"].as_array_mut().unwrap().iter_mut().for_each(|cell| cell["key"] = json!("0123456789abcdef"));
    });
    let refused = diff(&["--format", "json"]);
    assert_eq!(code(&refused), 3);
    assert_eq!(json_of(&refused)["comparable"], false);

    for wrong in [["--threshold", "5"], ["--threshold", "-1%"], ["--threshold", "x"], ["--across", "engine.nothing"]] {
        assert_eq!(code(&diff(&wrong)), 2, "{wrong:?}");
    }
}
