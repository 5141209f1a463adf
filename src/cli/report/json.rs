//! `run.json`.

use std::io::Write;

use anyhow::Result;
use ceiling_core::record::Run;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

/// Engines, ladders or cells that are laid out side by side, and held as text.
const AT_ONCE: usize = 256;

/// Characters of a line that holds a value as a whole, its indentation included.
const WIDTH: usize = 190;

/// The run as JSON, laid out so that git shows what changed: what fits a line is on one line, and so are scalars beside each
/// other, so that a quantity stays together and a probe takes ten lines instead of sixty.
pub fn render(run: &Run) -> Result<String> {
    let mut text = Vec::new();
    write(run, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// Writes the same piece by piece: a run of ten thousand cells takes a gigabyte as one value.
pub fn write(run: &Run, out: &mut dyn Write) -> Result<()> {
    let Run {
        schema,
        run_id,
        status,
        left_out,
        simulated,
        started,
        finished,
        experiment,
        provenance,
        brief,
        engines,
        ladders,
        cells,
    } = run;
    let head = json!({
        "schema": schema, "run_id": run_id, "status": status, "left_out": left_out, "simulated": simulated,
        "started": started, "finished": finished, "experiment": experiment, "provenance": provenance,
        "brief": brief,
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

fn list<T: Serialize + Sync>(name: &str, items: &[T], out: &mut dyn Write) -> Result<()> {
    write!(out, "\n  \"{name}\": [")?;
    let mut comma = "";
    for items in items.chunks(AT_ONCE) {
        let texts: Vec<String> =
            items.par_iter().map(|item| Ok(layout(&serde_json::to_value(item)?, 2))).collect::<Result<_>>()?;
        for text in texts {
            write!(out, "{comma}\n    {text}")?;
            comma = ",";
        }
    }
    let end = if items.is_empty() { "]" } else { "\n  ]" };
    Ok(out.write_all(end.as_bytes())?)
}

/// A part of an array or an object.
struct Part {
    text: String,
    is_scalar: bool,
}

impl Part {
    fn new(name: Option<&str>, value: &Value, depth: usize) -> Self {
        let name = name.map_or_else(String::new, |name| format!("{}: ", Value::from(name)));
        Self { text: name + &layout(value, depth), is_scalar: !value.is_array() && !value.is_object() }
    }
}

/// A value on one line where it fits, else one line or more for each of its parts, scalars side by side.
fn layout(value: &Value, depth: usize) -> String {
    let (parts, open, close): (Vec<Part>, _, _) = match value {
        Value::Array(items) => (items.iter().map(|item| Part::new(None, item, depth + 1)).collect(), '[', ']'),
        Value::Object(fields) => {
            (fields.iter().map(|(name, value)| Part::new(Some(name), value, depth + 1)).collect(), '{', '}')
        }
        scalar => return scalar.to_string(),
    };
    let indent = |depth| "  ".repeat(depth);
    let width = parts.iter().map(|part| part.text.len() + 2).sum::<usize>() + 2 * depth;
    if width <= WIDTH && !parts.iter().any(|part| part.text.contains('\n')) {
        let texts: Vec<String> = parts.into_iter().map(|part| part.text).collect();
        return format!("{open}{}{close}", texts.join(", "));
    }
    let between = format!(",\n{}", indent(depth + 1));
    let lines = lines(parts, WIDTH - 2 * (depth + 1).min(WIDTH / 4));
    format!("{open}\n{}{}\n{}{close}", indent(depth + 1), lines.join(&between), indent(depth))
}

/// Parts on lines of at most this width, as far as they are scalars beside each other.
fn lines(parts: Vec<Part>, width: usize) -> Vec<String> {
    let mut lines: Vec<Part> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.is_scalar && part.is_scalar && line.text.len() + 2 + part.text.len() < width => {
                line.text.push_str(", ");
                line.text.push_str(&part.text);
            }
            _ => lines.push(part),
        }
    }
    lines.into_iter().map(|line| line.text).collect()
}

#[cfg(test)]
mod tests {
    use ceiling_core::record::CellRecord;
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    #[test]
    fn what_fits_a_line_is_on_one() {
        let long = "x".repeat(WIDTH);
        let value =
            json!({ "a": { "b": [1, 2.5, null], "c": "\n" }, "long": [long, 1, 2], "d": 3, "e": 4, "empty": {} });
        let expected = format!(
            "{{\n  \"a\": {{\"b\": [1, 2.5, null], \"c\": \"\\n\"}},\n  \"long\": [\n    \"{long}\",\n    1, 2\n  ],\n  \"d\": 3, \"e\": 4,\n  \"empty\": {{}}\n}}"
        );
        assert_eq!(layout(&value, 0), expected);
    }

    #[test]
    fn a_run_that_is_written_is_the_same_run() {
        let mut run = testing::run();
        // More than are laid out at once, each with a name of its own.
        let cell = |number: usize| CellRecord { id: format!("cell {number}"), ..run.cells[number % 4].clone() };
        run.cells = (0..2 * AT_ONCE + 1).map(cell).collect();
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
