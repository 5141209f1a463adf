//! `ceiling quick`: an experiment from flags, run as if it stood in a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::{self, Files};
use ceiling_core::plan::{self, Plan};
use toml::{Table, Value};

use super::carry_out::{Start, carry_out};
use super::experiments::{self, Planned};
use super::preflight::require_pythons;
use crate::args::QuickArgs;
use crate::exit::{Exit, after_start};
use crate::files::Disk;
use crate::report::json;
use crate::store;

/// Runs the question that the flags ask.
pub fn quick(args: &QuickArgs) -> Result<Exit> {
    let path = args.save_as.clone().unwrap_or_else(|| PathBuf::from("quick.toml"));
    let text = question(args, &path)?;
    let files = WithOne { path: path.clone(), text: text.clone(), rest: Disk };
    let Some(Planned { plan, .. }) = experiments::plan_files(std::slice::from_ref(&path), &args.overrides, &files)
    else {
        return Ok(Exit::Usage);
    };
    if let Some(path) = &args.json_out {
        store::check_writable(path)?;
    }
    require_pythons(&plan)?;
    if args.save_as.is_some() {
        if path.exists() {
            bail!("{} is there already; name another file with --save-as", path.display());
        }
        let whole = with_overrides(&text, &args.overrides).filter(|whole| asks_the_same(whole, &path, &plan));
        store::write(&path, whole.as_ref().unwrap_or(&text).as_bytes())?;
        tell!("kept as {}", path.display());
        if whole.is_none() {
            tell!(
                "note: --set is not part of the file, where it would mean something else; give it again with `ceiling run`"
            );
        }
    }
    let (exit, runs) = carry_out(plan, &args.results.results, Start::Anew, None)?;
    if let (Some(path), [run]) = (&args.json_out, runs.as_slice()) {
        after_start(json::render(run).and_then(|text| store::write(path, text.as_bytes())))?;
    }
    Ok(exit)
}

/// The text of the experiment file.
fn question(args: &QuickArgs, path: &Path) -> Result<String> {
    let seconds = |value: f64| Value::String(format!("{value}s"));
    let number = |value: u32| Value::Integer(value.into());
    let table = |entries: Vec<(&str, Option<Value>)>| -> Value {
        let given = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Table(given.collect())
    };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("quick");
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let mut file = Table::new();
    file.insert("schema".into(), Value::Integer(1));
    file.insert("name".into(), Value::String(name));
    let description =
        format!("How many prompts of {} tokens does {} hold in flight?", args.target_input_tokens, args.model);
    file.insert("description".into(), Value::String(description));
    file.insert("model".into(), table(vec![("id", Some(Value::String(model_for(&args.model, path)?)))]));
    let engine = vec![
        ("python", Some(Value::String(args.python.clone()))),
        ("dtype", args.dtype.clone().map(Value::String)),
        ("tensor_parallel_size", args.tensor_parallel_size.map(number)),
        ("gpu_memory_utilization", args.gpu_memory_utilization.map(Value::Float)),
        ("max_model_len", args.max_model_len.map(number)),
        ("max_num_seqs", args.max_num_seqs.map(number)),
    ];
    file.insert("engine".into(), table(engine));
    let workload = vec![
        ("input_tokens", Some(number(args.target_input_tokens))),
        ("output_tokens", Some(number(args.max_new_tokens))),
        ("load", Some(Value::String("burst".into()))),
        ("hold", Some(seconds(args.hold_seconds))),
    ];
    file.insert("workload".into(), table(workload));
    let sla = vec![("ok_rate", Some(Value::Float(args.sla_ok_rate))), ("ttft", Some(seconds(args.ttft_timeout)))];
    file.insert("sla".into(), table(sla));
    let search = vec![
        ("start_concurrency", Some(number(args.start_concurrency))),
        ("max_concurrency", Some(number(args.max_concurrency_cap))),
    ];
    file.insert("search".into(), table(search));
    toml::to_string(&file).context("cannot write the experiment as TOML")
}

