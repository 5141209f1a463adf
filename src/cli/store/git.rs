//! The only place that speaks to git.
//!
//! Through the library, so that neither the command nor a checkout is needed, and a bare clone will do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use ceiling_core::record::Git;
use git2::{ErrorCode, ObjectType, Oid, RepositoryOpenFlags, Sort, Status, StatusOptions, Tree};

/// A repository.
pub struct Repository(git2::Repository);

/// A commit, by its whole hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit(String);

impl Commit {
    /// The whole hash.
    pub fn hash(&self) -> &str {
        &self.0
    }

    /// Its first seven digits.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

/// What a revision names.
pub enum Named {
    /// A commit.
    Commit(Commit),
    /// A file: `HEAD~1:results/…/run.json`.
    File(Vec<u8>),
}

/// A `run.json` that git holds.
pub struct Held {
    /// A commit that holds it.
    pub commit: Commit,
    /// Name of the directory that holds the runs of its experiment.
    pub experiment: String,
    /// Name of the directory of the run.
    pub run_id: String,
    /// Path in the repository.
    pub path: PathBuf,
    id: Oid,
}

/// Git can hold nothing that lies elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("{} lies outside the repository {}", .path.display(), .root.display())]
pub struct Outside {
    path: PathBuf,
    root: PathBuf,
}

impl Repository {
    /// The repository around a directory; `None` where there is none.
    pub fn around(directory: &Path) -> Result<Option<Self>> {
        let no_ceilings: [&Path; 0] = [];
        let opened = git2::Repository::open_ext(directory, RepositoryOpenFlags::FROM_ENV, no_ceilings);
        Ok(there(opened)?.map(Self))
    }

    /// Its state; `None` before its first commit.
    ///
    /// Files under `results` do not make a tree dirty: a run would otherwise spoil the provenance of the next. Files that git does not know do
    /// where they are among `files`, which say what is measured.
    pub fn state(&self, results: &Path, files: &[&Path]) -> Result<Option<Git>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let commit = head.peel_to_commit().map_err(|error| said(&error))?.id().to_string();
        let branch = head.is_branch().then(|| head.shorthand().map(str::to_owned)).flatten();
        Ok(Some(Git { commit, branch, dirty: self.is_dirty(results)? || self.lacks_any(files) }))
    }

