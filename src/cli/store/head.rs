//! The name of a run's experiment from the beginning of its `run.json` alone: the whole may have hundreds of megabytes.

use std::fmt;

use ceiling_core::record::{ExperimentSummary, RUN_SCHEMA};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

/// The name, where this beginning of a file holds it; `None` where it does not, or where the file is of another schema.
pub fn experiment(beginning: &[u8]) -> Option<String> {
    let mut head = Head::default();
    // Always an error: at the latest where the beginning ends. What was read by then is what counts.
    let _ = head.deserialize(&mut serde_json::Deserializer::from_slice(beginning));
    head.experiment.filter(|_| head.schema == Some(RUN_SCHEMA))
}

#[derive(Default)]
struct Head {
    schema: Option<u32>,
    experiment: Option<String>,
}

impl<'de> DeserializeSeed<'de> for &mut Head {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "schema" => self.schema = Some(map.next_value()?),
                "experiment" => self.experiment = Some(map.next_value::<ExperimentSummary>()?.name),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if self.schema.is_some() && self.experiment.is_some() {
                return Err(A::Error::custom("enough was read"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_before_the_end() {
        let name = |text: &str| experiment(text.as_bytes());
        let table = [
            (r#"{"schema": 1, "run_id": "x", "experiment": {"name": "a", "digest": "b"}, "lad"#, Some("a")),
            (r#"{"experiment": {"name": "a"}, "schema": 1"#, Some("a")),
            (r#"{"experiment": {"name": "a"}, "schema": 2}"#, None),
            (r#"{"schema": 1, "experiment": {"na"#, None),
            (r#"{"schema": 1}"#, None),
            ("[1]", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
    }
}
