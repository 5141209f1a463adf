//! The only writer of `results/`, and how runs are found again: there, or in git.
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
mod earlier;
mod find;
mod git;
mod journal;
mod ledger;
mod lock;
mod machine;
mod requests;
mod run_dir;

pub use atomic::replace;
pub use earlier::measurements;
pub use find::{Finder, Found, read_run, read_summary};
pub use ledger::{Ledger, Resumed};
pub use machine::provenance;
pub use run_dir::{newest_unfinished, runs};
