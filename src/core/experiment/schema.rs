//! The JSON schema of experiment files, for editors and checkers.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::file::{EngineTable, FileTable, MatrixTable, SimTable, VllmTable};

/// The schema of an experiment file, made from the types that read it.
pub fn experiment_schema() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<FileTable>().to_value()
}

impl JsonSchema for EngineTable {
    fn schema_name() -> Cow<'static, str> {
        "EngineTable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sim = generator.subschema_for::<SimTable>();
        let vllm = generator.subschema_for::<VllmTable>();
        json_schema!({
            "type": "object",
            "if": { "properties": { "kind": { "const": "sim" } }, "required": ["kind"] },
            "then": sim,
            "else": vllm,
        })
    }
}

impl JsonSchema for MatrixTable {
    fn schema_name() -> Cow<'static, str> {
        "MatrixTable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "exclude": { "type": "array", "items": { "type": "object", "minProperties": 1 } },
                "include": { "type": "array", "items": { "type": "object", "minProperties": 1 } },
            },
            "additionalProperties": { "type": ["array", "object"], "minItems": 1 },
        })
    }
}
