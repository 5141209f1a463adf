//! Reads experiment files: what they extend, what the command line overrides, and every fault in one go.
//!
//! ```text
//! file, and what it extends -> one tree -> --set -> axes -> cells with legal values
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Experiment;
use super::axes::{self, CommandLine, Setting};
use super::error::{Fault, Faults, Found, Sources, Span, nearest};
use super::expand;
use super::field::{Key as _, Maybe, Need, Scope};
use super::fields::Fields;
use super::file::FileTable;
use super::kind::{SchemaNumber, Text};
use super::locate::join;
use super::overrides::{self, Override};
use super::resolve::Resolver;
use super::tree::{self, Entry, Node, Table, Value};

/// What a file means where it says nothing.
pub(super) const DEFAULTS: &str = include_str!("defaults.toml");

/// The files that experiments live in and speak of.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;

    /// Whether there is a directory.
    fn is_dir(&self, path: &Path) -> bool;

    /// Whether there is anything.
    fn exists(&self, path: &Path) -> bool;

    /// The files that a pattern matches, sorted by path.
    ///
    /// # Errors
    /// Where the text is no pattern, with the reason.
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
}

/// Reads experiment files, or says everything that is wrong with them.
///
/// A path may be a pattern (`experiments/*.toml`). A file without a name is a base for others: it is skipped if another
/// of the files extends it.
///
/// # Errors
/// All faults of all files.
pub fn read(paths: &[PathBuf], overrides: &[Override], files: &dyn Files) -> Result<Vec<Experiment>, Faults> {
    let mut reader = Reader { files, sources: Sources::default(), found: Found::default(), loaded: HashMap::new() };
    let mut experiments = reader.read(paths, overrides);
    let sources = Arc::new(reader.sources);
    reader.found.finish(&sources)?;
    experiments.iter_mut().for_each(|experiment| experiment.fields.set_sources(&sources));
    Ok(experiments)
}

struct Reader<'a> {
    files: &'a dyn Files,
    sources: Sources,
    found: Found,
    loaded: HashMap<PathBuf, Option<Loaded>>,
}

/// One file as it stands, matrix flattened.
#[derive(Clone)]
struct Loaded {
    source: u32,
    table: Arc<Table>,
    extends: Option<(PathBuf, Span)>,
}

/// A file with all that it extends.
struct Chain {
    home: Span,
    table: Table,
    /// The files that it extends, however far.
    bases: Vec<PathBuf>,
    /// The sources of its files: its own first, then each that the one before extends.
    layers: Vec<u32>,
}

