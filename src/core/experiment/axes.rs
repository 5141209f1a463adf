//! The axes of an experiment.
//!
//! A column is a field with the values that it takes. An axis of plain values fills one column; an axis of tables fills
//! one for each field that its tables set.

use std::collections::HashMap;

use super::columns::Columns;
use super::error::{Fault, Found, Span, nearest};
use super::file::{ModelTable, SearchTable, SlaTable, WorkloadTable};
use super::rules::{Rule, rules};
use super::tree::{Node, Table, Value, WHOLE};
use crate::secret::{is_secret_argument, is_secret_variable};

/// The parts of an experiment that cells differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Engine and model: what an engine load depends on.
    Engine,
    Workload,
    Sla,
    Search,
}

impl Section {
    /// The section that a top-level table belongs to.
    pub fn of_table(name: &str) -> Option<Self> {
        Some(match name {
            "model" | "engine" => Self::Engine,
            "workload" => Self::Workload,
            "sla" => Self::Sla,
            "search" => Self::Search,
            _ => return None,
        })
    }

    fn of_path(path: &[String]) -> Option<Self> {
        path.first().and_then(|name| Self::of_table(name))
    }
}

/// A field, and what goes there.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub path: Vec<String>,
    /// The places of the parts before the last, where they have places of their own.
    pub outer_at: Vec<Span>,
    pub key_at: Span,
    pub node: Node,
}

/// One dotted field that takes several values.
#[derive(Debug)]
pub(super) struct Axis {
    pub section: Section,
    pub path: Vec<String>,
    pub key_at: Span,
    /// Whether a list in its own table makes it: then an included point runs through it too.
    pub is_list: bool,
    pub values: Vec<AxisValue>,
}

#[derive(Debug)]
pub(super) struct AxisValue {
    pub node: Node,
    /// The columns that it fills, with the index of the value in each.
    pub fills: Vec<(usize, u32)>,
}

/// The axes, and the rules on their product.
#[derive(Debug)]
pub(super) struct Axes {
    pub axes: Vec<Axis>,
    pub columns: Columns,
    pub excludes: Vec<Rule>,
    pub includes: Vec<Rule>,
    /// For each column, the value that the file's tables give where no axis says otherwise.
    pub base_row: Vec<Option<u32>>,
    /// Whether each can be told from the others: then two equal cells, or none at all, are a fault of their own.
    pub is_sound: bool,
    /// Whether each exclusion must match something.
    pub is_as_written: bool,
}

/// Splits dotted keys and nested tables of `[matrix]` into one entry for each axis, named by its dotted field.
pub(super) fn flatten_matrix(matrix: &Table) -> Table {
    let mut flat = Table::default();
    for entry in matrix.iter() {
        if matches!(&*entry.key, "exclude" | "include") {
            flat.push(entry.clone());
        } else {
            flatten_axis(&entry.key, entry.key_at, &entry.node, &mut flat);
        }
    }
    flat
}

fn flatten_axis(dotted: &str, key_at: Span, node: &Node, flat: &mut Table) {
    match &node.value {
        Value::Table(table) if !table.is_empty() => {
            for entry in table.iter() {
                flatten_axis(&format!("{dotted}.{}", entry.key), entry.key_at, &entry.node, flat);
            }
        }
        _ => flat.put(&[dotted.to_owned()], key_at, node),
    }
}

pub(super) fn split(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

/// Leaves of a table: fields with a value that is no table, or that is taken as a whole.
pub(super) fn leaves(
    path: &[String],
    key_at: Span,
    node: &Node,
    is_column: &dyn Fn(&[String]) -> bool,
    out: &mut Vec<Setting>,
) {
    let whole = path.last().is_some_and(|last| last == WHOLE) || is_column(path);
    match &node.value {
        Value::Table(table) if !whole && !table.is_empty() => {
            for entry in table.iter() {
                let mut inner = path.to_vec();
                inner.push(entry.key.clone());
                leaves(&inner, entry.key_at, &entry.node, is_column, out);
            }
        }
        _ => out.push(Setting { path: path.to_vec(), outer_at: Vec::new(), key_at, node: node.clone() }),
    }
}

/// What the command line says of an experiment.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// Fields that it sets, those of `[matrix]` aside; of two for one field, the one that holds comes first.
    pub fixed: Vec<Setting>,
    /// Whether it sets anything: then axes may have been narrowed, and an exclusion need not match anything.
    pub is_heard: bool,
}

