//! Which cells meet, what keeps them from being compared, and what is said of them.

use proptest::prelude::*;
use serde_json::json;

use super::testing::{found, run, run_on};
use super::*;
use crate::experiment::testing::complete;
use crate::protocol::{PromptSource, Resolved};
use crate::record::{EngineVersion, Git, ProbeSummary, UntilSummary};
use crate::search::Answer;
use crate::watch::Until;

fn options(across: &[&str]) -> Options {
    Options { threshold: Share::new(0.05).unwrap(), across: Across::new(across.iter().copied().map(str::to_owned)) }
}

fn verdicts(baseline: &ComparedRun, candidate: &ComparedRun, across: &[&str]) -> Vec<Verdict> {
    let comparison = compare(baseline, candidate, &options(across)).unwrap();
    comparison.cells.iter().map(|cell| cell.verdict).collect()
}

fn only_reason(baseline: &ComparedRun, candidate: &ComparedRun, across: &[&str]) -> String {
    let comparison = compare(baseline, candidate, &options(across)).unwrap();
    let [cell] = comparison.cells.as_slice() else { panic!("{} cells", comparison.cells.len()) };
    cell.reason.as_ref().map_or_else(String::new, ToString::to_string)
}

const SIM: &str = r#"
schema = 1
name = "e"
engine = { kind = "sim", prefill_tokens_per_second = 40000, decode_step = "8ms", decode_step_per_sequence = "20us", kv_cache_tokens = 400000 }
workload = { input_tokens = 500 }
sla.ttft = "1s"
"#;

#[test]
fn a_run_against_itself_is_unchanged() {
    let text = complete("[matrix]\n\"engine.max_num_seqs\" = [64, 256]\n\"workload.input_tokens\" = [100, 500]");
    let run = run(&text, 100, 102);
    let comparison = compare(&run, &run, &options(&[])).unwrap();
    assert!(comparison.comparable);
    assert_eq!(comparison.summary, Summary { unchanged: 4, ..Summary::default() });
    assert_eq!(comparison.changed, []);
    assert_eq!(comparison.ladders.len(), 4);
}

#[test]
fn the_interpreter_and_the_search_may_differ() {
    let before = run(&complete("engine.python = \"old/bin/python\"\nsearch.resolution = 1"), 100, 102);
    let after = run(&complete("engine.python = \"new/bin/python\"\nsearch.resolution = \"2%\""), 60, 62);
    assert_eq!(verdicts(&before, &after, &[]), [Verdict::Regressed]);
}

#[test]
fn what_changed_of_the_search_is_named_as_in_the_file() {
    let before = run(&complete("search.resolution = 1\nsearch.budget = \"1m\""), 100, 102);
    let after = run(&complete("search.resolution = \"7%\"\nsearch.budget = \"1h\""), 100, 102);
    let comparison = compare(&before, &after, &options(&[])).unwrap();
    let side = |side: &Option<String>| side.clone().unwrap();
    let changed =
        comparison.changed.iter().map(|c| format!("{} {} -> {}", c.what, side(&c.baseline), side(&c.candidate)));
    assert_eq!(changed.collect::<Vec<_>>(), ["search.budget 60s -> 1h", "search.resolution 1 -> 7%"]);
}

#[test]
fn any_other_field_may_differ_where_it_is_named() {
    let before = run(&complete("engine.max_num_seqs = 64"), 100, 102);
    let after = run(&complete("engine.max_num_seqs = 256"), 200, 202);
    assert_eq!(verdicts(&before, &after, &[]), [Verdict::Incomparable]);
    assert_eq!(only_reason(&before, &after, &[]), "engine.max_num_seqs: 64 -> 256");
    assert_eq!(verdicts(&before, &after, &["engine.max_num_seqs"]), [Verdict::Improved]);
    assert_eq!(verdicts(&before, &after, &["engine"]), [Verdict::Improved]);
    assert!(compare(&before, &after, &options(&["engine.max_num"])).is_err(), "a name is not a part of another");
}

