//! What elements write into their journals, shown as the news of a local run.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ceiling_core::plan::{Key, Plan};
use ceiling_core::record::Entry;

use crate::executor::Happening;
use crate::progress::Progress;
use crate::store::Shared;

/// Follows the journals of groups. What cannot be read is no news, and ends nothing: the results are merged all the same.
#[derive(Default)]
pub struct News {
    tails: HashMap<Key, Tail>,
    /// Groups of which it was said that something cannot be read.
    troubled: HashSet<Key>,
}

/// How far a group's news have been shown.
#[derive(Default)]
struct Tail {
    journal: PathBuf,
    /// Bytes of the journal that were read.
    offset: u64,
    /// Lines of the journal that were read, its head included.
    lines: usize,
    /// The most lines that were shown of any journal of the group: each begins with what the last one had.
    shown: usize,
}

impl News {
    /// Shows what is new of a group that an element measures.
    pub fn of_attempt(&mut self, shared: &Shared, plan: &Plan, group: &Key, progress: &Progress) {
        let attempt = shared.newest_attempt(group);
        let shown = attempt
            .and_then(|attempt| attempt.map_or(Ok(()), |attempt| self.follow(&attempt, shared, plan, group, progress)));
        self.complain(shown, group, progress);
    }

    /// Shows the rest of a group that is published.
    pub fn of_published(&mut self, shared: &Shared, plan: &Plan, group: &Key, progress: &Progress) {
        let shown = self.follow(&shared.published(group), shared, plan, group, progress);
        self.complain(shown, group, progress);
    }

    /// Says once of each group why there are no news of it.
    fn complain(&mut self, shown: Result<()>, group: &Key, progress: &Progress) {
        if let Err(error) = shown
            && self.troubled.insert(*group)
        {
            progress.note(&format!("no news of an engine group: {error:#}; looking again"));
        }
    }

    fn follow(&mut self, results: &Path, shared: &Shared, plan: &Plan, group: &Key, progress: &Progress) -> Result<()> {
        let experiments = plan.experiments.iter().map(|head| results.join(head.name.as_str()).join(shared.run_id()));
        let mut journals = experiments.map(|run| run.join("journal.jsonl"));
        let Some(journal) = journals.find(|journal| journal.is_file()) else { return Ok(()) };
        let tail = self.tails.entry(*group).or_default();
        if tail.journal != journal {
            *tail = Tail { journal, shown: tail.shown, ..Tail::default() };
        }
        for line in tail.read().with_context(|| format!("cannot read {}", tail.journal.display()))? {
            tail.lines += 1;
            // The head of a journal is no entry.
            if tail.lines > tail.shown.max(1)
                && let Ok(entry) = serde_json::from_slice(&line)
            {
                show(plan, &entry, progress);
            }
            tail.shown = tail.shown.max(tail.lines);
        }
        Ok(())
    }
}

impl Tail {
    /// The whole lines that were added.
    fn read(&mut self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut file = match std::fs::File::open(&self.journal) {
            Ok(file) => file,
            // Its attempt is being published: it is found there the next time.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut added = Vec::new();
        file.read_to_end(&mut added)?;
        let whole = added.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        Ok(added[..whole].split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect())
    }
}

fn show(plan: &Plan, entry: &Entry, progress: &Progress) {
    let group_of = |key: &Key| plan.groups.iter().find(|group| group.key == *key);
    let ladder_of = |key: &Key| plan.ladders.iter().find(|ladder| ladder.key == *key);
    let slas;
    let happening = match entry {
        Entry::Loaded { group, resolved, seconds } => {
            group_of(group).map(|group| Happening::EngineLoaded { group, resolved, seconds: *seconds })
        }
        Entry::EngineChanged { group, changes, .. } => {
            group_of(group).map(|group| Happening::EngineChanged { group, changes })
        }
        Entry::EngineFailed { group, failure } => {
            group_of(group).map(|group| Happening::EngineFailed { group, failure, tries_again: false })
        }
        Entry::Probed(probe) => {
            let ladder = plan.ladders.iter().position(|ladder| ladder.key == probe.ladder);
            slas = ladder.map(|ladder| plan.slas(ladder)).unwrap_or_default();
            ladder.map(|ladder| Happening::ProbeDone { ladder: &plan.ladders[ladder], slas: &slas, probe })
        }
        Entry::Answered { ladder, answers, .. } => {
            ladder_of(ladder).map(|ladder| Happening::LadderDone { ladder, answers })
        }
        Entry::LadderLeft { ladder, reason } => {
            ladder_of(ladder).map(|ladder| Happening::LadderLeft { ladder, reason })
        }
        Entry::LadderFailed { ladder, failure, .. } => {
            ladder_of(ladder).map(|ladder| Happening::LadderFailed { ladder, failure })
        }
    };
    if let Some(happening) = happening {
        progress.show(happening);
    }
}
