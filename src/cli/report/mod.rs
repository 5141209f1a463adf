//! Results into bytes. Every reporter is pure: the same run gives the same bytes.

pub mod csv;
pub mod diff;
pub mod history;
pub mod html;
pub mod json;
pub mod ladders;
pub mod markdown;
pub mod pivot;
pub mod table;
#[cfg(test)]
pub mod testing;

/// A table for a terminal, as wide as it needs to be.
pub fn show(table: &table::Table) -> String {
    let mut shown = comfy_table::Table::new();
    let row = |cells: &[String]| cells.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
    shown.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(row(&table.head));
    shown.add_rows(table.rows.iter().map(|cells| row(cells)));
    shown.to_string()
}

/// A length of time in seconds, as precise as an estimate is.
pub fn about(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A text without what would steer a terminal: results may come from anywhere.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
