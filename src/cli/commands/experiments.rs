//! Experiment files into a plan: what every verb that takes files begins with.

use std::io::IsTerminal;
use std::path::PathBuf;

use ceiling_core::experiment::{self, Experiment, Faults, Files, Override};
use ceiling_core::plan::{self, Plan};

use crate::args::ExperimentArgs;
use crate::files::Disk;
use crate::output;

/// Experiments, and the work that they ask for together.
pub struct Planned {
    /// As they were read.
    pub experiments: Vec<Experiment>,
    /// The work.
    pub plan: Plan,
}

/// Reads and plans the files, or globs of them; `None` where they are faulty, which has been said by then.
pub fn plan(args: &ExperimentArgs) -> Option<Planned> {
    let paths: Vec<PathBuf> = args.files.iter().map(PathBuf::from).collect();
    plan_files(&paths, &args.overrides, &Disk)
}

/// The same for files wherever they come from.
pub fn plan_files(paths: &[PathBuf], overrides: &[String], files: &dyn Files) -> Option<Planned> {
    let overrides: Vec<Override> = overrides.iter().map(Override::new).collect();
    match experiment::read(paths, &overrides, files) {
        Ok(experiments) => Some(Planned { plan: plan::plan(&experiments), experiments }),
        Err(faults) => {
            print_faults(&faults);
            None
        }
    }
}

/// Shows people what is wrong, and where.
pub fn print_faults(faults: &Faults) {
    // See https://no-color.org; a dumb terminal shows what would set a colour.
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_plain = is_set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    output::aside(&faults.render(std::io::stderr().is_terminal() && !is_plain));
}
