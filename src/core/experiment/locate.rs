//! Models, tokenizers and texts that an experiment names: where they lie, and what they are wherever they lie.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value as Json, json};

use super::error::{Fault, Found, Sources, Span, nearest};
use super::field::Given;
use super::read::Files;
use crate::key::Key;

/// A model, a tokenizer or a set of texts: how it is reached, and what it is wherever it lies.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub reach: T,
    pub identity: Json,
}

/// Finds what files name. Each name is looked up once.
pub(super) struct Locator<'a> {
    sources: &'a Sources,
    files: &'a dyn Files,
    /// By the text that names them, and the name.
    models: HashMap<(u32, String), Option<Located<String>>>,
    texts: HashMap<(u32, String), Option<Located<Vec<PathBuf>>>>,
}

impl<'a> Locator<'a> {
    pub fn new(sources: &'a Sources, files: &'a dyn Files) -> Self {
        Self { sources, files, models: HashMap::new(), texts: HashMap::new() }
    }

    /// The model or tokenizer of this name.
    pub fn model(&mut self, at: Span, id: &str, found: &mut Found) -> Option<Located<String>> {
        let memo = (at.source, id.to_owned());
        if let Some(known) = self.models.get(&memo) {
            return known.clone();
        }
        let located = self.find_model(at, id, found);
        self.models.insert(memo, located.clone());
        located
    }

    /// A directory beside the file that names it, or a hub id.
    fn find_model(&self, at: Span, id: &str, found: &mut Found) -> Option<Located<String>> {
        let path = join(self.sources.directory(at), Path::new(id));
        if self.files.is_dir(&path) || self.files.exists(&path) {
            return Some(Located { reach: path.to_string_lossy().into_owned(), identity: self.model_identity(&path) });
        }
        if let Some(fault) = self.not_a_hub_id(at, id, &path) {
            found.push(fault);
            return None;
        }
        Some(Located { reach: id.to_owned(), identity: Json::from(id) })
    }

    fn not_a_hub_id(&self, at: Span, id: &str, path: &Path) -> Option<Fault> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        let message = format!("there is no directory {}", path.display());
        let neighbours = self.neighbours(path);
        let meant = nearest(id.rsplit('/').next().unwrap_or(id), neighbours.iter().map(String::as_str));
        let label = match meant {
            Some(name) => format!("did you mean the directory \"{name}\" beside it?"),
            None => "expected a directory relative to this file, or an id on the Hugging Face hub".to_owned(),
        };
        let shaped_like_an_id = id.split('/').count() <= 2 && id.split('/').all(part);
        let misspelt = meant.is_some() && !id.contains('/');
        (!shaped_like_an_id || misspelt).then(|| Fault::new(at, message, label))
    }

    /// Names of the model directories beside a path.
    fn neighbours(&self, path: &Path) -> Vec<String> {
        let pattern = path.with_file_name("*").join("config.json");
        let configs = self.files.glob(&pattern.to_string_lossy()).unwrap_or_default();
        let name = |config: &PathBuf| Some(config.parent()?.file_name()?.to_string_lossy().into_owned());
        configs.iter().filter_map(name).collect()
    }

    /// What a model directory is, wherever it lies: its name and its configuration.
    fn model_identity(&self, path: &Path) -> Json {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let config = self.files.read(&path.join("config.json")).ok().map(|bytes| Key::of_bytes(&bytes));
        json!({ "directory": name, "config": config })
    }

    /// The texts that a pattern matches.
    pub fn texts(&mut self, glob: &Given<String>, found: &mut Found) -> Option<Located<Vec<PathBuf>>> {
        let memo = (glob.at.source, glob.value.clone());
        if let Some(known) = self.texts.get(&memo) {
            return known.clone();
        }
        let located = self.find_texts(glob, found);
        self.texts.insert(memo, located.clone());
        located
    }

    /// The files that a glob matches, and what they say: wherever they lie, the same texts are the same prompts.
    fn find_texts(&self, glob: &Given<String>, found: &mut Found) -> Option<Located<Vec<PathBuf>>> {
        let pattern = join(self.sources.directory(glob.at), Path::new(&glob.value)).to_string_lossy().into_owned();
        let paths = match self.files.glob(&pattern) {
            Ok(paths) if paths.is_empty() => {
                let label = format!("expected files at {pattern}");
                found.push(Fault::new(glob.at, format!("no file matches \"{}\"", glob.value), label));
                return None;
            }
            Ok(paths) => paths,
            Err(error) => {
                found.push(Fault::new(glob.at, format!("this is not a pattern for files: {error}"), "here"));
                return None;
            }
        };
        let digest = |path: &PathBuf| {
            let unread = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
            let bytes = self.files.read(path).map_err(|error| unread(&error))?;
            std::str::from_utf8(&bytes).map_err(|error| unread(&format!("it is no text in UTF-8 ({error})")))?;
            Ok((Key::of_bytes(&bytes), bytes.is_empty()))
        };
        let texts = match paths.iter().map(digest).collect::<Result<Vec<_>, String>>() {
            Ok(texts) => texts,
            Err(message) => {
                found.push(Fault::new(glob.at, message, "expected a pattern for text files that can be read"));
                return None;
            }
        };
        if texts.iter().all(|(_, is_empty)| *is_empty) {
            let label = "expected texts to make prompts of";
            found.push(Fault::new(glob.at, format!("all files that match \"{}\" are empty", glob.value), label));
            return None;
        }
        let identity = texts.iter().map(|(digest, _)| Json::from(digest.as_str())).collect();
        Some(Located { reach: paths, identity })
    }
}

/// A path relative to a directory, without `.` and `..` where they can be told away.
pub(super) fn join(directory: &Path, path: &Path) -> PathBuf {
    let mut joined = PathBuf::new();
    for component in directory.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(joined.components().next_back(), Some(Component::Normal(_))) => {
                joined.pop();
            }
            other => joined.push(other),
        }
    }
    if joined.as_os_str().is_empty() { PathBuf::from(".") } else { joined }
}
