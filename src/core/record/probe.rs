//! A probe, measured and judged.

use serde::{Deserialize, Serialize};

use crate::attribution::{LimitedBy, attribute};
use crate::audit::{Audit, audit};
use crate::plan::{Key, Ladder};
use crate::protocol::{Measured, Resolved};
use crate::sla::{Sla, Tally};
use crate::telemetry::Telemetry;
use crate::units::Concurrency;
use crate::watch::Until;

/// A probe of a ladder, with what it says under each of the ladder's SLAs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The ladder.
    pub ladder: Key,
    /// Its number in the ladder, from 0.
    pub number: u32,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// What it was measured for.
    pub until: Until,
    /// Whether it measured the engine.
    pub audit: Audit,
    /// Whether it is evidence; false for one that was void, or repeated because the harness was late.
    pub counts: bool,
    /// Its requests under each SLA.
    pub tallies: Vec<Tally>,
    /// What bound the engine, or came nearest to it, under each SLA (see [`attribute`]).
    pub limits: Vec<Option<LimitedBy>>,
    /// What GPUs and processes did meanwhile; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// All that was measured.
    #[serde(with = "super::columns")]
    pub measured: Measured,
}

impl Probe {
    /// Judges what was measured under the SLAs of a ladder.
    pub fn judge(
        ladder: &Ladder,
        slas: &[Sla],
        engine: &Resolved,
        taken: Taken,
        measured: Measured,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let audit = audit(&measured, telemetry.as_ref(), &ladder.workload, slas, &taken.until);
        let limit = |sla: &Sla| attribute(&measured, taken.concurrency, audit, sla, &ladder.workload, engine);
        Self {
            ladder: ladder.key,
            number: taken.number,
            concurrency: taken.concurrency,
            until: taken.until,
            audit,
            counts: true,
            tallies: slas.iter().map(|sla| Tally::of(sla, &measured.requests)).collect(),
            limits: slas.iter().map(limit).collect(),
            telemetry,
            measured,
        }
    }
}

/// Which probe it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number in the ladder.
    pub number: u32,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// What it was measured for.
    pub until: Until,
}