impl CommandLine {
    pub fn new(settings: &[Setting]) -> Self {
        let mut fixed = Vec::new();
        for setting in settings.iter().rev().filter(|setting| setting.path[0] != "matrix") {
            leaves(&setting.path, setting.key_at, &setting.node, &|_| false, &mut fixed);
        }
        Self { fixed, is_heard: !settings.is_empty() }
    }
}

/// Collects the axes of a file, and takes the lists that make axes out of its tables.
///
/// `layers` are the sources of the files that the tables are laid over one another from, the uppermost first.
pub(super) fn collect(root: &mut Table, command_line: &CommandLine, layers: &[u32], found: &mut Found) -> Axes {
    let fixed = &command_line.fixed;
    let before = found.count();
    let matrix = root.get("matrix").and_then(|node| node.as_table().cloned()).unwrap_or_default();
    let mut axes: Vec<Axis> = matrix
        .iter()
        .filter(|entry| !matches!(&*entry.key, "exclude" | "include"))
        .filter_map(|entry| matrix_axis(&entry.key, entry.key_at, &entry.node, fixed, found))
        .collect();
    for table in ["workload", "sla"] {
        axes.extend(list_axes(root, table, &axes, fixed, found));
    }
    for axis in &axes {
        unheard(axis, root, fixed, layers).into_iter().for_each(|fault| found.push(fault));
    }
    let mut columns = Columns::default();
    let mut owners: Vec<(usize, Vec<String>)> = Vec::new();
    for index in 0..axes.len() {
        fill_columns(&mut axes, index, &mut columns, &mut owners, found);
    }
    let mut rules = |name: &str, found: &mut Found| match matrix.get(name) {
        Some(node) => rules(name, node, command_line, &mut columns, owners.len(), found),
        None => Vec::new(),
    };
    let excludes = rules("exclude", found);
    let includes = rules("include", found);
    let paths: Vec<_> = columns.list.iter().map(|column| column.path.clone()).collect();
    let base = |(column, path): (usize, &Vec<String>)| root.at_path(path).map(|node| columns.value(column, node));
    let base_row = paths.iter().enumerate().map(base).collect();
    Axes {
        axes,
        columns,
        excludes,
        includes,
        base_row,
        is_sound: found.count() == before,
        is_as_written: !command_line.is_heard,
    }
}

fn matrix_axis(dotted: &str, key_at: Span, node: &Node, fixed: &[Setting], found: &mut Found) -> Option<Axis> {
    let path = split(dotted);
    let section = check_field("axis", &path, key_at, found)?;
    let nodes = match fixed.iter().find(|setting| setting.path == path) {
        Some(Setting { node: Node { value: Value::Array(nodes), .. }, .. }) if is_listed(&path) => nodes.clone(),
        Some(setting) => vec![setting.node.clone()],
        None => axis_nodes(dotted, node, fixed, &path, found)?,
    };
    axis(section, path, key_at, node.at, nodes, false, found)
}

/// A value that an axis hides, though it was said later than the axis: on the command line, or in a file that extends the one with the axis.
/// Beside an axis of the same file a value is a default.
fn unheard(axis: &Axis, root: &Table, fixed: &[Setting], layers: &[u32]) -> Option<Fault> {
    let name = axis.path.join(".");
    let hides = |path: &[String]| path.len() > 1 && path.len() < axis.path.len() && axis.path.starts_with(path);
    if let Some(setting) = fixed.iter().find(|setting| hides(&setting.path)) {
        let message = format!("`{}` would be hidden by the axis `{name}`", setting.path.join("."));
        let fault = Fault::new(setting.key_at, message, "set here").related(axis.key_at, "the axis");
        return Some(fault.help(format!("set `{name}`: that fixes the axis")));
    }
    let layer = |at: Span| layers.iter().position(|source| *source == at.source);
    let of_axis = layer(axis.key_at)?;
    let is_later = |node: &&Node| layer(node.at).is_some_and(|layer| layer < of_axis);
    let parts = (2..=axis.path.len()).map(|parts| &axis.path[..parts]);
    let values = parts.filter_map(|path| Some((path, root.at_path(path)?)));
    let is_hidden = |(path, node): &(&[String], &Node)| path.len() == axis.path.len() || node.as_table().is_none();
    let (path, node) = values.filter(is_hidden).find(|(_, node)| is_later(node))?;
    let message = format!("`{}` would be hidden by the axis `{name}` of a file that this one extends", path.join("."));
    let fault = Fault::new(node.at, message, "set here").related(axis.key_at, "the axis");
    Some(fault.help(format!("lay an axis of one value over it, under [matrix]: \"{name}\" = [the value]")))
}

