//! Hands groups over.

use std::path::Path;

use anyhow::{Context, Result};
use ceiling_core::plan::{Key, Plan};

use super::arrays::{Array, arrays};
use super::system::{BatchSystem, Job};
use crate::store::{Command, Shared, Submission, Submitted};

/// Hands groups over, in as many arrays as they need.
///
/// What is to be handed over is kept before it is done: whoever comes after a crash asks for it by its name.
pub fn submit(
    shared: &Shared,
    plan: &Plan,
    groups: &[usize],
    submission: &mut Submission,
    system: &dyn BatchSystem,
) -> Result<()> {
    for array in arrays(plan, groups, system)? {
        let number = submission.arrays.len() + 1;
        let text = script_of(&array, plan, &submission.command, Some(&shared.out()), system)?;
        let script = shared.keep_script(number, &text)?;
        let elements: Vec<Key> = array.groups.iter().map(|&group| plan.groups[group].key).collect();
        submission.arrays.push(Submitted { name: name(shared, plan, number), id: None, script, elements });
    }
    shared.keep_submission(submission)?;
    submit_open(shared, submission, system)
}

/// Hands over the arrays that the batch system has not taken yet.
pub fn submit_open(shared: &Shared, submission: &mut Submission, system: &dyn BatchSystem) -> Result<()> {
    for index in 0..submission.arrays.len() {
        let array = &submission.arrays[index];
        if array.id.is_some() {
            continue;
        }
        let id = system.submit(&array.script, &array.name).with_context(|| refused(&array.script, system))?;
        submission.arrays[index].id = Some(id);
        shared.keep_submission(submission)?;
    }
    Ok(())
}

/// Asks whether arrays were taken of which that is not known: whoever handed them over may not have lived to hear it. It is
/// for the caller to keep the answer.
pub fn recover(submission: &mut Submission, system: &dyn BatchSystem) -> Result<()> {
    let open: Vec<&str> =
        submission.arrays.iter().filter(|array| array.id.is_none()).map(|array| &*array.name).collect();
    if open.is_empty() {
        return Ok(());
    }
    let found = system.find(&open)?;
    for array in submission.arrays.iter_mut().filter(|array| array.id.is_none()) {
        array.id = found.iter().find(|(name, _)| *name == array.name).map(|(_, id)| id.clone());
    }
    Ok(())
}

/// The script of an array.
pub fn script_of(
    array: &Array,
    plan: &Plan,
    command: &Command,
    output: Option<&Path>,
    system: &dyn BatchSystem,
) -> Result<String> {
    let labels: Vec<&str> = array.groups.iter().map(|&group| plan.groups[group].label.as_str()).collect();
    let job = Job {
        experiment: plan.experiments[0].name.as_str(),
        gpus: array.gpus,
        labels: &labels,
        directory: &command.directory,
        output,
        command: &command.words,
    };
    system.script(&plan.groups[array.groups[0]].execution, &job)
}

/// A name that no other array has: the same run id may be found under another directory of results.
fn name(shared: &Shared, plan: &Plan, number: usize) -> String {
    let path = std::path::absolute(shared.path()).unwrap_or_else(|_| shared.path().to_owned());
    let place = Key::of_bytes(path.as_os_str().as_encoded_bytes());
    format!("ceiling-{}-{}-{place}-{number}", plan.experiments[0].name, shared.run_id())
}

fn refused(script: &Path, system: &dyn BatchSystem) -> String {
    format!("{} was not taken; [{}] says what is asked for", script.display(), system.settings())
}

/// A path as text.
pub fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}
