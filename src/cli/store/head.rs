//! What stands at the beginning of a `run.json`, from that beginning alone: the whole may have hundreds of megabytes.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The first of the large fields; what a reader needs first stands before it.
const ENGINES: &str = "engines";

/// What this beginning of a file says before it tells of engines; `None` where that is not a whole `T`.
pub fn of<T: DeserializeOwned>(beginning: &[u8]) -> Option<T> {
    let mut head = Head::default();
    // Always an error: at the latest where the beginning ends. What was read by then is what counts.
    let _ = head.deserialize(&mut serde_json::Deserializer::from_slice(beginning));
    serde_json::from_value(Value::Object(head.0)).ok()
}

#[derive(Default)]
struct Head(Map<String, Value>);

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
            if name == ENGINES {
                return Err(A::Error::custom("enough was read"));
            }
            self.0.insert(name, map.next_value()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Wanted {
        schema: u32,
        name: String,
    }

    #[test]
    fn the_head_is_found_before_the_end() {
        let table = [
            (r#"{"schema": 1, "run_id": "x", "name": "a", "engines": [{"key": "b"}, "#, Some((1, "a"))),
            (r#"{"name": "a", "schema": 2, "lad"#, Some((2, "a"))),
            (r#"{"name": "a", "schema": 2}"#, Some((2, "a"))),
            (r#"{"schema": 1, "engines": [], "name": "a"}"#, None),
            (r#"{"schema": 1, "name": "a"#, None),
            (r#"{"schema": 1}"#, None),
            ("[1]", None),
            ("", None),
        ];
        for (text, expected) in table {
            let head: Option<Wanted> = of(text.as_bytes());
            assert_eq!(head.as_ref().map(|head| (head.schema, &*head.name)), expected, "{text}");
        }
    }
}
