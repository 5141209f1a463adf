//! Results into bytes. Every reporter is pure: the same run gives the same bytes.

pub mod csv;
pub mod json;
pub mod markdown;
pub mod table;

/// A table for a terminal, as wide as it needs to be.
pub fn show(table: &table::Table) -> String {
    let mut shown = comfy_table::Table::new();
    shown.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(&table.head).add_rows(&table.rows);
    shown.to_string()
}