/// The file with what the command line sets in it, where that can be written down.
fn with_overrides(text: &str, overrides: &[String]) -> Option<String> {
    let mut file: Table = text.parse().ok()?;
    for set in overrides {
        let (path, value) = set.split_once('=')?;
        // What is no TOML is a word: the experiment was read with it already.
        let value = format!("value={value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| Value::String(set[path.len() + 1..].trim().to_owned()));
        insert(&mut file, keys(path)?, value)?;
    }
    toml::to_string(&file).ok()
}

/// The parts of a dotted path. An axis of the matrix is named by its own dotted path, as one part.
fn keys(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = Value::Table(format!("{path}=0").parse().ok()?);
    while let Value::Table(table) = rest {
        let (key, inner) = table.into_iter().next()?;
        keys.push(key);
        rest = inner;
    }
    if keys.first().is_some_and(|first| first == "matrix") && keys.len() > 2 {
        keys = vec![keys[0].clone(), keys[1..].join(".")];
    }
    Some(keys)
}

fn insert(file: &mut Table, mut keys: Vec<String>, value: Value) -> Option<()> {
    let last = keys.pop()?;
    let mut table = file;
    for key in keys {
        table = table.entry(key).or_insert_with(|| Value::Table(Table::new())).as_table_mut()?;
    }
    table.insert(last, value);
    Some(())
}

/// Whether a file by itself asks what this plan does: a relative path, say, counts from the file in it, and from here in --set.
fn asks_the_same(text: &str, path: &Path, plan: &Plan) -> bool {
    let files = WithOne { path: path.to_owned(), text: text.to_owned(), rest: Disk };
    let Ok(read) = experiment::read(&[path.to_owned()], &[], &files) else { return false };
    let other = plan::plan(&read);
    let engines = |plan: &Plan| plan.groups.iter().map(|group| group.engine.clone()).collect::<Vec<_>>();
    other.experiments[0].digest == plan.experiments[0].digest && engines(&other) == engines(plan)
}

/// A file names a model directory relative to itself, a command line relative to where it is given.
fn model_for(model: &str, file: &Path) -> Result<String> {
    let path = Path::new(model);
    let beside = file.parent().is_none_or(|parent| parent.as_os_str().is_empty() || parent == Path::new("."));
    if !path.is_dir() || path.is_absolute() {
        return Ok(model.to_owned());
    }
    if beside {
        return Ok(if model.starts_with('.') { model.to_owned() } else { format!("./{model}") });
    }
    let absolute = path.canonicalize().with_context(|| format!("cannot find {model}"))?;
    absolute.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", absolute.display()))
}

/// The disk, with one file that is not on it.
struct WithOne {
    path: PathBuf,
    text: String,
    rest: Disk,
}

impl Files for WithOne {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        if path == self.path { Ok(self.text.clone().into_bytes()) } else { self.rest.read(path) }
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.rest.is_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path == self.path || self.rest.exists(path)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        self.rest.glob(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_sets_becomes_a_part_of_the_file() {
        let file = "[engine]\ndtype = \"half\"\n";
        let table = [
            ("engine.dtype=float32", "[engine]\ndtype = \"float32\"\n"),
            ("engine.x.y = 1", "[engine]\ndtype = \"half\"\n\n[engine.x]\ny = 1\n"),
            ("sla.ttft=[\"1s\", \"5s\"]", "[engine]\ndtype = \"half\"\n\n[sla]\nttft = [\"1s\", \"5s\"]\n"),
            ("matrix.engine.x=[1, 2]", "[engine]\ndtype = \"half\"\n\n[matrix]\n\"engine.x\" = [1, 2]\n"),
        ];
        for (set, expected) in table {
            assert_eq!(with_overrides(file, &[set.to_owned()]).as_deref(), Some(expected), "{set}");
        }
        // A table is set as a whole.
        let twice = ["engine.env={ A = \"1\" }", "engine.env={ B = \"2\" }"].map(str::to_owned);
        assert!(!with_overrides(file, &twice).unwrap().contains("A ="));
        assert_eq!(with_overrides(file, &["engine.dtype.x=1".to_owned()]), None, "a text has no fields");
    }
}
