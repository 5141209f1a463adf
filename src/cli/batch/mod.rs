//! Hands engine groups to a batch system and takes their results back. Nothing is scheduled here.
//!
//! ```text
//! submit   plan -> arrays -> script -> system (Slurm)            the submitting side
//! attempt  an element begins one, the executor measures in it, one rename publishes it
//! watch    system's word + published groups -> tracks -> merged, submitted again, or given up
//!
//! results/<experiment>/<run id>/batch/<submission>/
//!   plan.json         what is measured: edits of the files do not reach elements that are queued
//!   submission.json   which arrays were handed over
//!   <array>.sh        their scripts
//!   out/              what elements print
//!   attempts/<group>/<attempt>/    a results directory, of one attempt alone
//!   groups/<group>/                the same, published by one rename: the only thing that is ever merged
//! ```
//!
//! Files are the truth. What the batch system says only tells which groups may still publish.

mod arrays;
mod attempt;
mod close;
mod merge;
mod news;
mod script;
mod shared;
mod slurm;
mod state;
mod submission;
mod submit;
mod system;
mod track;
mod watch;

pub use arrays::arrays;
pub use attempt::{Attempt, Publication};
pub use close::give_up;
pub use merge::{refresh, refresh_or_warn};
pub use script::utf8;
pub use shared::Shared;
pub use slurm::Slurm;
pub use submission::Submission;
pub use submit::{Command, script_of, submit};
pub use system::BatchSystem;
pub use watch::{Settled, Watch, is_alive, settle};
