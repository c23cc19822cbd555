//! Tables for people: plain, and no wider than a terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, TableComponent, presets};

/// How wide a table is at most.
pub(crate) const WIDTH: usize = 80;

/// A table with this header and no colours. From column `numbers` on it is aligned to the right.
pub(crate) fn plain<'h>(header: impl IntoIterator<Item = &'h str>, numbers: usize) -> Table {
    let mut table = Table::new();
    table.force_no_tty();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
        if column.index >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table's lines.
pub(crate) fn text_of(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The last `width` characters, with a sign where some are missing.
pub(crate) fn end_of(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= width {
        return text.to_owned();
    }
    let end: String = characters[characters.len() - width + 1..].iter().collect();
    format!("…{end}")
}
