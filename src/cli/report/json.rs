//! `run.json`.

use std::io::Write;

use anyhow::Result;
use ceiling_core::record::Run;
use serde::Serialize;
use serde_json::{Value, json};

/// Characters of a line that holds a value as a whole, its indentation included.
const WIDTH: usize = 170;

/// The run as JSON, laid out so that git shows what changed: what fits a line is on one line, so that a quantity stays
/// together and a probe takes a dozen lines instead of sixty.
pub fn render(run: &Run) -> Result<String> {
    let mut text = Vec::new();
    write(run, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// Writes the same piece by piece: a run of ten thousand cells takes a gigabyte as one value.
pub fn write(run: &Run, out: &mut dyn Write) -> Result<()> {
    let Run { schema, run_id, status, simulated, started, finished, experiment, provenance, engines, ladders, cells } =
        run;
    let head = json!({
        "schema": schema, "run_id": run_id, "status": status, "simulated": simulated, "started": started,
        "finished": finished, "experiment": experiment, "provenance": provenance,
    });
    out.write_all(b"{")?;
    for (name, value) in head.as_object().into_iter().flatten() {
        write!(out, "\n  {}: {},", Value::from(name.as_str()), layout(value, 1))?;
    }
    list("engines", engines, out)?;
    out.write_all(b",")?;
    list("ladders", ladders, out)?;
    out.write_all(b",")?;
    list("cells", cells, out)?;
    Ok(out.write_all(b"\n}\n")?)
}

fn list<T: Serialize>(name: &str, items: &[T], out: &mut dyn Write) -> Result<()> {
    write!(out, "\n  \"{name}\": [")?;
    for (place, item) in items.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}\n    {}", layout(&serde_json::to_value(item)?, 2))?;
    }
    let end = if items.is_empty() { "]" } else { "\n  ]" };
    Ok(out.write_all(end.as_bytes())?)
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
    use crate::report::testing;

    #[test]
    fn what_fits_a_line_is_on_one() {
        let long = "x".repeat(WIDTH);
        let value = json!({ "a": { "b": [1, 2.5, null], "c": "\n" }, "long": [long], "empty": {} });
        let expected = format!(
            "{{\n  \"a\": {{\"b\": [1, 2.5, null], \"c\": \"\\n\"}},\n  \"long\": [\n    \"{long}\"\n  ],\n  \"empty\": {{}}\n}}"
        );
        assert_eq!(layout(&value, 0), expected);
    }

    #[test]
    fn a_run_that_is_written_is_the_same_run() {
        let run = testing::run();
        let text = render(&run).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), serde_json::to_value(&run).unwrap());
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_lossless(number: f64, whole: u64) {
            let value = json!([number, whole, vec![number; 30]]);
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&layout(&value, 0)).unwrap(), value);
        }
    }
}