#[test]
fn an_axis_may_differ_as_a_whole() {
    let axes = |seqs: &str| {
        complete(&format!("[matrix]\n\"engine.max_num_seqs\" = [{seqs}]\n\"workload.input_tokens\" = [100, 500]"))
    };
    let (before, after) = (run(&axes("64"), 100, 102), run(&axes("256"), 100, 102));
    assert_eq!(verdicts(&before, &after, &["engine.max_num_seqs"]), [Verdict::Unchanged; 2]);
    // The cells with 256 meet by key. The others answer one question, whatever else they are.
    let after = run(&axes("256, 512"), 100, 102);
    let before = run(&axes("64, 256"), 100, 102);
    assert_eq!(verdicts(&before, &after, &["engine.max_num_seqs"]), [Verdict::Unchanged; 4]);
}

#[test]
fn what_only_one_run_has_is_added_or_removed() {
    let axes = |tokens: &str| complete(&format!("[matrix]\n\"workload.input_tokens\" = [{tokens}]"));
    let (before, after) = (run(&axes("100, 500"), 100, 102), run(&axes("500, 900"), 100, 102));
    assert_eq!(verdicts(&before, &after, &[]), [Verdict::Unchanged, Verdict::Added, Verdict::Removed]);
    let comparison = compare(&before, &after, &options(&[])).unwrap();
    let sides: Vec<_> = comparison.cells.iter().map(|c| (c.baseline.is_some(), c.candidate.is_some())).collect();
    assert_eq!(sides, [(true, true), (false, true), (true, false)]);
}

#[test]
fn other_conditions_are_incomparable_and_say_so() {
    let base = run(&complete(""), 100, 102);
    let table = [
        (complete("engine.layer = \"async-llm\""), "engine.layer: engine-core -> async-llm"),
        (complete("workload.load = \"sustained\""), "workload.load: burst -> sustained"),
        (complete("workload.output_tokens = 7"), "workload.output_tokens: 256 -> 7"),
        (complete("model.revision = \"v2\""), "model.revision: nothing -> v2"),
        (complete("engine.env = { A = \"1\" }"), "engine.env.A: nothing -> 1"),
        (SIM.to_owned(), "engine.kind: vllm -> sim"),
    ];
    for (text, reason) in table {
        assert_eq!(only_reason(&base, &run(&text, 100, 102), &[]), reason);
    }
    let same = |text: &str| only_reason(&run(&complete(text), 100, 102), &base, &[]);
    assert_eq!(same("engine.layer = \"async-llm\"\nworkload.load = \"sustained\"").matches(';').count(), 1);
}

#[test]
fn a_simulated_run_is_never_compared_with_a_real_one() {
    let (real, simulated) = (run(&complete(""), 100, 102), run(SIM, 100, 102));
    let comparison = compare(&real, &simulated, &options(&["engine.max_num_seqs", "model"])).unwrap();
    assert!(!comparison.comparable);
    assert_eq!(comparison.summary.incomparable, 1);
    assert!(compare(&real, &simulated, &options(&["engine.kind"])).is_err());
}

#[test]
fn other_devices_and_other_weights_are_incomparable() {
    let on = |device: &str, commit: Option<&str>| {
        let resolved = Resolved {
            devices: vec![device.to_owned()],
            model_commit: commit.map(str::to_owned),
            ..Resolved::default()
        };
        run_on(&complete(""), &resolved, |_, _| vec![found(100, 102)])
    };
    let base = on("H100", Some("aaa"));
    assert_eq!(only_reason(&base, &on("H200", Some("aaa")), &[]), "engine.devices: H100 -> H200");
    assert_eq!(only_reason(&base, &on("H100", Some("bbb")), &[]), "model.commit: aaa -> bbb");
    assert_eq!(verdicts(&base, &on("H100", None), &[]), [Verdict::Unchanged], "not known is no difference");
    assert_eq!(verdicts(&base, &on("H200", Some("aaa")), &["engine.devices"]), [Verdict::Unchanged]);
}

#[test]
fn an_engine_on_the_processor_is_tied_to_its_model_name() {
    let on = |cpu: &str| {
        let resolved = Resolved { devices: vec!["cpu".into()], ..Resolved::default() };
        let mut run = run_on(&complete(""), &resolved, |_, _| vec![found(100, 102)]);
        run.provenance.cpu = Some(cpu.to_owned());
        run
    };
    assert_eq!(only_reason(&on("EPYC"), &on("Xeon"), &[]), "engine.devices: EPYC -> Xeon");
}

