//! The part of the command line that speaks of batch systems.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ResultsArgs;

/// Where a run is carried out, and what an element of a job array is told.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// Where engine groups are carried out, whatever the files say
    #[arg(long, value_enum, value_name = "WHERE")]
    pub on: Option<On>,
    /// Do not wait for a run that was handed to a batch system; print its id
    #[arg(long)]
    pub detach: bool,
    /// Measure one engine group of a run that was handed to a batch system: what an element of a job array runs
    #[arg(long, value_name = "LABEL", requires = "shared", conflicts_with_all = ["resume", "dry_run", "detach", "on"])]
    pub group: Option<String>,
    /// Where the elements of that run meet: `results/EXPERIMENT/RUN/batch/N`
    #[arg(long, value_name = "DIR", requires = "group")]
    pub shared: Option<PathBuf>,
}

/// Where engine groups are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// On this machine
    Local,
    /// On a cluster, by job arrays of Slurm
    Slurm,
}

/// `ceiling cancel`
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// A run directory, a run id, or `latest`
    pub run: String,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}
