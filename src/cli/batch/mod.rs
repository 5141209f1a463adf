//! Hands engine groups to a batch system and takes their results back. Nothing is scheduled here.
//!
//! ```text
//! submit   plan -> arrays -> script -> system                    the submitting side
//! attempt  an element begins one, the executor measures in it, one rename publishes it
//! watch    system's word + published groups -> tracks -> merged, submitted again, or given up
//! system   what a batch system must be able to do; slurm does it
//!
//! results/<experiment>/<run id>/batch/<submission>/
//!   plan.json         what is measured: edits of the files do not reach elements that are queued
//!   submission.json   which arrays are handed over: noted before that is done, and again when it was
//!   <array>.sh        their scripts
//!   out/              what elements print
//!   attempts/<group>/<attempt>/    a results directory, of one attempt alone
//!   groups/<group>/                the same, published by one rename: the only thing that is ever merged
//! ```
//!
//! Files are the truth. What the batch system says only tells which groups may still publish.

mod arrays;
mod close;
mod merge;
mod news;
mod slurm;
mod state;
mod submit;
mod system;
mod track;
mod watch;

pub use arrays::arrays;
pub use close::give_up;
pub use merge::{is_over, refresh, refresh_or_warn};
pub use submit::{recover, script_of, submit, submit_open, utf8};
pub use system::BatchSystem;
pub use watch::{Settled, Watch, alive, settle};

/// The batch system that runs are handed to.
pub fn system() -> &'static dyn BatchSystem {
    &slurm::Slurm
}
