//! The only writer of `results/`.
//!
//! ```text
//! results/<experiment>/<run id>/
//!   run.json       everything published; replaced as a whole
//!   cells.csv      one row per cell; replaced as a whole
//!   journal.jsonl  what happened, appended and synced
//!   requests.csv   one row per request, appended
//!   logs/          one file per engine group
//! ```

mod atomic;
mod git;
mod journal;
mod ledger;
mod machine;
mod requests;
mod run_dir;

pub use atomic::replace;
pub use ledger::Ledger;
pub use machine::provenance;
pub use run_dir::{read_run, resolve_run, runs};