fn key(text: &str) -> Key {
    Key::of_bytes(text.as_bytes())
}

#[test]
fn files_with_another_content_are_seen_by_the_keys_where_runs_do_not_say_what_they_are() {
    let base = run(&complete(""), 100, 102);
    let mut other_model = base.clone();
    other_model.engines[0].files = None;
    other_model.engines[0].key = key("engine");
    other_model.ladders[0].key = key("ladder");
    other_model.cells[0].key = key("cell");
    assert_eq!(only_reason(&base, &other_model, &[]), "the files of the model differ in content");
    let mut other_prompts = other_model;
    other_prompts.engines[0].key = base.engines[0].key;
    assert_eq!(only_reason(&base, &other_prompts, &[]), "the files of the prompts differ in content");
}

/// The same with a model and texts at this place, which are these, and with these lines.
fn run_with_files(directory: &str, model: &str, texts: &str, lines: &str) -> ComparedRun {
    let mut run = run(&complete(lines), 100, 102);
    run.engines[0].args["spec"]["model"] = json!(format!("{directory}/model"));
    run.engines[0].files = Some(key(model));
    run.engines[0].key = key(&format!("{model}{lines}"));
    let ladder = &mut run.ladders[0];
    ladder.workload.prompt = PromptSource::Corpus(vec![format!("{directory}/a.txt").into()]);
    ladder.texts = Some(key(texts));
    ladder.key = key(&format!("{model}{texts}{lines}"));
    run.cells[0].key = ladder.key;
    run
}

#[test]
fn files_are_compared_by_what_they_are_wherever_they_lie() {
    let base = run_with_files("a", "llama", "novel", "");
    let (python, budget) = ("engine.python = \"b/python\"", "search.budget = \"9m\"");
    let table = [
        (run_with_files("b", "llama", "novel", ""), ""),
        (run_with_files("b", "llama", "novel", python), ""),
        (run_with_files("b", "llama", "novel", budget), ""),
        (run_with_files("a", "qwen", "novel", ""), "the files of the model differ in content"),
        (run_with_files("a", "qwen", "novel", python), "the files of the model differ in content"),
        (run_with_files("b", "qwen", "novel", ""), "model.id: a/model -> b/model"),
        (run_with_files("a", "llama", "poem", ""), "the files of the prompts differ in content"),
        (run_with_files("a", "llama", "poem", budget), "the files of the prompts differ in content"),
        (run_with_files("a", "llama", "poem", python), "the files of the prompts differ in content"),
    ];
    for (other, expected) in table {
        assert_eq!(only_reason(&base, &other, &[]), expected);
    }
    let others = run_with_files("b", "qwen", "poem", "");
    assert_eq!(only_reason(&base, &others, &["model.id", "workload.prompt"]), "");
}

