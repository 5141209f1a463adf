//! What holds for every plan, tried on made-up files.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::{Key, Plan, plan};
use crate::experiment::testing::{Memory, complete, read_text, read_with};
use crate::experiment::{Override, read};

/// A field that a made-up file may vary, with values that mean different things, none of them the field's default.
const FIELDS: [(&str, [&str; 3]); 7] = [
    ("engine.max_num_seqs", ["16", "64", "256"]),
    ("engine.dtype", ["\"float32\"", "\"bfloat16\"", "\"auto\""]),
    ("engine.env.OMP_NUM_THREADS", ["1", "2", "4"]),
    ("search.resolution", ["2", "\"2%\"", "\"5%\""]),
    ("workload.output_tokens", ["16", "32", "64"]),
    ("workload.input_tokens", ["501", "502", "503"]),
    ("sla.ttft", ["\"2s\"", "\"3s\"", "\"4s\""]),
];

/// The fields from here on may take their values from a list in their table.
const LISTED: usize = 4;

/// Values by field.
type Settings = BTreeMap<&'static str, &'static str>;

/// A made-up file.
#[derive(Clone, Debug)]
struct File {
    matrix: Vec<(&'static str, Vec<&'static str>)>,
    lists: Vec<(&'static str, Vec<&'static str>)>,
    excludes: Vec<Settings>,
    includes: Vec<Settings>,
}

fn file() -> impl Strategy<Value = File> {
    let values = |values: [&'static str; 3]| subsequence(values.to_vec(), 0..=3);
    let axes: Vec<_> = FIELDS.into_iter().map(|(_, all)| (values(all), any::<bool>())).collect();
    let rule = || prop::collection::vec((any::<Index>(), any::<Index>()), 1..4);
    (axes, prop::collection::vec(rule(), 0..3), prop::collection::vec((rule(), any::<bool>()), 0..3)).prop_map(
        |(axes, excludes, includes)| {
            let (mut matrix, mut lists) = (Vec::new(), Vec::new());
            for (index, (values, is_list)) in axes.into_iter().enumerate().filter(|(_, (values, _))| !values.is_empty())
            {
                let axes = if index >= LISTED && is_list { &mut lists } else { &mut matrix };
                axes.push((FIELDS[index].0, values));
            }
            let exclude = |picks: Vec<(Index, Index)>| {
                let all: Vec<_> = matrix.iter().chain(&lists).collect();
                let pick = |(axis, value): (Index, Index)| {
                    let (field, values) = *axis.get(&all);
                    (*field, *value.get(values))
                };
                if all.is_empty() { Settings::new() } else { picks.into_iter().map(pick).collect() }
            };
            let include = |(picks, extra): (Vec<(Index, Index)>, bool)| {
                let pick = |(field, value): (Index, Index)| {
                    let (field, values) = field.get(&FIELDS);
                    (*field, *value.get(values))
                };
                let extra = extra.then_some(("engine.seed", "3"));
                picks.into_iter().map(pick).chain(extra).collect()
            };
            let excludes = excludes.into_iter().map(exclude).filter(|rule| !rule.is_empty()).collect();
            let includes = includes.into_iter().map(include).collect();
            File { matrix, lists, excludes, includes }
        },
    )
}

impl File {
    /// The cells that the file should have: what each sets, in order. This is the definition, written as plainly as can be.
    fn cells(&self) -> Vec<Settings> {
        let axes: Vec<_> = self.matrix.iter().chain(&self.lists).cloned().collect();
        let mut points = product(&axes);
        if self.includes_are_the_matrix() {
            points.clear();
        }
        points.retain(|point| !self.excludes.iter().any(|rule| agrees(rule, point)));
        let originals = points.clone();
        for include in &self.includes {
            let is_axis = |field: &&str| axes.iter().any(|(axis, _)| axis == field);
            let on_axes: Settings = include.iter().filter(|(field, _)| is_axis(field)).map(|(f, v)| (*f, *v)).collect();
            let fits: Vec<_> = originals.iter().map(|original| agrees(&on_axes, original)).collect();
            if fits.contains(&true) {
                for (point, _) in points.iter_mut().zip(fits).filter(|(_, fits)| *fits) {
                    point.extend(include);
                }
            } else {
                let open: Vec<_> =
                    self.lists.iter().filter(|(field, _)| !include.contains_key(field)).cloned().collect();
                points.extend(product(&open).into_iter().map(|mut point| {
                    point.extend(include);
                    point
                }));
            }
        }
        points
    }

    fn includes_are_the_matrix(&self) -> bool {
        let is_listed = |field: &&str| self.lists.iter().any(|(listed, _)| listed == field);
        let speaks_of_lists = self.includes.iter().any(|rule| rule.keys().any(is_listed));
        self.matrix.is_empty() && !self.includes.is_empty() && !speaks_of_lists
    }

    fn text(&self, reversed: bool) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (field, values) in &self.lists {
            lines.push(format!("{field} = [{}]", values.join(", ")));
        }
        for (field, value) in [("workload.input_tokens", "500"), ("sla.ttft", "\"1s\"")] {
            if !self.lists.iter().any(|(listed, _)| *listed == field) {
                lines.push(format!("{field} = {value}"));
            }
        }
        let mut axes: Vec<_> =
            self.matrix.iter().map(|(f, values)| format!("{f:?} = [{}]", values.join(", "))).collect();
        let rules = |name: &str, rules: &[Settings]| -> Vec<String> {
            let rule = |rule: &Settings| {
                let mut fields: Vec<_> = rule.iter().map(|(field, value)| format!("{field:?} = {value}")).collect();
                if reversed {
                    fields.reverse();
                }
                format!("[[matrix.{name}]]\n{}", fields.join("\n"))
            };
            rules.iter().map(rule).collect()
        };
        let mut head = vec!["schema = 1", "name = \"e\"", "model.id = \"org/model\""];
        if reversed {
            head.extend([
                "workload.load = \"burst\" # the default",
                "engine.layer = \"engine-core\"",
                "sla.ok_rate = \"99%\"",
            ]);
            head.reverse();
            lines.reverse();
            axes.reverse();
        }
        let head: Vec<String> = head.into_iter().map(str::to_owned).collect();
        let matrix = vec!["[matrix]".to_owned()];
        [head, lines, matrix, axes, rules("exclude", &self.excludes), rules("include", &self.includes)]
            .concat()
            .join("\n")
    }
}

