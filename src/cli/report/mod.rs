//! Results into bytes. Every reporter is pure: the same run gives the same bytes.

pub mod csv;
pub mod diff;
pub mod history;
pub mod json;
pub mod markdown;
pub mod table;

/// A table for a terminal, as wide as it needs to be.
pub fn show(table: &table::Table) -> String {
    let mut shown = comfy_table::Table::new();
    let rows = table.rows.iter().map(|row| row.iter().map(|cell| printable(cell)));
    shown.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(&table.head).add_rows(rows);
    shown.to_string()
}

/// Text from a file as a terminal may have it: without characters that would steer it.
pub fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}
