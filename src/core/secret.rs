//! Keeps secrets out of what is written: they are known by their names.

use serde_json::Value;

/// What the name of an environment variable that holds a secret contains.
const SIGNS: [&str; 8] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "API_KEY", "ACCESS_KEY"];

/// What the name of an engine argument that holds a secret ends with. Arguments speak of tokens of another kind too.
const ENDINGS: [&str; 8] =
    ["token", "secret", "password", "passwd", "passphrase", "credential", "credentials", "api_key"];

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// Whether an environment variable of this name holds a secret.
pub fn is_secret_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace("TOKENIZER", "");
    SIGNS.iter().any(|sign| name.contains(sign))
}

/// Whether an engine argument of this name holds a secret.
pub fn is_secret_argument(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    ENDINGS.iter().any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Hides what an engine configuration holds of secrets: in its environment variables, and in its arguments, however deep.
pub fn hide(mut engine: Value) -> Value {
    for_each_secret(&mut engine, &mut |secret| HIDDEN.clone_into(secret));
    engine
}

/// The secrets that an engine configuration holds, in the places where [`hide`] hides them.
pub fn held_by(mut engine: Value) -> Vec<String> {
    let mut found = Vec::new();
    for_each_secret(&mut engine, &mut |secret| found.push(secret.clone()));
    found
}

fn for_each_secret(engine: &mut Value, act: &mut impl FnMut(&mut String)) {
    visit(engine.get_mut("env"), is_secret_variable, act);
    visit(engine.pointer_mut("/spec/args"), is_secret_argument, act);
}

fn visit(value: Option<&mut Value>, is_secret: fn(&str) -> bool, act: &mut impl FnMut(&mut String)) {
    match value {
        Some(Value::Object(fields)) => {
            for (name, value) in fields {
                match value {
                    // A flag, or a number of tokens, is no secret.
                    Value::String(secret) if is_secret(name) => act(secret),
                    value => visit(Some(value), is_secret, act),
                }
            }
        }
        Some(Value::Array(values)) => values.iter_mut().for_each(|value| visit(Some(value), is_secret, act)),
        _ => {}
    }
}

/// Secrets by value, to be taken out of texts that others wrote.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// These values. What is too short to be a secret would take harmless text along.
    pub fn of(values: impl IntoIterator<Item = String>) -> Self {
        const SHORTEST: usize = 8;
        let mut values: Vec<String> = values.into_iter().filter(|value| value.len() >= SHORTEST).collect();
        // One may contain another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// Whether a text holds any.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret))
    }

    /// A text without them.
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name() {
        let engine = serde_json::json!({
            "env": {
                "HF_TOKEN": "hf_x", "my_api_key": "y", "AWS_SECRET_ACCESS_KEY": "z", "VLLM_LOGGING_LEVEL": "INFO",
                "TOKENIZERS_PARALLELISM": "false",
            },
            "spec": { "args": {
                "hf_token": "hf_x", "tokenizer_mode": "auto", "max_num_batched_tokens": 4096, "trust_remote_code": true,
                "additional_config": { "stores": [{ "api_key": "y", "url": "u" }], "secret": true },
            } },
        });
        let hidden = serde_json::json!({
            "env": {
                "HF_TOKEN": "(hidden)", "my_api_key": "(hidden)", "AWS_SECRET_ACCESS_KEY": "(hidden)",
                "VLLM_LOGGING_LEVEL": "INFO", "TOKENIZERS_PARALLELISM": "false",
            },
            "spec": { "args": {
                "hf_token": "(hidden)", "tokenizer_mode": "auto", "max_num_batched_tokens": 4096,
                "trust_remote_code": true,
                "additional_config": { "stores": [{ "api_key": "(hidden)", "url": "u" }], "secret": true },
            } },
        });
        let mut held = held_by(engine.clone());
        held.sort_unstable();
        assert_eq!(held, ["hf_x", "hf_x", "y", "y", "z"]);
        assert_eq!(hide(engine), hidden);
    }

    #[test]
    fn arguments_that_count_tokens_hold_no_secret() {
        let table = [
            ("hf_token", true),
            ("token", true),
            ("HF-Token", true),
            ("api_key", true),
            ("tokenizer", false),
            ("max_num_batched_tokens", false),
            ("detoken", false),
            ("", false),
        ];
        for (name, is_secret) in table {
            assert_eq!(is_secret_argument(name), is_secret, "{name}");
        }
    }

    #[test]
    fn secrets_are_taken_out_of_texts() {
        let secrets = Secrets::of(["hf_12345678", "hf_12345678+9", "user"].map(str::to_owned));
        let text = "Invalid user hf_12345678+9, hf_12345678";
        assert!(secrets.are_in(text) && !secrets.are_in("Invalid user"));
        assert_eq!(secrets.hide(text), "Invalid user (hidden), (hidden)");
    }
}
