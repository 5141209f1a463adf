//! Which points of the product of an experiment's axes are left out, and which are added.

use serde_json::Value as Json;

use super::axes::{CommandLine, Setting, check_field, is_listed, is_publishable, leaves, split};
use super::columns::{Column, Columns};
use super::error::{Fault, Found, Span, nearest};
use super::tree::{Node, Value};

/// A point that an entry of `[[matrix.exclude]]` or `[[matrix.include]]` speaks of.
#[derive(Debug)]
pub(super) struct Rule {
    pub at: Span,
    /// Columns of axes and the value that each must have.
    pub conditions: Vec<(usize, u32)>,
    /// Fields beside the axes, with their columns.
    pub additions: Vec<(usize, u32)>,
    /// All that it says.
    pub settings: Vec<Setting>,
}

/// Reads the entries of `exclude` or `include`; the first `of_axes` columns belong to axes.
pub(super) fn rules(
    name: &str,
    node: &Node,
    command_line: &CommandLine,
    columns: &mut Columns,
    of_axes: usize,
    found: &mut Found,
) -> Vec<Rule> {
    let Value::Array(entries) = &node.value else {
        let message = format!("`{name}` is a list of tables, and this is {}", node.describe());
        found.push(Fault::new(node.at, message, format!("expected entries under [[matrix.{name}]]")));
        return Vec::new();
    };
    entries.iter().filter_map(|entry| rule(name, entry, command_line, columns, of_axes, found)).collect()
}

fn rule(
    name: &str,
    entry: &Node,
    command_line: &CommandLine,
    columns: &mut Columns,
    of_axes: usize,
    found: &mut Found,
) -> Option<Rule> {
    let Some(table) = entry.as_table().filter(|table| !table.is_empty()) else {
        let label = "expected a table of fields and values";
        found.push(Fault::new(entry.at, format!("an entry of `{name}` says nothing"), label));
        return None;
    };
    let mut settings = Vec::new();
    for field in table.iter() {
        let is_column = |path: &[String]| columns.of(path).is_some();
        leaves(&split(&field.key), field.key_at, &field.node, &is_column, &mut settings);
    }
    let single = |setting: &&Setting| !(is_listed(&setting.path) && matches!(setting.node.value, Value::Array(_)));
    let fixed_at = |path: &[String]| command_line.fixed.iter().filter(single).find(|fixed| fixed.path == path);
    let contradicts = |setting: &Setting| {
        fixed_at(&setting.path).is_some_and(|fixed| fixed.node.canonical() != setting.node.canonical())
    };
    if name == "exclude" && settings.iter().any(contradicts) {
        return None;
    }
    // What the command line fixes, no entry can change.
    settings.retain(|setting| fixed_at(&setting.path).is_none());
    let before = found.count();
    let mut rule = Rule { at: entry.at, conditions: Vec::new(), additions: Vec::new(), settings: Vec::new() };
    for setting in settings {
        match columns.of(&setting.path) {
            // A value that is new to the column fits no point of the product.
            Some(column) if column < of_axes && name == "include" => {
                rule.conditions.push((column, columns.value(column, &setting.node)));
            }
            Some(column) if column < of_axes => match columns.index_of(column, &setting.node) {
                Some(value) => rule.conditions.push((column, value)),
                None if !command_line.is_heard => found.push(no_such_value(&setting, &columns.list[column])),
                None => return None,
            },
            _ if name == "exclude" => found.push(no_such_axis(&setting, &columns.list[..of_axes])),
            _ => {
                let is_field = check_field("field", &setting.path, setting.key_at, found).is_some();
                if is_field && is_publishable(&setting, found) {
                    let column = columns.add(&setting.path);
                    rule.additions.push((column, columns.value(column, &setting.node)));
                }
            }
        }
        rule.settings.push(setting);
    }
    (found.count() == before).then_some(rule)
}

fn no_such_value(setting: &Setting, column: &Column) -> Fault {
    let values: Vec<_> = column.values.iter().take(10).map(Json::to_string).collect();
    let message =
        format!("no value of `{}` is {}: this excludes nothing", column.path.join("."), setting.node.describe());
    Fault::new(setting.node.at, message, "matches nothing").help(format!("its values are: {}", values.join(", ")))
}

fn no_such_axis(setting: &Setting, axes: &[Column]) -> Fault {
    let names: Vec<_> = axes.iter().map(|column| column.path.join(".")).collect();
    let dotted = setting.path.join(".");
    let label = match nearest(&dotted, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "expected the field of an axis".to_owned(),
    };
    let help =
        if names.is_empty() { "this file has no axes".to_owned() } else { format!("axes are: {}", names.join(", ")) };
    Fault::new(setting.key_at, format!("`{dotted}` is no axis, so nothing can be excluded by it"), label).help(help)
}
