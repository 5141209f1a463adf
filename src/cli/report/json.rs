//! `run.json`.

use anyhow::Result;
use ceiling_core::record::Run;
use serde_json::Value;

/// Characters of a line that holds a value as a whole, its indentation included.
const WIDTH: usize = 170;

/// The run as JSON, laid out so that git shows what changed: what fits a line is on one line, so that a quantity stays
/// together and a probe takes a dozen lines instead of sixty.
pub fn render(run: &Run) -> Result<String> {
    let mut text = layout(&serde_json::to_value(run)?, 0);
    text.push('\n');
    Ok(text)
}

/// A value on one line where it fits, else one line or more for each of its parts.
fn layout(value: &Value, depth: usize) -> String {
    let (parts, open, close): (Vec<String>, _, _) = match value {
        Value::Array(items) => (items.iter().map(|item| layout(item, depth + 1)).collect(), '[', ']'),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, _)| format!("{}: {}", Value::from(name.as_str()), layout(value, depth + 1));
            (fields.iter().map(field).collect(), '{', '}')
        }
        scalar => return scalar.to_string(),
    };
    let indent = |depth| "  ".repeat(depth);
    let width = parts.iter().map(|part| part.len() + 2).sum::<usize>() + 2 * depth;
    if width <= WIDTH && !parts.iter().any(|part| part.contains('\n')) {
        return format!("{open}{}{close}", parts.join(", "));
    }
    let between = format!(",\n{}", indent(depth + 1));
    format!("{open}\n{}{}\n{}{close}", indent(depth + 1), parts.join(&between), indent(depth))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_a_line_is_on_one() {
        let long = "x".repeat(WIDTH);
        let value = json!({ "a": { "b": [1, 2.5, null], "c": "\n" }, "long": [long], "empty": {} });
        let expected = format!(
            "{{\n  \"a\": {{\"b\": [1, 2.5, null], \"c\": \"\\n\"}},\n  \"long\": [\n    \"{long}\"\n  ],\n  \"empty\": {{}}\n}}"
        );
        assert_eq!(layout(&value, 0), expected);
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_lossless(number: f64, whole: u64) {
            let value = json!([number, whole, vec![number; 30]]);
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&layout(&value, 0)).unwrap(), value);
        }
    }
}
