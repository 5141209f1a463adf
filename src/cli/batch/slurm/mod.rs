//! Slurm: its commands, its words and its scripts. The only place that knows them.
//!
//! Named fields of `squeue`, not its JSON, whose shape changes between versions; no accounting, which not every site has.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::Execution;

use super::system::{BatchSystem, Job, Sighting};
use crate::store::ArrayId;

mod script;
mod words;

/// What Slurm says of jobs that it has forgotten.
const FORGOTTEN: &str = "Invalid job id specified";

/// The Slurm that this machine's commands speak to.
#[derive(Clone, Copy, Debug)]
pub struct Slurm;

impl BatchSystem for Slurm {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn settings(&self) -> &'static str {
        "execution.slurm"
    }

    fn cancels_by(&self) -> &'static str {
        "scancel"
    }

    /// Slurm's own limit where a site sets none (`MaxArraySize`).
    fn most_elements(&self) -> usize {
        1000
    }

    fn asks_the_same(&self, one: &Execution, other: &Execution) -> bool {
        one.slurm == other.slurm
    }

    fn script(&self, asked: &Execution, job: &Job<'_>) -> Result<String> {
        script::render(&asked.slurm, job)
    }

    fn output_name(&self, array: &ArrayId, element: u32) -> String {
        format!("{array}_{element}.out")
    }

    fn submit(&self, script: &Path, name: &str) -> Result<ArrayId> {
        let out = said(Command::new("sbatch").arg("--parsable").arg(format!("--job-name={name}")).arg(script))?;
        // `id`, or `id;cluster`.
        let id = out.trim().split(';').next().unwrap_or_default();
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
            bail!("sbatch answered `{}`, which names no job", out.trim());
        }
        Ok(ArrayId(id.to_owned()))
    }

    fn find(&self, names: &[&str]) -> Result<Vec<(String, ArrayId)>> {
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--states=all", "--format=%F|%j"]).arg(format!("--name={}", names.join(",")));
        Ok(said(&mut command)?.lines().filter_map(named).collect())
    }

    fn poll(&self, arrays: &[ArrayId]) -> Result<Vec<Sighting>> {
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--states=all", "--format=%i|%T|%r"]).arg(jobs("--jobs=", arrays));
        match said(&mut command) {
            Ok(out) => Ok(out.lines().filter_map(sighting).collect()),
            Err(error) if error.to_string().contains(FORGOTTEN) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn cancel(&self, arrays: &[ArrayId]) -> Result<()> {
        match said(Command::new("scancel").args(arrays.iter().map(|array| &array.0))) {
            Err(error) if !error.to_string().contains(FORGOTTEN) => Err(error),
            _ => Ok(()),
        }
    }

    fn requeue_own_job(&self) -> Result<bool> {
        let Ok(job) = std::env::var("SLURM_JOB_ID") else { return Ok(false) };
        said(Command::new("scontrol").arg("requeue").arg(job)).map(|_| true)
    }
}

fn jobs(option: &str, arrays: &[ArrayId]) -> String {
    let ids: Vec<&str> = arrays.iter().map(|array| array.0.as_str()).collect();
    format!("{option}{}", ids.join(","))
}

/// `12|night`: the array of a job, and the job's name.
fn named(line: &str) -> Option<(String, ArrayId)> {
    let (array, name) = line.trim().split_once('|')?;
    Some((name.to_owned(), ArrayId(array.to_owned())))
}

/// `12_3|RUNNING|None`; other lines speak of no element of an array.
fn sighting(line: &str) -> Option<Sighting> {
    let mut fields = line.splitn(3, '|').map(str::trim);
    let (array, element) = fields.next()?.split_once('_')?;
    let (state, reason) = (words::state(fields.next()?), fields.next().unwrap_or_default());
    let reason = if reason == "None" { "" } else { reason };
    Some(Sighting {
        array: ArrayId(array.to_owned()),
        element: element.parse().ok()?,
        state,
        reason: reason.to_owned(),
    })
}

/// What a command of Slurm says on its standard output.
fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {name}: are Slurm's commands on this machine's PATH?"))?;
    if !output.status.success() {
        bail!("{name} says: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::state::{Ending, JobState};

    #[test]
    fn a_line_of_squeue_is_a_sighting() {
        let seen = |element, state, reason: &str| {
            Some(Sighting { array: ArrayId("12".to_owned()), element, state, reason: reason.to_owned() })
        };
        let table = [
            ("12_3|RUNNING|None", seen(3, JobState::Running, "")),
            ("12_0|PENDING|Priority", seen(0, JobState::Queued, "Priority")),
            ("12_7|FAILED|RaisedSignal:9(Killed)", seen(7, JobState::Ended(Ending::Failed), "RaisedSignal:9(Killed)")),
            ("12_1|COMPLETED|a|b", seen(1, JobState::Ended(Ending::Completed), "a|b")),
            ("12|RUNNING|None", None),
            ("12_[4-9]|PENDING|None", None),
            ("slurm_load_jobs error", None),
        ];
        for (line, wanted) in table {
            assert_eq!(sighting(line), wanted, "{line}");
        }
    }
}
