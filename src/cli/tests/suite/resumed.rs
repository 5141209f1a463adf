//! Runs that are gone on with, on simulated engines.

use serde_json::Value;

use crate::commands::{SIMULATED, simulated};
use crate::support::{Workplace, stderr, stdout};

#[test]
fn answers_that_are_no_part_of_a_resumed_run_any_more_are_counted() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let id = place.run_json()["run_id"].as_str().unwrap().to_owned();
    let resume = |set: &[&str]| place.run(&[&["run", "sim.toml", "--resume", &id], set].concat());
    let fewer = resume(&["--set", "sla.ttft=[\"1s\"]"]);
    assert_eq!(fewer.status.code(), Some(0), "{}", stderr(&fewer));
    assert!(stderr(&fewer).contains("2 cells that were measured are not part of it any more"), "{}", stderr(&fewer));
    assert_eq!(place.run_json()["cells"].as_array().unwrap().len(), 2);
    let again = resume(&[]);
    assert!(!stderr(&again).contains("not part of it"), "{}", stderr(&again));
    assert_eq!(place.run_json()["cells"].as_array().unwrap().len(), 4);
}

#[test]
fn a_file_in_the_place_of_the_run_to_resume_is_told_from_one() {
    let place = simulated();
    for arguments in [&["run", "--resume", "sim.toml"] as &[&str], &["run", "sim.toml", "--resume", "sim.toml"]] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("as in `run sim.toml --resume`"), "{}", stderr(&output));
    }
}

#[test]
fn who_resumes_a_part_of_a_run_hears_how_to_have_the_rest() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let id = place.run_json()["run_id"].as_str().unwrap().to_owned();
    let part = place.run(&["run", "sim.toml", "--resume", &id, "--only", "ttft=3s"]);
    assert_eq!(part.status.code(), Some(0), "{}", stderr(&part));
    assert!(stderr(&part).contains(&format!("`--resume {id}` without --only")), "{}", stderr(&part));
    assert_left_out(&place, 2);
    let whole = place.run(&["run", "sim.toml", "--resume", &id]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    assert_left_out(&place, 0);
    let none = place.run(&["run", "sim.toml", "--resume"]);
    assert!(none.status.code() == Some(2) && stderr(&none).contains("is complete"), "{}", stderr(&none));
}

#[test]
fn a_run_of_a_part_says_so_and_can_be_completed() {
    let place = simulated();
    let part = place.run(&["run", "sim.toml", "--only", "max_num_seqs=64,ttft=3s"]);
    assert_eq!(part.status.code(), Some(0), "what was asked for was measured: {}", stderr(&part));
    assert!(stdout(&part).contains("partial, 3 cells left out"), "{}", stdout(&part));
    assert_left_out(&place, 3);
    let more = place.run(&["run", "sim.toml", "--resume", "--only", "ttft=3s"]);
    assert_eq!(more.status.code(), Some(0), "{}", stderr(&more));
    assert_left_out(&place, 2);
    let whole = place.run(&["run", "sim.toml", "--resume"]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    assert_left_out(&place, 0);
}

/// Of the four cells of the only run, so many are left out, and everybody says so.
fn assert_left_out(place: &Workplace, left_out: usize) {
    let run = place.run_json();
    assert_eq!(
        (run["left_out"].as_u64(), run["cells"].as_array().unwrap().len()),
        (Some(left_out as u64), 4 - left_out)
    );
    assert_eq!(run["status"], if left_out > 0 { "partial" } else { "complete" });
    for arguments in [&["list"] as &[&str], &["report", "latest", "--format", "markdown"]] {
        let said = stdout(&place.run(arguments));
        assert_eq!(said.contains(&format!("partial, {left_out} cells left out")), left_out > 0, "{said}");
        assert_eq!(said.contains("complete"), left_out == 0, "{said}");
    }
}

#[test]
fn what_was_published_and_is_lost_is_made_of_the_journal_again() {
    let place = simulated();
    place.write("other.toml", &SIMULATED.replace("\"sim\"\n    desc", "\"other\"\n    desc").replace("64, 256", "32"));
    let whole = place.run(&["run", "sim.toml", "other.toml"]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let path =
        glob::glob(&format!("{}/results/sim/*/run.json", place.path(".").display())).unwrap().next().unwrap().unwrap();
    let (directory, published) = (path.parent().unwrap(), std::fs::read_to_string(&path).unwrap());
    let id = directory.file_name().unwrap().to_str().unwrap();
    let cells = |text: &str| serde_json::from_str::<Value>(text).unwrap()["cells"].clone();
    for (lost, resume) in [(None, id), (None, ""), (Some(&published[..published.len() / 2]), id), (Some(""), "")] {
        std::fs::remove_file(&path).unwrap();
        lost.into_iter().for_each(|text| std::fs::write(&path, text).unwrap());
        let report = place.run(&["report", id, "--experiment", "sim"]);
        assert_eq!(report.status.code(), Some(2));
        assert!(
            stderr(&report).contains(&format!("`ceiling run FILE --resume {id}` makes it anew")),
            "{}",
            stderr(&report)
        );
        let list = stdout(&place.run(&["list"]));
        assert!(list.contains("unreadable") && list.contains(&format!("--resume {id}` makes it anew")), "{list}");
        let journal = std::fs::read(directory.join("journal.jsonl")).unwrap();
        // Together with another experiment, of which nothing is lost.
        let again = place.run(&["run", "sim.toml", "other.toml", "--resume", resume]);
        assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
        assert!(stderr(&again).contains("0 of 3 ladders are left"), "{}", stderr(&again));
        assert!(stderr(&again).contains("made anew from the journal"), "{}", stderr(&again));
        assert_eq!(cells(&std::fs::read_to_string(&path).unwrap()), cells(&published));
        assert_eq!(std::fs::read(directory.join("journal.jsonl")).unwrap(), journal);
    }
}
