//! The only place that speaks to git.

use std::path::Path;
use std::process::Command;

use ceiling_core::record::Git;

/// The state of the repository around a directory; `None` where there is no repository, no commit, or no git.
///
/// Files under `results` do not make a tree dirty: a run would otherwise spoil the provenance of the next.
pub fn state(directory: &Path, results: &Path) -> Option<Git> {
    let commit = git(directory, &["rev-parse", "HEAD"])?;
    let branch = git(directory, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let exclude = format!(":(exclude){}", results.display());
    let changes = git(directory, &["status", "--porcelain", "--untracked-files=no", "--", ".", &exclude])
        .or_else(|| git(directory, &["status", "--porcelain", "--untracked-files=no"]))?;
    Some(Git { commit, branch, dirty: !changes.is_empty() })
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
