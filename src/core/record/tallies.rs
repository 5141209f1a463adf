//! Requests per SLA as `run.json` has them: by column, so that a probe of a ladder with many SLAs takes one line.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sla::Tally;

/// Requests of one probe, each list in the order of the ladder's SLAs.
#[derive(JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "Tallies")]
pub struct Columns {
    /// Requests for which every limit held.
    ok: Vec<u32>,
    /// Requests for which one did not.
    failed: Vec<u32>,
    /// Requests of which the probe ended too early to tell.
    undetermined: Vec<u32>,
}

pub fn serialize<S: Serializer>(tallies: &[Tally], serializer: S) -> Result<S::Ok, S::Error> {
    let column = |of: fn(&Tally) -> u32| tallies.iter().map(of).collect();
    let (ok, failed) = (column(|tally| tally.ok), column(|tally| tally.failed));
    Columns { ok, failed, undetermined: column(|tally| tally.undetermined) }.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Tally>, D::Error> {
    let Columns { ok, failed, undetermined } = Columns::deserialize(deserializer)?;
    if ok.len() != failed.len() || ok.len() != undetermined.len() {
        return Err(D::Error::custom("the columns of a probe's requests differ in length"));
    }
    let rows = ok.into_iter().zip(failed).zip(undetermined);
    Ok(rows.map(|((ok, failed), undetermined)| Tally { ok, failed, undetermined }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Probe(#[serde(with = "super")] Vec<Tally>);

    #[test]
    fn columns_of_unequal_length_are_refused() {
        let read = |undetermined| {
            let value = json!({ "ok": [1, 2], "failed": [3, 4], "undetermined": undetermined });
            serde_json::from_value::<Probe>(value)
        };
        assert_eq!(read(vec![5, 6]).unwrap().0[1], Tally { ok: 2, failed: 4, undetermined: 6 });
        assert!(read(vec![5]).unwrap_err().to_string().contains("differ in length"));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(counts: Vec<(u32, u32, u32)>) {
            let tally = |(ok, failed, undetermined)| Tally { ok, failed, undetermined };
            let probe = Probe(counts.into_iter().map(tally).collect());
            let text = serde_json::to_string(&probe).unwrap();
            prop_assert_eq!(serde_json::from_str::<Probe>(&text).unwrap(), probe);
        }
    }
}
