// SPDX-License-Identifier: GPL-2.0-only

//! Text and tables that fit a terminal.

use super::{new_table, Sheet};

/// The columns of a terminal.
pub(crate) const WIDTH: usize = 80;

/// Breaks a line between words, so that no part is longer than `width`, except for long words.
pub(crate) fn wrap(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        } else if !out.is_empty() {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// Breaks each line of `text` so that it fits a terminal.
pub(crate) fn fit(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrap(line, WIDTH)).collect();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

fn width(cell: &str) -> usize {
    let widths = cell.lines().map(|line| line.chars().count());
    widths.max().unwrap_or(0)
}

/// Lays out a table.
///
/// If it does not fit a terminal, its columns are closer. If that is not enough, the first header,
/// which is the title, is broken to the width of the names.
pub(crate) fn render(sheet: &Sheet) -> String {
    let names = sheet.rows.iter().map(|row| width(&row[0])).max();
    let whole = sheet.header.clone();
    let mut broken = whole.clone();
    if let (Some(title), Some(names)) = (broken.first_mut(), names) {
        *title = wrap(title, names);
    }
    let mut text = String::new();
    for (header, gap) in [(&whole, 2), (&whole, 1), (&broken, 2), (&broken, 1)] {
        text = with_gap(header, &sheet.rows, gap);
        if width(&text) <= WIDTH {
            break;
        }
    }
    text
}

/// Lays out a table with `gap` spaces between its columns.
fn with_gap(header: &[String], rows: &[Vec<String>], gap: u16) -> String {
    let mut table = new_table(header, 1);
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        let last = at + 1 == header.len();
        // The preset has one space of its own.
        column.set_padding((0, if last { 0 } else { gap - 1 }));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(
            wrap("a guest writes, and rests", 15),
            "a guest writes,\nand rests"
        );
        assert_eq!(wrap("a guest", 7), "a guest");
        assert_eq!(wrap("extraordinary word", 5), "extraordinary\nword");
        assert_eq!(wrap("", 5), "");
        let long = "word ".repeat(40);
        let text = fit(&format!("{long}\n{long}\n"));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 80);
        assert!(text.ends_with('\n'));
    }
}