/// Whether a list there makes an axis.
pub(super) fn is_listed(path: &[String]) -> bool {
    path.len() == 2 && matches!(&*path[0], "workload" | "sla")
}

/// The values of an axis, with what the command line fixes put in.
fn axis_nodes(dotted: &str, node: &Node, fixed: &[Setting], path: &[String], found: &mut Found) -> Option<Vec<Node>> {
    let Value::Array(nodes) = &node.value else {
        if !matches!(node.value, Value::Invalid) {
            let label = format!("expected a list of values for `{dotted}`, such as [1, 2]");
            found.push(Fault::new(node.at, format!("an axis is a list, and this is {}", node.describe()), label));
        }
        return None;
    };
    let mut nodes = nodes.clone();
    for setting in fixed.iter().filter(|setting| setting.path.len() > path.len() && setting.path.starts_with(path)) {
        let rest = &setting.path[path.len()..];
        for node in &mut nodes {
            if let Value::Table(table) = &mut node.value
                && table.at_path(rest).is_some()
            {
                table.put(rest, setting.key_at, &setting.node);
            }
        }
    }
    Some(nodes)
}

fn axis(
    section: Section,
    path: Vec<String>,
    key_at: Span,
    list_at: Span,
    nodes: Vec<Node>,
    is_list: bool,
    found: &mut Found,
) -> Option<Axis> {
    if nodes.is_empty() {
        let message = format!("`{}` is an empty list: there is nothing to measure", path.join("."));
        found.push(Fault::new(list_at, message, "expected at least one value"));
        return None;
    }
    let mut first_at: HashMap<String, Span> = HashMap::with_capacity(nodes.len());
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        if let Some(first) = first_at.get(&node.canonical()) {
            let message = format!("`{}` takes the same value twice", path.join("."));
            found.push(Fault::new(node.at, message, "again here").related(*first, "first here"));
            continue;
        }
        first_at.insert(node.canonical(), node.at);
        values.push(AxisValue { node, fills: Vec::new() });
    }
    Some(Axis { section, path, key_at, is_list, values })
}

/// The lists in a table whose lists make axes.
fn list_axes(root: &mut Table, table: &str, axes: &[Axis], fixed: &[Setting], found: &mut Found) -> Vec<Axis> {
    let mut lists = Vec::new();
    let Some(entries) = root.table_mut(table) else { return lists };
    let keys: Vec<String> = entries
        .iter()
        .filter(|entry| matches!(entry.node.value, Value::Array(_)))
        .map(|entry| entry.key.clone())
        .collect();
    for key in keys {
        let Some(entry) = entries.remove(&key) else { continue };
        let path = vec![table.to_owned(), key];
        if let Some(other) = axes.iter().find(|axis| axis.path == path) {
            if fixed.iter().any(|setting| setting.path == path) {
                continue;
            }
            let message = format!("`{}` takes several values twice", path.join("."));
            found
                .push(Fault::new(other.key_at, message, "here as an axis").related(entry.key_at, "and here as a list"));
            continue;
        }
        let Some(section) = check_field("key", &path, entry.key_at, found) else { continue };
        let Value::Array(nodes) = entry.node.value else { continue };
        let (key, at) = (path[1..].to_vec(), entry.node.at);
        let axis = axis(section, path, entry.key_at, at, nodes, true, found);
        if axis.is_none() {
            // It is said what is wrong with it: it is not missing as well.
            entries.put(&key, entry.key_at, &Node { at, value: Value::Invalid });
        }
        lists.extend(axis);
    }
    lists
}

