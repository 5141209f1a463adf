//! Digests of meaning: what names a cell, an engine or a ladder across files, runs and commits.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hexadecimal digits of a key.
const DIGITS: usize = 16;

/// A digest of a resolved meaning, in 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; DIGITS]);

impl Key {
    /// Digests the canonical JSON of a value: objects by sorted key.
    pub fn of(value: &serde_json::Value) -> Self {
        Self::of_owned(value.clone())
    }

    /// The same of a value that is not needed any more.
    pub fn of_owned(mut value: serde_json::Value) -> Self {
        value.sort_all_objects();
        Self::of_bytes(value.to_string().as_bytes())
    }

    /// Digests several digests, in this order.
    pub fn of_keys(keys: &[Self]) -> Self {
        let mut hasher = blake3::Hasher::new();
        keys.iter().for_each(|key| _ = hasher.update(&key.0));
        Self::of_hash(hasher.finalize())
    }

    /// Digests bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_hash(blake3::hash(bytes))
    }

    fn of_hash(hash: blake3::Hash) -> Self {
        let hex = hash.to_hex();
        let mut digits = [b'0'; DIGITS];
        digits.copy_from_slice(&hex.as_bytes()[..DIGITS]);
        Self(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The digest as a number, for seeds.
    pub fn number(&self) -> u64 {
        u64::from_str_radix(self.as_str(), 16).unwrap_or_default()
    }
}

impl JsonSchema for Key {
    fn schema_name() -> Cow<'static, str> {
        "Key".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A digest of a resolved meaning.",
            "pattern": format!("^[0-9a-f]{{{DIGITS}}}$"),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<[u8; DIGITS]> = text.as_bytes().try_into().ok();
        digits
            .filter(|digits| digits.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a key of {DIGITS} hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_an_objects_keys_does_not_matter() {
        assert_eq!(Key::of(&json!({"a": 1, "b": {"c": 2, "d": 3}})), Key::of(&json!({"b": {"d": 3, "c": 2}, "a": 1})));
        assert_ne!(Key::of(&json!([1, 2])), Key::of(&json!([2, 1])));
    }

    #[test]
    fn a_key_survives_json_and_nothing_else_reads_as_one() {
        let key = Key::of_bytes(b"anything");
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert_eq!(u64::from_str_radix(key.as_str(), 16).unwrap(), key.number());
        for wrong in ["\"\"", "\"0123456789abcdeg\"", "\"0123456789ABCDEF\"", "1"] {
            assert!(serde_json::from_str::<Key>(wrong).is_err(), "{wrong}");
        }
    }
}
