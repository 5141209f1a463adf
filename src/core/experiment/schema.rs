//! The JSON schema of experiment files, for editors and checkers.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use serde_json::{Value, json};

use super::error::Found;
use super::file::{EngineTable, FileTable, MatrixTable, SimTable, VllmTable};
use super::read::DEFAULTS;
use super::tree;

/// The schema of an experiment file, made from the types that read it and from the defaults that they fill in.
///
/// It is of draft 7, which editors know best. Nothing but the number of the format is required: a file may leave the
/// rest to the file that it extends.
pub fn experiment_schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<FileTable>().to_value();
    schema["title"] = Value::from("An experiment of ceiling");
    schema["required"] = json!(["schema"]);
    let defaults = defaults();
    for (definition, table) in DEFAULTS_OF {
        let Some(Value::Object(values)) = defaults.get(table) else { continue };
        for (key, value) in values {
            if let Some(property) = schema.pointer_mut(&format!("/definitions/{definition}/properties/{key}")) {
                property["default"] = value.clone();
            }
        }
    }
    schema
}

/// Tables of the file, and the tables of the defaults that speak of them.
const DEFAULTS_OF: [(&str, &str); 9] = [
    ("VllmTable", "engine"),
    ("VllmTable", "vllm"),
    ("SimTable", "engine"),
    ("SimTable", "sim"),
    ("WorkloadTable", "workload"),
    ("SlaTable", "sla"),
    ("SearchTable", "search"),
    ("ExecutionTable", "execution"),
    ("SlurmTable", "slurm"),
];

/// The built-in defaults, table by table.
fn defaults() -> Value {
    let mut found = Found::default();
    let table = tree::parse(0, DEFAULTS, &mut found);
    let table = table.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.to_json(&mut found)?)));
    Value::Object(table.collect())
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
        let rules = |description: &str| {
            json!({
                "type": "array",
                "description": description,
                "items": { "type": "object", "minProperties": 1 }
            })
        };
        json_schema!({
            "type": "object",
            "properties": {
                "exclude": rules("Points of the product to leave out: each entry matches the cells that agree with all of its fields."),
                "include": rules(
                    "Fields for the cells that agree with an entry's axes; where none does, a cell of its own. It takes \
                     what it does not name from the tables of the file, and runs through their lists."
                ),
            },
            "additionalProperties": {
                "description": "An axis: the values that a dotted field such as \"engine.max_num_seqs\" takes, or tables \
                                of fields that change together.",
                "type": ["array", "object"],
                "minItems": 1,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/experiment.schema.json");

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&experiment_schema()).unwrap()
    }

    fn json(text: &str) -> Value {
        let mut found = Found::default();
        let table = tree::parse(0, text, &mut found);
        assert_eq!(found.count(), 0, "{text} is not TOML");
        Value::Object(table.iter().map(|e| (e.key.clone(), e.node.to_json(&mut found).unwrap())).collect())
    }

    #[test]
    fn the_checked_in_schema_is_up_to_date() {
        let wanted = serde_json::to_string_pretty(&experiment_schema()).unwrap() + "\n";
        let found = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(found == wanted, "schemas/experiment.schema.json is stale: write it anew with `ceiling schema`");
    }

    #[test]
    fn every_key_is_described() {
        fn undescribed(path: &str, schema: &Value, out: &mut Vec<String>) {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                if property["description"].as_str().is_none_or(str::is_empty) {
                    out.push(format!("{path}.{key}"));
                }
            }
        }
        let schema = experiment_schema();
        let mut out = Vec::new();
        undescribed("", &schema, &mut out);
        for (name, definition) in schema["definitions"].as_object().unwrap() {
            undescribed(name, definition, &mut out);
        }
        assert_eq!(out, Vec::<String>::new());
    }

    #[test]
    fn shipped_experiments_fit() {
        let validator = validator();
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments");
        let mut files = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "toml") {
                let value = json(&std::fs::read_to_string(&path).unwrap());
                let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
                assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
                files += 1;
            }
        }
        assert!(files > 5);
    }

    #[test]
    fn bad_files_fail_at_the_named_place() {
        let validator = validator();
        let table = [
            ("name = \"e\"", ""),
            ("schema = 2", "/schema"),
            ("schema = 1\nname = \"../e\"", "/name"),
            ("schema = 1\n[sla]\nttfl = \"1s\"", "/sla"),
            ("schema = 1\n[sla]\nttft = 5", "/sla/ttft"),
            ("schema = 1\n[sla]\nttft = \"5 minutes\"", "/sla/ttft"),
            ("schema = 1\n[sla]\nttft = []", "/sla/ttft"),
            ("schema = 1\n[sla]\nttft = [\"1s\", \"1s\"]", "/sla/ttft"),
            ("schema = 1\n[sla]\nok_rate = 1.5", "/sla/ok_rate"),
            ("schema = 1\n[workload]\ninput_tokens = 0", "/workload/input_tokens"),
            ("schema = 1\n[workload]\ninput_tokens = 1.5", "/workload/input_tokens"),
            ("schema = 1\n[workload]\nload = \"flood\"", "/workload/load"),
            ("schema = 1\n[workload]\nprompt = { corpse = \"a\" }", "/workload/prompt"),
            ("schema = 1\n[search]\nresolution = 0.02", "/search/resolution"),
            ("schema = 1\n[engine]\nlayer = \"core\"", "/engine/layer"),
            ("schema = 1\n[engine]\nkind = \"sim\"\ndtype = \"auto\"", "/engine"),
            ("schema = 1\n[engine]\nkind = \"sim\"\nstall = 5", "/engine/stall"),
            ("schema = 1\n[matrix]\n\"engine.dtype\" = []", "/matrix/engine.dtype"),
            ("schema = 1\n[matrix]\n\"engine.dtype\" = \"auto\"", "/matrix/engine.dtype"),
            ("schema = 1\n[[matrix.exclude]]", "/matrix/exclude/0"),
            ("schema = 1\n[execution]\ngpus = [0, 0]", "/execution/gpus"),
            ("schema = 1\n[execution]\nretry = 1", "/execution"),
            ("schema = 1\n[execution]\non = \"mars\"", "/execution/on"),
            ("schema = 1\n[execution.slurm]\ntime = 5", "/execution/slurm/time"),
            ("schema = 1\n[execution.slurm]\nsetup = \"module load cuda\"", "/execution/slurm/setup"),
        ];
        for (text, place) in table {
            let value = json(text);
            let places: Vec<_> = validator.iter_errors(&value).map(|error| error.instance_path().to_string()).collect();
            assert_eq!(places, [place], "{text}");
        }
    }
}