/// Checks that a dotted field is one that cells can differ in.
pub(super) fn check_field(what: &str, path: &[String], at: Span, found: &mut Found) -> Option<Section> {
    let dotted = path.join(".");
    let fault = |label: String| Fault::new(at, format!("the {what} `{dotted}` names nothing"), label);
    if let Some("execution" | "name" | "description" | "schema" | "extends" | "matrix") =
        path.first().map(String::as_str)
    {
        let message = format!("the {what} `{dotted}` cannot change a number");
        found.push(Fault::new(at, message, "expected a field of model, engine, workload, sla or search"));
        return None;
    }
    let Some(section) = Section::of_path(path) else {
        let label = match suggest_table(path) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "expected a field of model, engine, workload, sla or search".to_owned(),
        };
        found.push(fault(label));
        return None;
    };
    if path.iter().any(String::is_empty) {
        found.push(fault("expected names separated by single dots".to_owned()));
        return None;
    }
    let known = keys_of(&path[0]);
    match path.get(1) {
        Some(key) if !known.is_empty() && !known.contains(&key.as_str()) => {
            let label = match nearest(key, known.iter().copied()) {
                Some(meant) => format!("did you mean `{}.{meant}`?", path[0]),
                None => format!("not a key of [{}]", path[0]),
            };
            found.push(fault(label).help(format!("keys are: {}", known.join(", "))));
            None
        }
        _ => Some(section),
    }
}

/// Cells are named by where they stand on each axis: no axis may be a secret.
pub(super) fn is_publishable(setting: &Setting, found: &mut Found) -> bool {
    let is_secret = match setting.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["engine", "env", name] => is_secret_variable(name),
        ["engine", .., name] => is_secret_argument(name),
        _ => false,
    };
    if is_secret {
        let message =
            format!("`{}` is a secret by its name, and what cells differ in is published", setting.path.join("."));
        let help = "give it once, under [engine], or in the environment in which ceiling runs";
        found.push(Fault::new(setting.key_at, message, "cannot be an axis").help(help));
    }
    !is_secret
}

/// The keys of a table; none where it is open.
fn keys_of(table: &str) -> &'static [&'static str] {
    match table {
        "model" => ModelTable::KEYS,
        "workload" => WorkloadTable::KEYS,
        "sla" => SlaTable::KEYS,
        "search" => SearchTable::KEYS,
        _ => &[],
    }
}

/// What was meant by a field in no table of ours.
fn suggest_table(path: &[String]) -> Option<String> {
    const TABLES: [&str; 5] = ["model", "engine", "workload", "sla", "search"];
    match path {
        [key] => {
            let table = TABLES.into_iter().find(|table| keys_of(table).contains(&key.as_str())).unwrap_or("engine");
            Some(format!("{table}.{key}"))
        }
        [table, rest @ ..] => nearest(table, TABLES).map(|meant| format!("{meant}.{}", rest.join("."))),
        [] => None,
    }
}

/// Gives an axis its columns. Two axes must not set the same field.
fn fill_columns(
    axes: &mut [Axis],
    index: usize,
    columns: &mut Columns,
    owners: &mut Vec<(usize, Vec<String>)>,
    found: &mut Found,
) {
    let axis = &axes[index];
    let whole = axis.path.last().is_some_and(|last| last == WHOLE);
    let of_tables = !whole && axis.values.iter().all(|value| value.node.as_table().is_some());
    let mut fills = Vec::with_capacity(axis.values.len());
    for value in &axis.values {
        let mut settings = Vec::new();
        if of_tables {
            if !value.node.as_table().is_some_and(Table::is_empty) {
                leaves(&axis.path, axis.key_at, &value.node, &|_| false, &mut settings);
            }
        } else {
            settings.push(Setting {
                path: axis.path.clone(),
                outer_at: Vec::new(),
                key_at: axis.key_at,
                node: value.node.clone(),
            });
        }
        let mut fill = Vec::with_capacity(settings.len());
        settings.retain(|setting| is_publishable(setting, found));
        for setting in settings {
            let overlaps = |path: &[String]| path.starts_with(&setting.path) || setting.path.starts_with(path);
            if let Some((other, _)) = owners.iter().find(|(owner, path)| *owner != index && overlaps(path)) {
                let message = format!("two axes set `{}`", setting.path.join("."));
                let other = axes[*other].key_at;
                found.push(Fault::new(axis.key_at, message, "this one").related(other, "and this one"));
                continue;
            }
            let known = columns.list.len();
            let column = columns.add(&setting.path);
            if column == known {
                owners.push((index, setting.path.clone()));
            }
            fill.push((column, columns.value(column, &setting.node)));
        }
        fills.push(fill);
    }
    for (value, fill) in axes[index].values.iter_mut().zip(fills) {
        value.fills = fill;
    }
}
