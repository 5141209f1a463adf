//! Keeps secrets out of what is published.

use serde_json::Value;

/// What the name of a variable that holds a secret contains.
const SIGNS: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY"];

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// Hides the values of the environment variables of an engine configuration that are secrets by their names.
pub fn hide(mut engine: Value) -> Value {
    for (name, value) in engine.get_mut("env").and_then(Value::as_object_mut).into_iter().flatten() {
        let name = name.to_ascii_uppercase();
        if SIGNS.iter().any(|sign| name.contains(sign)) {
            *value = Value::from(HIDDEN);
        }
    }
    engine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name() {
        let engine =
            serde_json::json!({ "env": { "HF_TOKEN": "hf_x", "my_api_key": "y", "VLLM_LOGGING_LEVEL": "INFO" } });
        let hidden = hide(engine);
        assert_eq!(hidden["env"]["HF_TOKEN"], "(hidden)");
        assert_eq!(hidden["env"]["my_api_key"], "(hidden)");
        assert_eq!(hidden["env"]["VLLM_LOGGING_LEVEL"], "INFO");
    }
}