#[test]
fn a_field_that_no_cell_has_is_an_error_that_names_the_candidates() {
    let before = run(&complete("engine.max_num_seqs = 64"), 100, 102);
    let after = run(&complete("engine.max_num_seqs = 256"), 100, 102);
    let error = compare(&before, &after, &options(&["engine.max_num_sqs"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--across engine.max_num_sqs: no cell has such a field; the two runs differ in engine.max_num_seqs"
    );
}

#[test]
fn a_field_of_any_cell_may_differ() {
    let grid = |tpot: &str| {
        complete("").replace("sla.ttft = \"1s\"", "")
            + &format!("[matrix]\nsla = [{{ ttft = \"1s\" }}, {{ ttft = \"3s\", tpot = \"{tpot}\" }}]")
    };
    let (before, after) = (run(&grid("50ms"), 100, 102), run(&grid("55ms"), 100, 102));
    assert_eq!(verdicts(&before, &after, &["sla.tpot"]), [Verdict::Unchanged; 2]);
    assert_eq!(verdicts(&before, &after, &[" sla.tpot "]), [Verdict::Unchanged; 2], "after a comma");
}

#[test]
fn runs_without_a_common_cell_say_what_they_differ_in() {
    let tokens = |lines: &str| run(&complete(&format!("engine.max_num_seqs = 64\n{lines}")), 100, 102);
    let one = tokens("[matrix]\n\"workload.input_tokens\" = [100, 500]");
    let other = run(&complete("engine.max_num_seqs = 256\nengine.dtype = \"float16\""), 100, 102);
    let apart = |across: &[&str]| compare(&one, &other, &options(across)).unwrap().apart;
    assert_eq!(apart(&[]), ["workload.input_tokens", "engine.dtype", "engine.max_num_seqs"]);
    assert_eq!(apart(&["engine.dtype"]), ["workload.input_tokens", "engine.max_num_seqs"]);
    assert!(apart(&["engine", "workload"]).is_empty());
    assert!(compare(&one, &one, &options(&[])).unwrap().apart.is_empty());
}

#[test]
fn what_tells_a_simulated_run_from_a_real_one_never_may_differ() {
    let found = run(&complete(""), 100, 102);
    let error = compare(&found, &found, &options(&["engine.kind"])).unwrap_err();
    assert_eq!(error.to_string(), "--across engine.kind: a simulated run is never compared with a real one");
}

#[test]
fn a_cell_without_a_number_says_why() {
    let found = run(&complete(""), 100, 102);
    let mut failed = found.clone();
    failed.cells[0].status = Some(Status::Failed);
    failed.cells[0].failure = Some(crate::record::Failure {
        kind: crate::record::FailureKind::OutOfMemory,
        reason: "out of memory".into(),
        log: None,
    });
    assert_eq!(only_reason(&found, &failed, &[]), "the candidate has no number: it failed: out of memory");
    let mut not_yet = found.clone();
    not_yet.cells[0].status = None;
    assert_eq!(only_reason(&not_yet, &found, &[]), "the baseline has no number: it was not measured");
    let mut torn = found.clone();
    torn.cells[0].lowest_fail = None;
    assert_eq!(only_reason(&found, &torn, &[]), "the candidate has no number: its bracket is not recorded");
    let mut lost = found.clone();
    lost.cells[0].ladder = "another".into();
    assert_eq!(verdicts(&found, &lost, &[]), [Verdict::Incomparable]);
}

#[test]
fn a_regression_is_excluded_only_by_a_bracket_that_says_so() {
    let text = complete("");
    let may_have_regressed = |before: &ComparedRun, after: &ComparedRun| {
        let comparison = compare(before, after, &options(&[])).unwrap();
        comparison.cells[0].may_have_regressed(Share::new(0.05).unwrap())
    };
    // Not higher by 5% for sure, but certainly not lower by as much.
    assert!(!may_have_regressed(&run(&text, 100, 102), &run(&text, 99, 120)));
    assert!(may_have_regressed(&run(&text, 100, 120), &run(&text, 100, 120)));
    let mut open = run(&text, 100, 102);
    open.cells[0].status = Some(Status::Undecided);
    assert!(may_have_regressed(&run(&text, 100, 102), &open));
}

#[test]
fn what_changed_heads_the_report() {
    let before = run(&complete(""), 100, 102);
    let mut after = before.clone();
    after.provenance.git = Some(Git { commit: "1a2b3c4d".into(), branch: None, dirty: true });
    after.provenance.engine = Some(EngineVersion { kind: "vllm".into(), version: "0.30".into() });
    after.provenance.nvidia_driver = Some("550.54.15".into());
    let resolved = after.engines[0].resolved.as_mut().unwrap();
    resolved.packages.insert("torch".into(), "2.9".into());
    let comparison = compare(&before, &after, &options(&[])).unwrap();
    let changed: Vec<_> = comparison.changed.iter().map(|c| (&*c.what, c.candidate.as_deref().unwrap())).collect();
    let commit = ("commit", "1a2b3c4d, with uncommitted changes");
    assert_eq!(changed, [commit, ("engine", "vllm 0.30"), ("torch", "2.9"), ("NVIDIA driver", "550.54.15")]);
}

/// A probe that was evidence, or not, and whose requests came after `ttft_s` in the middle.
fn probe(until: serde_json::Value, concurrency: u32, ttft_s: f64, counts: bool) -> ProbeSummary {
    let none = serde_json::Value::Null;
    let value = serde_json::json!({
        "number": 0, "concurrency": concurrency, "until": until, "seconds": 1.0, "requests": concurrency, "slas": [],
        "audit": "clean", "counts": counts, "tpot": none, "e2e": none, "cached_tokens": none, "prompt_tokens": none,
        "ttft": { "count": 1, "min_s": 0.1, "p50_s": ttft_s, "p90_s": none, "p99_s": none, "max_s": none },
        "output_tokens_per_s": 1000.0 * ttft_s, "errors": [],
        "scheduler": { "steps": 0, "preemptions": 0 }, "harness": {},
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn ladders_are_compared_at_the_highest_load_that_both_have() {
    let whole = || serde_json::json!(Until::Decided(vec![0]));
    let first = || serde_json::json!(Until::FirstTokens);
    let mut before = run(&complete(""), 100, 102);
    let mut after = before.clone();
    before.ladders[0].probes =
        [probe(whole(), 80, 0.5, true), probe(whole(), 100, 1.0, true), probe(first(), 200, 1.0, true)].into();
    after.ladders[0].probes = [
        probe(first(), 200, 2.0, true),
        probe(whole(), 80, 0.8, true),
        probe(whole(), 80, 0.6, true),
        probe(whole(), 80, 9.0, false),
        probe(whole(), 90, 1.0, true),
    ]
    .into();
    let comparison = compare(&before, &after, &options(&[])).unwrap();
    let at = comparison.ladders[0].at_equal_load.unwrap();
    assert_eq!((at.concurrency.get(), at.baseline.ttft_p50_s, at.candidate.probes), (80, Some(0.5), 2));
    assert!((at.candidate.ttft_p50_s.unwrap() - 0.7).abs() < 1e-12 && at.candidate.ttft_p99_s.is_none());
    assert!((at.candidate.output_tokens_per_s.unwrap() - 700.0).abs() < 1e-9);
    // Bursts to the first tokens are another load; they are compared where there is nothing better.
    before.ladders[0].probes.retain(|probe| probe.until == UntilSummary::FirstTokens);
    let comparison = compare(&before, &after, &options(&[])).unwrap();
    assert_eq!(comparison.ladders[0].at_equal_load.unwrap().concurrency.get(), 200);
    after.ladders[0].probes.clear();
    assert_eq!(compare(&before, &after, &options(&[])).unwrap().ladders[0].at_equal_load, None);
}

#[test]
fn a_limit_that_changed_is_told() {
    let mut before = run(&complete(""), 100, 102);
    let mut after = before.clone();
    let changed = |before: &ComparedRun, after: &ComparedRun| {
        compare(before, after, &options(&[])).unwrap().cells[0].limit_changed()
    };
    assert_eq!(changed(&before, &after), None);
    before.cells[0].limited_by = Some(Limit::Prefill);
    assert_eq!(changed(&before, &after), None, "not known is no change");
    after.cells[0].limited_by = Some(Limit::KvCache);
    assert_eq!(changed(&before, &after), Some((Limit::Prefill, Limit::KvCache)));
}

#[test]
fn steps_are_marked_along_the_history() {
    let text = complete("");
    let mut runs = vec![run(&text, 100, 102), run(&text, 101, 103), run(&text, 80, 82), run(&text, 80, 83)];
    let mut failed = run(&text, 80, 82);
    failed.cells[0].status = Some(Status::Failed);
    runs.insert(2, failed);
    let traces = history(&runs, |_| true, &options(&[])).unwrap();
    let [trace] = traces.as_slice() else { panic!("one cell") };
    let steps: Vec<_> = trace.points.iter().map(|point| (point.verdict, point.is_step())).collect();
    let expected = [
        (None, false),
        (Some(Verdict::Unchanged), false),
        (Some(Verdict::Incomparable), false),
        (Some(Verdict::Regressed), true),
        (Some(Verdict::Unchanged), false),
    ];
    assert_eq!(steps, expected);
    assert!(history(&runs, |_| false, &options(&[])).unwrap().is_empty());
    assert!(history(&[], |_| true, &options(&[])).unwrap().is_empty());
}

#[test]
fn a_step_is_seen_across_runs_that_say_nothing_of_it() {
    let text = complete("");
    let on = |device: &str, pass: u32| {
        let resolved = Resolved { devices: vec![device.into()], ..Resolved::default() };
        run_on(&text, &resolved, |_, _| vec![found(pass, pass + 2)])
    };
    let undecided = || {
        let answer = Answer { status: Status::Undecided, lowest_fail: None, ..found(90, 92) };
        run_on(&text, &Resolved { devices: vec!["H100".into()], ..Resolved::default() }, |_, _| vec![answer])
    };
    let verdicts = |runs: &[ComparedRun]| {
        let traces = history(runs, |_| true, &options(&[])).unwrap();
        traces[0].points.iter().map(|point| point.verdict).collect::<Vec<_>>()
    };
    let (regressed, open) = (Some(Verdict::Regressed), Some(Verdict::Undecided));
    assert_eq!(verdicts(&[on("H100", 100), undecided(), on("H100", 50)]), [None, open, regressed]);
    let other = Some(Verdict::Incomparable);
    assert_eq!(verdicts(&[on("H100", 100), on("H200", 140), on("H100", 50)]), [None, other, regressed]);
    assert_eq!(verdicts(&[undecided(), undecided(), on("H100", 50)]), [None, open, open]);
}

#[test]
fn small_changes_add_up_to_a_step() {
    let text = complete("");
    let runs: Vec<ComparedRun> = [1000, 970, 940, 910, 880].map(|pass| run(&text, pass, pass + 1)).into();
    let traces = history(&runs, |_| true, &options(&[])).unwrap();
    let told: Vec<_> = traces[0].points.iter().map(|point| point.verdict).collect();
    let (same, less) = (Some(Verdict::Unchanged), Some(Verdict::Regressed));
    assert_eq!(told, [None, same, less, same, less]);
    let change = traces[0].points[2].change.unwrap();
    assert!((change + 0.06).abs() < 1e-9, "{change}: since the last step");
}

#[test]
fn what_the_newest_run_was_asked_to_leave_out_is_followed_as_far_as_it_goes() {
    let text = complete("[matrix]\n\"workload.input_tokens\" = [100, 500]");
    let whole = run(&text, 100, 102);
    let mut part = run(&text, 80, 82);
    part.cells.retain(|cell| cell.id.contains("100"));
    let tokens = |runs: &[ComparedRun]| {
        let traces = history(runs, |_| true, &options(&[])).unwrap();
        traces.iter().map(|trace| (trace.id.to_owned(), trace.points.len())).collect::<Vec<_>>()
    };
    let id = |tokens: u32| format!("input_tokens={tokens}");
    assert_eq!(tokens(&[whole.clone(), part.clone()]), [(id(100), 2)], "the experiment has it no more");
    part.left_out = 1;
    assert_eq!(tokens(&[whole, part]), [(id(100), 2), (id(500), 1)]);
}

proptest! {
    #[test]
    fn every_cell_of_either_run_comes_up_once(before in tokens(), after in tokens()) {
        let axes = |tokens: &[u32]| complete(&format!("[matrix]\n\"workload.input_tokens\" = {tokens:?}"));
        let (old, new) = (run(&axes(&before), 100, 102), run(&axes(&after), 100, 102));
        let comparison = compare(&old, &new, &options(&[])).unwrap();
        let count = |of: fn(&CellComparison<'_>) -> bool| comparison.cells.iter().filter(|cell| of(cell)).count();
        prop_assert_eq!(count(|cell| cell.baseline.is_some()), before.len());
        prop_assert_eq!(count(|cell| cell.candidate.is_some()), after.len());
        let shared = before.iter().filter(|tokens| after.contains(tokens)).count();
        prop_assert_eq!(comparison.summary.unchanged, shared);
        let total: usize = Verdict::ALL.iter().map(|verdict| comparison.summary.count(*verdict)).sum();
        prop_assert_eq!(total, comparison.cells.len());
    }
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(1u32..9, 1..6).prop_map(|tokens| tokens.into_iter().collect())
}
