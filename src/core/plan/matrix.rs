//! From experiments to cells: keys, ids, and the ladder that answers each.

use rustc_hash::FxHashMap;
use serde_json::json;

use super::group::Groups;
use super::name::{Names, Unique};
use super::{Cell, ExperimentHead, Key, Plan};
use crate::experiment::{Experiment, Place, Point};

pub(super) fn plan(experiments: &[Experiment]) -> Plan {
    let mut groups = Groups::default();
    let mut cells = Vec::with_capacity(experiments.iter().map(|experiment| experiment.grid.points.len()).sum());
    let mut heads = Vec::with_capacity(experiments.len());
    for (index, experiment) in experiments.iter().enumerate() {
        let first = cells.len();
        add_cells(index, experiment, &mut groups, &mut cells);
        heads.push(head(experiment, &cells[first..]));
    }
    let (groups, ladders) = groups.finish(experiments, &mut cells);
    Plan { experiments: heads, groups, ladders, cells }
}

fn add_cells(index: usize, experiment: &Experiment, groups: &mut Groups, cells: &mut Vec<Cell>) {
    let grid = &experiment.grid;
    let names = Names::of(grid);
    let mut unique = Unique::with_capacity(grid.points.len());
    let mut ladders = LadderOf::default();
    for (row, point) in grid.points.iter().enumerate() {
        let sla = &grid.slas[point.sla as usize];
        let judges_the_end = sla.value.judges_the_end();
        let ladder = ladders.get(point, judges_the_end, || groups.ladder(experiment, point, (index, row)));
        let key = Key::of_keys(&[groups.key_of(ladder), sla.key]);
        let id = unique.name(names.cell(row), key);
        groups.answer(ladder, cells.len());
        let axes = Place::new(grid.axes.clone(), row);
        cells.push(Cell { key, id, experiment: index, ladder, axes, sla: *sla.value });
    }
}

/// The ladder of each point, by its indices and by whether it judges the whole request: neighbours mostly share one.
#[derive(Default)]
struct LadderOf {
    known: FxHashMap<(u32, u32, u32, bool), usize>,
    latest: Option<((u32, u32, u32, bool), usize)>,
}

impl LadderOf {
    fn get(&mut self, point: &Point, judges_the_end: bool, make: impl FnOnce() -> usize) -> usize {
        let place = (point.engine, point.workload, point.search, judges_the_end);
        if let Some((_, ladder)) = self.latest.filter(|(latest, _)| *latest == place) {
            return ladder;
        }
        let ladder = *self.known.entry(place).or_insert_with(make);
        self.latest = Some((place, ladder));
        ladder
    }
}

fn head(experiment: &Experiment, cells: &[Cell]) -> ExperimentHead {
    let mut keys: Vec<Key> = cells.iter().map(|cell| cell.key).collect();
    keys.sort_unstable();
    // The machines are not part of what is asked: runs on a cluster and on one machine answer the same.
    let mut execution = json!(*experiment.execution);
    if let Some(fields) = execution.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "on" | "slurm"));
    }
    ExperimentHead {
        name: experiment.name.clone(),
        description: experiment.description.clone(),
        source: experiment.source.clone(),
        digest: Key::of_keys(&[Key::of_keys(&keys), Key::of(&execution)]),
        left_out: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::testing::{Memory, complete, read_text};

    fn ids(text: &str) -> Vec<String> {
        let experiment = read_text(text).unwrap();
        plan(&[experiment]).cells.into_iter().map(|cell| cell.id).collect()
    }

    #[test]
    fn ids_name_what_differs() {
        let text = complete(
            r#"
            [matrix]
            "engine.max_num_seqs" = [256, 1024]
            "engine.dtype" = ["float32"]
            "workload.input_tokens" = [1000, 5000]
            "#,
        );
        let wanted =
            ["256,input_tokens=1000", "256,input_tokens=5000", "1024,input_tokens=1000", "1024,input_tokens=5000"];
        assert_eq!(ids(&text), wanted.map(|id| format!("max_num_seqs={id}")));
        assert_eq!(ids(&complete("")), ["input_tokens=500,ttft=1s"]);
    }

    #[test]
    fn the_quickstart_is_one_ladder() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/");
        let file = |name: &str| std::fs::read_to_string(format!("{root}{name}")).unwrap();
        let files = Memory::default()
            .with("x/quickstart.toml", &file("quickstart.toml"))
            .with("x/tiny-llama/config.json", "{}");
        let experiments = crate::experiment::read(&["x/quickstart.toml".into()], &[], &files).unwrap();
        let plan = plan(&experiments);
        assert_eq!((plan.groups.len(), plan.ladders.len(), plan.cells.len()), (1, 1, 6));
    }
}
