//! The only writer of `results/`, and how runs are found again: there, or in git.
//!
//! ```text
//! results/<experiment>/<run id>/
//!   run.json          everything published; replaced as a whole
//!   cells.csv         one row per cell; replaced as a whole
//!   journal.jsonl     what happened, appended and synced
//!   requests.parquet  one row per request, made from the journal at the end
//!   logs/             one file per engine group
//!   batch/            where the elements of a job array and whoever watches them meet: see [`Shared`]
//! ```

mod atomic;
mod children;
mod earlier;
mod find;
mod git;
mod head;
mod journal;
mod ledger;
mod lock;
mod log_tails;
mod logs;
mod machine;
mod merge;
mod past;
mod pieces;
mod requests;
mod resume;
mod run_dir;
mod shared;

pub use atomic::{check_writable, replace, write};
pub use earlier::measurements;
pub use find::{Finder, Found, read_run, read_summary};
pub use git::Repository;
pub use journal::entries;
pub use ledger::{Ledger, run_id};
pub use lock::{Held, Owner, owner_of};
pub use log_tails::{LogTails, log_tails};
pub use logs::hide_secrets;
pub use machine::{machine, provenance};
pub use past::Past;
pub use requests::complete as complete_requests;
pub use resume::{Resumed, resume};
pub use run_dir::{newest_unfinished, runs};
pub use shared::{ArrayId, Attempt, Command, Publication, Shared, Submission, Submitted};
