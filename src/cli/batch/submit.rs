//! Hands groups over.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ceiling_core::plan::{Key, Plan};
use serde::{Deserialize, Serialize};

use super::arrays::{Array, arrays};
use super::script::{About, literal, render};
use super::shared::Shared;
use super::submission::{Submission, Submitted};
use super::system::BatchSystem;

/// What elements run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The directory in which they run.
    pub directory: PathBuf,
    /// The words of the command; the name of the group follows.
    pub words: Vec<String>,
}

/// Hands groups over, in as many arrays as they need, and keeps that it was done.
pub fn submit(
    shared: &Shared,
    plan: &Plan,
    groups: &[usize],
    submission: &mut Submission,
    system: &dyn BatchSystem,
) -> Result<()> {
    for array in arrays(plan, groups)? {
        let script = shared.path().join(format!("{}.sh", submission.arrays.len() + 1));
        let output = literal(&shared.path().join("out"))? + "/%A_%a.out";
        let text = script_of(&array, plan, &submission.command, &output)?;
        std::fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;
        let elements: Vec<Key> = array.groups.iter().map(|&group| plan.groups[group].key).collect();
        let id = system.submit(&script).with_context(|| refused(&script))?;
        submission.arrays.push(Submitted { id, script, elements });
        shared.keep_submission(submission)?;
    }
    Ok(())
}

/// The script of an array.
pub fn script_of(array: &Array, plan: &Plan, command: &Command, output: &str) -> Result<String> {
    let labels: Vec<&str> = array.groups.iter().map(|&group| plan.groups[group].label.as_str()).collect();
    let about = About {
        experiment: plan.experiments[0].name.as_str(),
        directory: &command.directory,
        output,
        command: &command.words,
    };
    render(array, &labels, &about)
}

fn refused(script: &Path) -> String {
    format!("{} was not taken; [execution.slurm] says what is asked for", script.display())
}
