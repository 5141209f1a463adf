//! The domain of `ceiling`: what an experiment is, what it plans, how a probe is judged, how a ceiling is found.
//!
//! No process, no Python, no clock: the same input gives the same answer. Data goes one way:
//!
//! ```text
//! experiment -> plan -> (a probe measured elsewhere) -> watch, sla -> search -> record
//! two records -> compare
//! ```
//!
//! The simulator answers probes as an engine does, and knows of no search: rehearsals run on it, and a search asks it what levels
//! that were not probed would show.

mod arrival;
pub mod attribution;
pub mod audit;
pub mod compare;
pub mod experiment;
pub mod fit;
pub mod key;
pub mod load;
pub mod metric;
pub mod plan;
pub mod protocol;
pub mod record;
pub mod rehearse;
pub mod request;
pub mod search;
pub mod secret;
pub mod sim;
pub mod sla;
pub mod stats;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod units;
pub mod watch;
pub mod workload;