fn product(axes: &[(&'static str, Vec<&'static str>)]) -> Vec<Settings> {
    axes.iter().fold(vec![Settings::new()], |points, (field, values)| {
        let with = |point: &Settings, value: &'static str| {
            let mut point = point.clone();
            point.insert(*field, value);
            point
        };
        points.iter().flat_map(|point| values.iter().map(|value| with(point, value))).collect()
    })
}

fn agrees(rule: &Settings, point: &Settings) -> bool {
    rule.iter().all(|(field, value)| point.get(field) == Some(value))
}

fn planned(text: &str) -> Plan {
    plan(&[read_text(text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))])
}

fn keys(plan: &Plan) -> BTreeSet<Key> {
    plan.cells.iter().map(|cell| cell.key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_cells_are_the_product_less_exclusions_plus_inclusions(file in file()) {
        let cells = file.cells();
        let distinct: HashSet<_> = cells.iter().collect();
        let read = read_text(&file.text(false));
        let excludes_nothing = file.includes_are_the_matrix() && !file.excludes.is_empty();
        if cells.is_empty() || distinct.len() < cells.len() || excludes_nothing {
            prop_assert!(read.is_err(), "nothing is left, two cells are the same, or there is nothing to exclude");
            return Ok(());
        }
        let plan = plan(&[read.map_err(|faults| TestCaseError::fail(faults.to_string()))?]);
        prop_assert_eq!(plan.cells.len(), cells.len());
        for (cell, wanted) in plan.cells.iter().zip(&cells) {
            for (field, value) in wanted {
                let found = cell.axes.get(field).map(ToString::to_string);
                prop_assert_eq!(found.as_deref(), Some(*value), "{} of {}", field, &cell.id);
            }
        }
    }

    #[test]
    fn ids_and_keys_are_unique_and_every_cell_has_its_place(file in file()) {
        let Ok(experiment) = read_text(&file.text(false)) else { return Ok(()) };
        let plan = plan(&[experiment]);
        let ids: HashSet<_> = plan.cells.iter().map(|cell| &cell.id).collect();
        prop_assert_eq!(ids.len(), plan.cells.len());
        prop_assert_eq!(keys(&plan).len(), plan.cells.len());
        let labels: HashSet<_> = plan.groups.iter().map(|group| &group.label).collect();
        prop_assert_eq!(labels.len(), plan.groups.len());
        let engines: HashSet<_> = plan.groups.iter().map(|group| group.key).collect();
        prop_assert_eq!(engines.len(), plan.groups.len(), "one load for each engine configuration");
        let ladders: HashSet<_> = plan.ladders.iter().map(|ladder| &ladder.id).collect();
        prop_assert_eq!(ladders.len(), plan.ladders.len());
        let mut listed = 0;
        for (index, group) in plan.groups.iter().enumerate() {
            let costs: Vec<_> = group.ladders.iter().map(|l| plan.ladders[*l].workload.input_tokens).collect();
            prop_assert!(costs.is_sorted(), "the cheapest ladder comes first");
            for ladder in &group.ladders {
                prop_assert_eq!(plan.ladders[*ladder].group, index);
                prop_assert_eq!(*ladder, listed, "ladders are in the order of their groups");
                listed += 1;
            }
        }
        prop_assert_eq!(listed, plan.ladders.len());
        let answered: usize = plan.ladders.iter().map(|ladder| ladder.cells.len()).sum();
        prop_assert_eq!(answered, plan.cells.len());
        for (index, cell) in plan.cells.iter().enumerate() {
            prop_assert!(plan.ladders[cell.ladder].cells.contains(&index));
        }
    }

    #[test]
    fn keys_and_ids_do_not_change_with_how_it_is_written(file in file()) {
        let Ok(experiment) = read_text(&file.text(false)) else { return Ok(()) };
        let original = plan(&[experiment]);
        let rewritten = planned(&file.text(true));
        let named = |plan: &Plan| plan.cells.iter().map(|cell| (cell.id.clone(), cell.key)).collect::<BTreeSet<_>>();
        // Added defaults make no axis, so that even the names stay.
        prop_assert_eq!(named(&original), named(&rewritten));
        prop_assert_eq!(&original.experiments[0].digest, &rewritten.experiments[0].digest);
    }

    #[test]
    fn the_same_file_gives_the_same_plan(file in file()) {
        let Ok(experiment) = read_text(&file.text(false)) else { return Ok(()) };
        prop_assert_eq!(plan(&[experiment]), planned(&file.text(false)));
    }
}

fn key(text: &str, overrides: &[&str]) -> Key {
    let experiment = read_with(text, overrides).unwrap_or_else(|faults| panic!("{faults}"));
    plan(&[experiment]).cells[0].key
}

#[test]
fn whatever_can_change_the_number_changes_the_key() {
    let text = complete("");
    let changes = [
        "model.id=org/other",
        "model.revision=main",
        "model.tokenizer=org/other",
        "engine.layer=async-llm",
        "engine.python=.venv-next/bin/python",
        "engine.env.OMP_NUM_THREADS=1",
        "engine.dtype=float32",
        "engine.compilation_config.level=3",
        "workload.input_tokens=501",
        "workload.output_tokens=257",
        "workload.load=sustained",
        "workload.hold=6s",
        "workload.shared_prefix=1",
        "workload.seed=1",
        "sla.ok_rate=0.98",
        "sla.ttft=2s",
        "sla.tpot=50ms",
        "sla.e2e=90s",
        "sla.min_tokens_per_second=25",
        "search.max_concurrency=4095",
        "search.start_concurrency=2",
        "search.resolution=2",
        "search.confidence=0.9",
        "search.strategy=bisect",
        "search.budget=31m",
    ];
    let mut keys = HashSet::from([key(&text, &[])]);
    for change in changes {
        assert!(keys.insert(key(&text, &[change])), "{change} changes nothing");
    }
}

#[test]
fn whatever_cannot_change_the_number_leaves_the_key_alone() {
    let text = complete("");
    let written_out = complete(
        r#"
        description = "another"
        engine = { kind = "vllm", layer = "engine-core", python = ".venv/bin/python", env = {} }
        sla.ok_rate = "99%"
        [search]
        budget = "1800s"
        resolution = 1
        "#,
    );
    let same = [
        key(&text, &["execution.gpus=[0]"]),
        key(&text, &["execution.retries=0", "execution.slots=2", "execution.engine_timeout=1m"]),
        key(&text, &["sla.ttft=1000ms"]),
        key(&text.replace("\"e\"", "\"other\""), &[]),
        key(&written_out, &[]),
    ];
    assert_eq!(same, [key(&text, &[]); 5]);
}

#[test]
fn the_key_goes_with_what_a_directory_holds_and_not_with_where_it_lies() {
    let text = complete("workload.prompt = { corpus = \"texts/*.txt\" }").replace("org/model", "tiny");
    let at = |directory: &str, config: &str, corpus: &str| {
        let files = Memory::default()
            .with(&format!("{directory}e.toml"), &text)
            .with(&format!("{directory}tiny/config.json"), config)
            .with(&format!("{directory}texts/a.txt"), corpus);
        let experiments = read(&[format!("{directory}e.toml").into()], &[], &files);
        plan(&experiments.unwrap_or_else(|faults| panic!("{faults}"))).cells[0].key
    };
    let here = at("", "{}", "a text");
    assert_eq!(at("some/where/else/", "{}", "a text"), here);
    assert_ne!(at("", "{\"layers\": 2}", "a text"), here);
    assert_ne!(at("", "{}", "another text"), here);
}

#[test]
fn files_that_ask_for_one_engine_share_its_load() {
    let files = Memory::default()
        .with("a.toml", &complete("engine.x = 1").replace("\"e\"", "\"a\""))
        .with("b.toml", &complete("sla.tpot = \"50ms\"\n[matrix]\n\"engine.x\" = [2, 1]").replace("\"e\"", "\"b\""));
    let plan = plan(&read(&["a.toml".into(), "b.toml".into()], &[], &files).unwrap());
    assert_eq!((plan.groups.len(), plan.ladders.len(), plan.cells.len()), (2, 2, 3));
    assert_eq!(plan.ladders[0].cells, [0, 2], "one ladder answers cells of both files");
    let labels: Vec<_> = plan.groups.iter().map(|group| &*group.label).collect();
    assert_eq!(labels, ["model", "model,x=2"]);
}

#[test]
fn a_limit_on_the_whole_request_lets_it_finish() {
    let held = planned(&complete("sla.ok_rate = [0.9, 0.99]"));
    assert_eq!(held.ladders[0].hold(&held.cells), held.ladders[0].workload.hold);
    let finished = planned(&complete("[matrix]\nsla = [{ e2e = \"9s\" }, { tpot = \"50ms\" }]"));
    // One SLA has the same ceiling beside others as alone.
    assert_eq!(finished.ladders.len(), 2);
    for cell in &finished.cells {
        let (ladder, held) = (&finished.ladders[cell.ladder], held.ladders[0].workload.hold);
        let expected = if cell.sla.judges_the_end() { crate::load::Hold::UntilFinished } else { held };
        assert_eq!(ladder.hold(&finished.cells), expected, "{}", cell.id);
    }
}

#[test]
fn the_command_line_has_the_last_word() {
    let text = complete(
        "[matrix]\n\"engine.x\" = [1, 2]\n[[matrix.exclude]]\n\"engine.x\" = 2\n[[matrix.include]]\n\"engine.x\" = 3",
    );
    let ids = |overrides: &[&str]| -> Vec<String> {
        let overrides: Vec<_> = overrides.iter().copied().map(Override::new).collect();
        let files = Memory::default().with("e.toml", &text);
        let experiments = read(&["e.toml".into()], &overrides, &files).unwrap_or_else(|faults| panic!("{faults}"));
        plan(&experiments).cells.into_iter().map(|cell| format!("{} {:?}", cell.id, cell.axes)).collect()
    };
    assert_eq!(ids(&[]), ["x=1 {\"engine.x\": Number(1)}", "x=3 {\"engine.x\": Number(3)}"]);
    assert_eq!(ids(&["engine.x=7"]), ["input_tokens=500,ttft=1s {\"engine.x\": Number(7)}"]);
    assert_eq!(ids(&["engine.x=6", "engine.x=7"]), ids(&["engine.x=7"]));
    assert_eq!(ids(&["engine={ x = 7 }"]), ids(&["engine.x=7"]));
    assert_eq!(ids(&["matrix.engine.x=[1, 4]"]).len(), 3);
    assert_eq!(ids(&["sla.ttft=[\"1s\", \"2s\"]"]).len(), 4);
}
