//! What is wrong with experiment files: every fault with its place, what was expected and the remedy.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

/// Faults shown at most; the rest is counted.
const SHOWN: usize = 50;

/// A place in one of the texts that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub(super) source: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A text that values came from: a file, or an argument of the command line.
#[derive(Debug)]
pub(super) struct Source {
    /// What it is called in messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where relative paths in it start.
    pub directory: PathBuf,
}

/// All texts read so far.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    pub fn add(&mut self, name: String, text: String, directory: PathBuf) -> u32 {
        self.0.push(Source { name, text, directory });
        (self.0.len() - 1) as u32
    }

    pub fn text(&self, source: u32) -> &str {
        &self.0[source as usize].text
    }

    pub fn directory(&self, span: Span) -> &Path {
        &self.0[span.source as usize].directory
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where; absent where a file cannot be read at all.
    pub at: Option<Span>,
    /// What was expected there.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A text without what would steer a terminal: it may quote a file that anybody wrote.
fn legible(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

impl Fault {
    pub(super) fn new(at: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { message: message.into(), at: Some(at), label: label.into(), related: Vec::new(), help: None }
    }

    pub(super) fn without_place(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, label: String::new(), related: Vec::new(), help: None }
    }

    pub(super) fn related(mut self, at: Span, label: impl Into<String>) -> Self {
        self.related.push((at, label.into()));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn diagnostic(&self) -> Diagnostic<usize> {
        let range = |span: &Span| span.start as usize..span.end as usize;
        let primary =
            self.at.iter().map(|at| Label::primary(at.source as usize, range(at)).with_message(legible(&self.label)));
        let secondary = self
            .related
            .iter()
            .map(|(at, label)| Label::secondary(at.source as usize, range(at)).with_message(legible(label)));
        Diagnostic::error()
            .with_message(legible(&self.message))
            .with_labels_iter(primary.chain(secondary))
            .with_notes_iter(self.help.iter().map(|help| format!("help: {}", legible(help))))
    }
}

/// Faults as they are found. The same fault at the same place is kept once.
#[derive(Debug, Default)]
pub(super) struct Found {
    faults: Vec<Fault>,
    seen: HashSet<(Option<Span>, String)>,
}

impl Found {
    pub fn push(&mut self, fault: Fault) {
        if self.seen.insert((fault.at, fault.message.clone())) {
            self.faults.push(fault);
        }
    }

    /// Gives the newest fault a way out.
    pub fn help_last(&mut self, help: String) {
        if let Some(fault) = self.faults.pop() {
            self.faults.push(fault.help(help));
        }
    }

    pub fn count(&self) -> usize {
        self.faults.len()
    }

    /// Nothing, or all faults in the order of their places.
    pub fn finish(self, sources: &Arc<Sources>) -> Result<(), Faults> {
        if self.faults.is_empty() { Ok(()) } else { Err(Faults::new(self.faults, Arc::clone(sources))) }
    }
}

/// Everything that is wrong with the files that were read; at least one fault.
#[derive(Debug)]
pub struct Faults {
    faults: Vec<Fault>,
    sources: Arc<Sources>,
}

impl Faults {
    pub(super) fn new(mut faults: Vec<Fault>, sources: Arc<Sources>) -> Self {
        faults.sort_by_key(|fault| fault.at);
        Self { faults, sources }
    }

    /// The faults, in the order of the files and of the places in them.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// Name of the text, line and column (both from 1) of a fault's place.
    pub fn place(&self, fault: &Fault) -> Option<(&str, usize, usize)> {
        let at = fault.at?;
        let source = &self.sources.0[at.source as usize];
        let before = &source.text[..at.start as usize];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((&source.name, before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// All faults for people: each with its line and a caret, coloured for a terminal or plain.
    pub fn render(&self, colour: bool) -> String {
        let mut files = SimpleFiles::new();
        for source in &self.sources.0 {
            files.add(&source.name, &source.text);
        }
        let config = term::Config::default();
        let mut bytes = Vec::new();
        for fault in self.faults.iter().take(SHOWN) {
            let diagnostic = fault.diagnostic();
            let written = if colour {
                let mut writer = term::termcolor::Ansi::new(&mut bytes);
                term::emit_to_write_style(&mut writer, &config, &files, &diagnostic)
            } else {
                term::emit_to_io_write(&mut bytes, &config, &files, &diagnostic)
            };
            if let Err(error) = written {
                bytes.extend(format!("error: {} ({error})\n", fault.message).bytes());
            }
        }
        if let Some(more @ 1..) = self.faults.len().checked_sub(SHOWN) {
            bytes.extend(format!("and {more} more\n").bytes());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Faults {}

/// The name among `known` that is closest to `name`, where one is close enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