impl Reader<'_> {
    fn read(&mut self, paths: &[PathBuf], overrides: &[Override]) -> Vec<Experiment> {
        let defaults = self.sources.add("the defaults of ceiling".to_owned(), DEFAULTS.to_owned(), PathBuf::new());
        let defaults = tree::parse(defaults, DEFAULTS, &mut self.found);
        let settings = overrides::settings(overrides, &mut self.sources, &mut self.found);
        let paths = self.paths(paths);
        let chains: Vec<_> = paths.into_iter().map(|path| (self.chain(&path), path)).collect();
        let bases: Vec<PathBuf> =
            chains.iter().filter_map(|(chain, _)| chain.as_ref()).flat_map(|c| c.bases.clone()).collect();
        let mut experiments: Vec<(Experiment, Span)> = Vec::new();
        for (chain, path) in chains {
            let Some(chain) = chain else { continue };
            if chain.table.get("name").is_none() && bases.contains(&path) {
                continue;
            }
            let Some((experiment, name_at)) = self.experiment(chain, &path, &settings, &defaults) else { continue };
            if let Some((first, first_at)) = experiments.iter().find(|(first, _)| first.name == experiment.name) {
                let message = format!("two experiments are named \"{}\"", experiment.name);
                let fault = Fault::new(name_at, message, format!("also the name of {}", first.source));
                self.found.push(fault.related(*first_at, "first here"));
            }
            experiments.push((experiment, name_at));
        }
        experiments.into_iter().map(|(experiment, _)| experiment).collect()
    }

    /// The files meant, patterns expanded, each once.
    fn paths(&mut self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        for path in paths {
            let text = path.to_string_lossy();
            if text.is_empty() {
                self.found.push(Fault::without_place("an empty text names no experiment file"));
                continue;
            }
            let named = if text.contains(['*', '?', '[']) && !self.files.exists(path) {
                match self.files.glob(&text) {
                    Ok(matches) if matches.is_empty() => {
                        self.found.push(Fault::without_place(format!("no file matches {text}")));
                        matches
                    }
                    Ok(matches) => matches,
                    Err(error) => {
                        self.found.push(Fault::without_place(format!("{text} is not a pattern for files: {error}")));
                        Vec::new()
                    }
                }
            } else {
                vec![path.clone()]
            };
            for path in named.iter().map(|path| join(Path::new(""), path)) {
                if !all.contains(&path) {
                    all.push(path);
                }
            }
        }
        all
    }

    fn load(&mut self, path: &Path, named_at: Option<Span>) -> Option<Loaded> {
        if let Some(loaded) = self.loaded.get(path) {
            return loaded.clone();
        }
        let loaded = self.load_new(path, named_at);
        self.loaded.insert(path.to_owned(), loaded.clone());
        loaded
    }

    fn load_new(&mut self, path: &Path, named_at: Option<Span>) -> Option<Loaded> {
        let text = self.files.read(path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.found.push(match named_at {
                    Some(at) => Fault::new(at, message, "expected a file relative to this one"),
                    None => Fault::without_place(message),
                });
                return None;
            }
        };
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let source = self.sources.add(path.display().to_string(), text, directory.clone());
        let before = self.found.count();
        let mut table = tree::parse(source, self.sources.text(source), &mut self.found);
        if self.found.count() > before {
            return None;
        }
        let at = Span { source, start: 0, end: 0 };
        let scope = Scope { table: Some(&table), name: "", at, defaults: None, is_broken: false };
        Need::<SchemaNumber>::read(scope, "schema", &mut self.found);
        let extends = Maybe::<Text>::read(scope, "extends", &mut self.found);
        let extends = extends.given().map(|base| (join(&directory, Path::new(&base.value.0)), base.at));
        flatten(&mut table);
        Some(Loaded { source, table: Arc::new(table), extends })
    }

    /// A file laid over the files that it extends.
    fn chain(&mut self, path: &Path) -> Option<Chain> {
        let own = self.load(path, None)?;
        let mut files = vec![own.clone()];
        let mut bases: Vec<PathBuf> = Vec::new();
        let mut next = own.extends.clone();
        while let Some((base, named_at)) = next {
            if base == path || bases.contains(&base) {
                let mut round: Vec<_> = std::iter::once(path).chain(bases.iter().map(PathBuf::as_path)).collect();
                round.push(&base);
                let round: Vec<_> = round.iter().map(|path| path.display().to_string()).collect();
                let label = format!("a circle: {}", round.join(" -> "));
                self.found.push(Fault::new(named_at, "a file extends itself", label));
                return None;
            }
            let loaded = self.load(&base, Some(named_at))?;
            bases.push(base);
            next = loaded.extends.clone();
            files.push(loaded);
        }
        let mut table = Table::default();
        for base in files[1..].iter().rev() {
            table.merge(&base.table);
        }
        // A name and a description are a file's own.
        for key in ["name", "description"] {
            table.remove(key);
        }
        table.merge(&own.table);
        let layers = files.iter().map(|file| file.source).collect();
        Some(Chain { home: Span { source: own.source, start: 0, end: 0 }, table, bases, layers })
    }

    fn experiment(
        &mut self,
        chain: Chain,
        path: &Path,
        settings: &[Setting],
        defaults: &Table,
    ) -> Option<(Experiment, Span)> {
        let Chain { home, mut table, layers, .. } = chain;
        for setting in settings {
            table.put_at(&setting.path, &setting.outer_at, setting.key_at, &setting.node);
        }
        let found = &mut self.found;
        let before = found.count();
        let scope = Scope { table: Some(&table), name: "", at: home, defaults: None, is_broken: false };
        scope.refuse_unknown(FileTable::KEYS, found);
        let file = FileTable::read(scope, found);
        stand_in(&mut table);
        if table.get("name").is_none() {
            let fault = Fault::new(home, "`name` is missing", "expected a name for the experiment");
            found.push(fault.help("a file that others extend needs no name: name one of those instead"));
        }
        let fields = Fields::of(&table, home);
        let mut resolver = Resolver::new(&self.sources, self.files, defaults, home);
        let execution = resolver.execution(&table, found);
        let axes = axes::collect(&mut table, &CommandLine::new(settings), &layers, found);
        let grid = expand::expand(&table, axes, &mut resolver, found);
        if found.count() > before {
            return None;
        }
        let name = file.name.given()?.clone();
        let experiment = Experiment {
            name: name.value,
            description: file.description.take().map(|text| text.0).unwrap_or_default(),
            source: path.display().to_string(),
            execution: Arc::new(execution?),
            grid: grid?,
            fields,
        };
        Some((experiment, name.at))
    }
}

/// Stands in for the tables that a file lacks only because of what has been reported: what they would say is not missing, but unknown.
fn stand_in(table: &mut Table) {
    let misspelt = table.iter().filter(|entry| !FileTable::KEYS.contains(&&*entry.key));
    let meant = |entry: &Entry| Some((nearest(&entry.key, FileTable::KEYS.iter().copied())?, entry.key_at));
    for (key, at) in misspelt.filter_map(meant).collect::<Vec<_>>() {
        put_unknown(table, key, at);
    }
    // Whether there must be a model is the engine's to say.
    let engine = table.entry("engine").filter(|engine| engine.node.as_table().is_none());
    if let Some(at) = engine.map(|engine| engine.key_at) {
        put_unknown(table, "model", at);
    }
}

fn put_unknown(table: &mut Table, key: &str, at: Span) {
    if table.get(key).is_none() {
        table.push(Entry { key: key.to_owned(), key_at: at, node: Node { at, value: Value::Invalid } });
    }
}

fn flatten(table: &mut Table) {
    if let Some(matrix) = table.table_mut("matrix") {
        *matrix = axes::flatten_matrix(matrix);
    }
}

#[cfg(test)]
mod tests;
