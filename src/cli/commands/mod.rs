//! One file per verb.

pub mod cancel;
pub mod check;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod fit;
pub mod history;
pub mod list;
pub mod plan;
pub mod quick;
pub mod rehearse;
pub mod report;
pub mod run;
pub mod schema;

mod carry_out;
mod element;
mod experiments;
mod hand_over;
mod pattern;
mod preflight;
mod take_back;
