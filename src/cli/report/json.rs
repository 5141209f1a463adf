//! `run.json`.

use anyhow::Result;
use ceiling_core::record::Run;

/// The run as indented JSON, so that git shows what changed.
pub fn render(run: &Run) -> Result<String> {
    let mut text = serde_json::to_string_pretty(run)?;
    text.push('\n');
    Ok(text)
}
