//! The JSON schema of `run.json`.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{RUN_SCHEMA, Run};

/// The schema of `run.json`, made from the types that write it. Of draft 7, as that of experiment files.
pub fn run_schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Run>().to_value();
    schema["title"] = Value::from("What a run of ceiling publishes");
    if let Some(number) = schema.pointer_mut("/properties/schema") {
        number["const"] = Value::from(RUN_SCHEMA);
    }
    schema
}
