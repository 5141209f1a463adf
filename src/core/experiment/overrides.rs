//! What the command line sets: `--set path=value`.

use std::path::PathBuf;

use super::axes::Setting;
use super::error::{Fault, Found, Sources, Span};
use super::tree::{self, Node, Table, Value};

/// A field that the command line sets: `path=value`.
///
/// The value is TOML, or a word that could be nothing but text: `engine.dtype=float32`, `search.budget=5m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override(String);

impl Override {
    /// An override in the words of the command line; it is read together with the files.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Reads what the command line sets.
pub(super) fn settings(overrides: &[Override], sources: &mut Sources, found: &mut Found) -> Vec<Setting> {
    overrides.iter().filter_map(|text| setting(&text.0, sources, found)).collect()
}

/// Reads one `path=value`.
fn setting(text: &str, sources: &mut Sources, found: &mut Found) -> Option<Setting> {
    let source = sources.add("--set".to_owned(), text.to_owned(), PathBuf::new());
    let mut trial = Found::default();
    let table = tree::parse(source, text, &mut trial);
    if trial.count() == 0 {
        return single(&table, source, text, found);
    }
    if let Some((path, word)) = text.split_once('=').filter(|(_, value)| is_word(value)) {
        let mut trial = Found::default();
        let table = tree::parse(source, &format!("{path}=0"), &mut trial);
        if trial.count() == 0 {
            let at = Span { source, start: (path.len() + 1) as u32, end: text.len() as u32 };
            let node = Node { at, value: Value::String(word.trim().to_owned()) };
            return single(&table, source, text, found).map(|setting| Setting { node, ..setting });
        }
    }
    let value_at = text.find('=').map(|equals| equals + 1).filter(|at| !text[*at..].trim().is_empty());
    let at = Span { source, start: value_at.unwrap_or(0) as u32, end: text.len() as u32 };
    let fault = match value_at {
        Some(_) => Fault::new(at, "this is no value of TOML", "in a list, and with spaces, text has quotes around it"),
        None => Fault::new(at, "this sets nothing", "expected path=value, with a value in TOML"),
    };
    found.push(fault.help("for example --set engine.max_num_seqs=64 or --set 'sla.ttft=[\"1s\", \"5s\"]'"));
    None
}

fn single(table: &Table, source: u32, text: &str, found: &mut Found) -> Option<Setting> {
    let mut path = Vec::new();
    let mut outer_at = Vec::new();
    let mut table = table;
    loop {
        let mut entries = table.iter();
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            let at = Span { source, start: 0, end: text.len() as u32 };
            found.push(Fault::new(at, "this sets not one field", "expected one path=value"));
            return None;
        };
        path.push(entry.key.clone());
        // A dotted key makes tables that begin where the key does; a table that is a value has its own braces.
        match &entry.node.value {
            Value::Table(inner) if !text[entry.node.at.start as usize..].starts_with('{') => {
                outer_at.push(entry.key_at);
                table = inner;
            }
            _ => {
                if matches!(&*path[0], "extends" | "name" | "schema" | "description") {
                    let message = format!("`{}` cannot be set from the command line", path.join("."));
                    found.push(Fault::new(entry.key_at, message, "set it in the file"));
                    return None;
                }
                if path[0] == "matrix" && path.len() > 2 {
                    path = vec![path[0].clone(), path[1..].join(".")];
                }
                return Some(Setting { path, outer_at, key_at: entry.key_at, node: entry.node.clone() });
            }
        }
    }
}

/// Whether a value that is no TOML can be nothing but text.
fn is_word(text: &str) -> bool {
    let text = text.trim();
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '%' | '+' | '@');
    !text.is_empty() && text.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use crate::experiment::Engine;
    use crate::experiment::testing::{complete, read_with};

    #[test]
    fn a_fault_is_under_the_part_of_a_path_that_is_at_fault() {
        let table = [("nothing.at.all=1", "^^^^^^^"), ("sla.nothing.at=1", "    ^^^^^^^"), ("sla.tftt=1s", "    ^^^^")];
        for (text, caret) in table {
            let faults = read_with(&complete(""), &[text]).unwrap_err().to_string();
            assert!(faults.contains(&format!("1 │ {text}\n  │ {caret} ")), "{faults}");
        }
    }

    #[test]
    fn overrides_are_toml_or_plain_words() {
        let text = complete("");
        let args = |overrides: &[&str]| {
            let experiment = read_with(&text, overrides).unwrap_or_else(|faults| panic!("{faults}"));
            let Engine::Vllm(vllm) = &*experiment.grid.engines[0].value else { panic!("a simulator") };
            serde_json::Value::from(vllm.spec.args.clone())
        };
        let table = [
            ("engine.x=1", serde_json::json!(1)),
            ("engine.x = 1.5", serde_json::json!(1.5)),
            ("engine.x=true", serde_json::json!(true)),
            ("engine.x=float32", serde_json::json!("float32")),
            ("engine.x=\"float 32\"", serde_json::json!("float 32")),
            ("engine.x=org/model-1.5", serde_json::json!("org/model-1.5")),
            ("engine.x=[1, 2]", serde_json::json!([1, 2])),
            ("engine.x={ y = 1 }", serde_json::json!({"y": 1})),
            ("engine.x.y=1", serde_json::json!({"y": 1})),
        ];
        for (text, value) in table {
            assert_eq!(args(&[text]), serde_json::json!({ "x": value }), "{text}");
        }
        assert_eq!(args(&["engine.x=1", "engine.x=2"]), serde_json::json!({"x": 2}), "the last one holds");
    }
}
