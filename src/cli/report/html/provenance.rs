//! Where a result comes from: everything that `run.json` says of it.

use ceiling_core::record::{EngineRecord, Run};
use maud::{Markup, html};
use serde_json::{Value, json};

/// All that a number may depend on.
pub fn provenance(run: &Run) -> Markup {
    let experiment = &run.experiment;
    let head = json!({
        "run": run.run_id, "status": run.status, "left_out": run.left_out, "simulated": run.simulated,
        "started": run.started, "finished": run.finished,
        "experiment": experiment.name, "file": experiment.source, "digest": experiment.digest, "schema": run.schema,
    });
    html! {
        section #provenance {
            h2 { "Provenance" }
            (facts(&head))
            (facts(&serde_json::to_value(&run.provenance).unwrap_or_default()))
            h3 { "Engines" }
            @for engine in &run.engines { (engine_record(engine)) }
            @if let Some(ladder) = run.ladders.first() {
                h3 { "Search" }
                @let same = run.ladders.iter().all(|other| other.search == ladder.search);
                @if same { (facts(&serde_json::to_value(ladder.search).unwrap_or_default())) }
                @else { p.note { "Ladders were searched with different settings; run.json has them." } }
            }
        }
    }
}

fn engine_record(engine: &EngineRecord) -> Markup {
    let loads = json!({ "loads": engine.loads, "load_seconds": engine.load_seconds });
    html! {
        details.engine {
            summary { (engine.label) }
            (facts(&loads))
            h4 { "As the experiment gives it" }
            (facts(&engine.args))
            @if let Some(resolved) = &engine.resolved {
                h4 { "As the engine made it" }
                (facts(&serde_json::to_value(resolved).unwrap_or_default()))
            }
        }
    }
}

/// The fields of an object, those of objects within it by their dotted names.
fn facts(value: &Value) -> Markup {
    let mut rows = Vec::new();
    flatten(String::new(), value, &mut rows);
    html! {
        dl { @for (name, value) in &rows { div { dt { (name) } dd { (value) } } } }
    }
}

fn flatten(name: String, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if fields.is_empty() => rows.push((name, "none".to_owned())),
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(name, value, rows);
            }
        }
        Value::Null => rows.push((name, "not known".to_owned())),
        Value::String(text) => rows.push((name, text.clone())),
        other => rows.push((name, other.to_string())),
    }
}