    /// What is checked out; `None` before the first commit.
    fn head(&self) -> Result<Option<git2::Reference<'_>>> {
        match self.0.head() {
            Ok(head) => Ok(Some(head)),
            Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(said(&error)),
        }
    }

    fn is_dirty(&self, results: &Path) -> Result<bool> {
        if self.0.is_bare() {
            return Ok(false);
        }
        let results = self.inside(results).ok();
        let mut options = StatusOptions::new();
        options.include_untracked(false).include_ignored(false);
        let statuses = self.0.statuses(Some(&mut options)).map_err(|error| said(&error))?;
        let counts = |entry: &git2::StatusEntry<'_>| {
            let is_result = entry
                .path()
                .zip(results.as_ref())
                .is_some_and(|(path, results)| !results.as_os_str().is_empty() && Path::new(path).starts_with(results));
            entry.status() != Status::CURRENT && !is_result
        };
        Ok(statuses.iter().any(|entry| counts(&entry)))
    }

    /// Whether any of these files lies in the working tree and is in no commit.
    fn lacks_any(&self, files: &[&Path]) -> bool {
        let status = |file: &&Path| self.0.status_file(&self.inside(file).ok()?).ok();
        files.iter().filter_map(status).any(|status| status.intersects(Status::WT_NEW | Status::IGNORED))
    }

    /// What a revision names: a commit, or a file in one.
    pub fn named(&self, revision: &str) -> Result<Named> {
        let object = self.0.revparse_single(revision).map_err(|error| match error.code() {
            ErrorCode::Ambiguous => anyhow!("`{revision}` begins several hashes: give more digits"),
            _ if self.0.is_shallow() => anyhow!(
                "git knows no revision `{revision}`, but this clone is shallow: get the rest with `git fetch --unshallow`"
            ),
            _ => anyhow!("git knows no revision `{revision}`"),
        })?;
        if let Some(file) = object.as_blob() {
            return Ok(Named::File(file.content().to_owned()));
        }
        match object.peel_to_commit() {
            Ok(commit) => Ok(Named::Commit(Commit(commit.id().to_string()))),
            Err(_) => bail!("`{revision}` is neither a commit nor a file; name a run as REVISION:PATH/run.json"),
        }
    }

    /// Every run under `results` in a commit, oldest first.
    pub fn runs_at(&self, commit: &Commit, results: &Path) -> Result<Vec<Held>> {
        let place = self.inside(results)?;
        let id = Oid::from_str(commit.hash()).map_err(|error| said(&error))?;
        self.find_runs(id, &place).map_err(|error| self.said_of(commit, &error))
    }

    /// Every run of an experiment that `HEAD`, or any commit before it, holds under `results`; one that several hold is
    /// given once, as the newest of them has it. Oldest first.
    pub fn runs_ever(&self, results: &Path, experiment: &str) -> Result<Vec<Held>> {
        let place = self.inside(results)?;
        let Some(head) = self.head()? else { return Ok(Vec::new()) };
        let mut walk = self.0.revwalk().map_err(|error| said(&error))?;
        let begun = head.peel_to_commit().and_then(|head| walk.push(head.id()));
        begun.and_then(|()| walk.set_sorting(Sort::TIME)).map_err(|error| said(&error))?;
        // Most commits touch no result: what is known by its hash is not looked at again.
        let (mut known, mut ids) = (HashSet::new(), HashSet::new());
        let mut found = Vec::new();
        for id in walk {
            let id = id.map_err(|error| said(&error))?;
            let held = self.new_runs(id, &place, experiment, &mut known);
            let held = held.map_err(|error| self.said_of(&Commit(id.to_string()), &error))?;
            found.extend(held.into_iter().filter(|held| ids.insert(held.run_id.clone())));
        }
        found.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        Ok(found)
    }

    /// Every run that a commit holds under `results` which a branch, a tag or `HEAD` leads to, as its place under `results`.
    pub fn runs_on_any_branch(&self, results: &Path) -> Result<HashSet<PathBuf>> {
        let place = self.inside(results)?;
        self.find_runs_on_any_branch(&place).map_err(|error| said(&error))
    }

    /// Whether history ends before its beginning, since no more of it was fetched.
    pub fn is_shallow(&self) -> bool {
        self.0.is_shallow()
    }

    fn said_of(&self, commit: &Commit, error: &git2::Error) -> anyhow::Error {
        match error.code() {
            ErrorCode::NotFound if self.0.is_shallow() => anyhow!(
                "this shallow clone lacks objects of commit {}: get them with `git fetch --unshallow`",
                commit.short()
            ),
            _ => said(error),
        }
    }

    fn find_runs(&self, commit: Oid, place: &Path) -> Result<Vec<Held>, git2::Error> {
        let Some(results) = self.tree_at(commit, place)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (experiment, runs) in self.directories(&self.0.find_tree(results)?)? {
            found.extend(self.runs_in(&self.0.find_tree(runs)?, commit, place, &experiment)?);
        }
        found.sort_by(|a, b| (&a.run_id, &a.experiment).cmp(&(&b.run_id, &b.experiment)));
        Ok(found)
    }

    fn find_runs_on_any_branch(&self, place: &Path) -> Result<HashSet<PathBuf>, git2::Error> {
        let mut walk = self.0.revwalk()?;
        walk.push_glob("*")?;
        if self.0.head().is_ok() {
            walk.push_head()?;
        }
        let (mut known, mut found) = (HashSet::new(), HashSet::new());
        for commit in walk {
            let commit = commit?;
            let Some(results) = self.tree_at(commit, place)?.filter(|id| known.insert(*id)) else { continue };
            for (experiment, runs) in self.directories(&self.0.find_tree(results)?)? {
                if known.insert(runs) {
                    let held = self.runs_in(&self.0.find_tree(runs)?, commit, place, &experiment)?;
                    found.extend(held.into_iter().map(|held| Path::new(&experiment).join(held.run_id)));
                }
            }
        }
        Ok(found)
    }

    /// The runs of an experiment in a commit, where neither it nor its results are known yet.
    fn new_runs(
        &self,
        commit: Oid,
        place: &Path,
        experiment: &str,
        known: &mut HashSet<Oid>,
    ) -> Result<Vec<Held>, git2::Error> {
        let Some(results) = self.tree_at(commit, place)?.filter(|id| known.insert(*id)) else { return Ok(Vec::new()) };
        let results = self.0.find_tree(results)?;
        let runs = results.get_name(experiment).filter(|entry| entry.kind() == Some(ObjectType::Tree));
        match runs.filter(|entry| known.insert(entry.id())) {
            Some(runs) => self.runs_in(&self.0.find_tree(runs.id())?, commit, place, experiment),
            None => Ok(Vec::new()),
        }
    }

    /// The directory at a place in a commit; `None` where there is none.
    fn tree_at(&self, commit: Oid, place: &Path) -> Result<Option<Oid>, git2::Error> {
        let tree = self.0.find_commit(commit)?.tree()?;
        if place.as_os_str().is_empty() {
            return Ok(Some(tree.id()));
        }
        match tree.get_path(place) {
            Ok(entry) => Ok(Some(entry.id()).filter(|_| entry.kind() == Some(ObjectType::Tree))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn runs_in(&self, runs: &Tree<'_>, commit: Oid, place: &Path, experiment: &str) -> Result<Vec<Held>, git2::Error> {
        let mut found = Vec::new();
        for (run_id, run) in self.directories(runs)? {
            let run = self.0.find_tree(run)?;
            if let Some(file) = run.get_name("run.json").filter(|file| file.kind() == Some(ObjectType::Blob)) {
                let path = place.join(experiment).join(&run_id).join("run.json");
                let commit = Commit(commit.to_string());
                found.push(Held { commit, experiment: experiment.to_owned(), run_id, path, id: file.id() });
            }
        }
        Ok(found)
    }

    /// The directories in a directory; those whose names are not UTF-8 are none that this program made.
    fn directories(&self, tree: &Tree<'_>) -> Result<Vec<(String, Oid)>, git2::Error> {
        let entries = tree.iter().filter(|entry| entry.kind() == Some(ObjectType::Tree));
        Ok(entries.filter_map(|entry| Some((entry.name()?.to_owned(), entry.id()))).collect())
    }

    /// Its text.
    pub fn read(&self, held: &Held) -> Result<Vec<u8>> {
        let blob = self.0.find_blob(held.id).map_err(|error| said(&error));
        Ok(blob.with_context(|| format!("git holds no content of {}", held.path.display()))?.content().to_owned())
    }

    /// Where a path of the file system lies in the repository. In a bare one, a relative path counts from its root.
    fn inside(&self, path: &Path) -> Result<PathBuf> {
        let clean = |path: &Path| path.components().filter(|part| *part != std::path::Component::CurDir).collect();
        let Some(root) = self.0.workdir() else {
            if path.is_absolute() {
                bail!("{} is not in the bare repository: name the directory of results from its root", path.display());
            }
            return Ok(clean(path));
        };
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        let whole = canonical(path).with_context(|| format!("cannot find the directory of {}", path.display()))?;
        match whole.strip_prefix(&root) {
            Ok(inside) => Ok(clean(inside)),
            Err(_) => Err(Outside { path: path.to_owned(), root }.into()),
        }
    }
}

/// The canonical path of something that need not be there, below something that is.
fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let there = whole.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let rest = whole.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(there.canonicalize()?.join(rest))
}

/// What was opened; `None` where there is nothing to open. What cannot be opened is there, whosoever it is.
fn there<T>(opened: Result<T, git2::Error>) -> Result<Option<T>> {
    match opened {
        Ok(repository) => Ok(Some(repository)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(said(&error)).context("cannot read the git repository here"),
    }
}

/// The library's own words.
fn said(error: &git2::Error) -> anyhow::Error {
    match error.code() {
        ErrorCode::Owner => {
            anyhow!("{}; allow it with `git config --global --add safe.directory {}`", error.message(), owned(error))
        }
        _ => anyhow!("{}", error.message()),
    }
}

/// The repository that somebody else owns, as the library names it: in quotes.
fn owned(error: &git2::Error) -> &str {
    let quoted = error.message().split('\'').nth(1).unwrap_or("PATH");
    quoted.strip_suffix('/').unwrap_or(quoted)
}

#[cfg(test)]
mod tests {
    use git2::{Error, ErrorClass};

    use super::*;

    #[test]
    fn a_repository_that_somebody_else_owns_is_told_from_none() {
        let failed = |code, words| there::<()>(Err(Error::new(code, ErrorClass::Config, words)));
        let owned = "repository path '/srv/bench/' is not owned by current user";
        let refused = format!("{:#}", failed(ErrorCode::Owner, owned).unwrap_err());
        assert_eq!(
            refused,
            format!(
                "cannot read the git repository here: {owned}; allow it with `git config --global --add safe.directory /srv/bench`"
            )
        );
        assert!(failed(ErrorCode::NotFound, "could not find repository").unwrap().is_none());
        assert!(failed(ErrorCode::GenericError, "it is broken").unwrap_err().to_string().contains("cannot read"));
        assert!(there(Ok(())).unwrap().is_some());
    }
}
