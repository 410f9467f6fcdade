//! Text for people: aligned tables, and numbers with units.

use std::fmt::Write as _;

use uvale_tools::output;

/// Alignment of a column's cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// text
    Left,
    /// numbers
    Right,
}

/// A table with a head line. Columns are as wide as their widest cell.
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self {
            align: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![head],
        }
    }

    /// Adds a row. Cells that are missing at its end are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The text, one line a row, no blanks at the end of lines.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.align.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.align) {
                let pad = width - cell.chars().count();
                let (before, after) = match align {
                    Align::Left => (0, pad),
                    Align::Right => (pad, 0),
                };
                // writing to a String cannot fail
                let _ = write!(line, "{:before$}{cell}{:after$}  ", "", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `text` without control characters: programs choose the names of ports.
pub fn printable(text: &str) -> String {
    let escape = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(escape).collect()
}

/// Writes to standard output. A reader that has gone (`| head`) is not an error, but ends a watch:
/// `Ok(false)`.
pub fn print(text: &str) -> Result<bool, String> {
    output::write(text)?;
    Ok(!output::reader_has_gone())
}

/// A size in bytes: `335.6 MiB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A rate, in the unit that the column names: `1.49 M`.
pub fn rate(value: f64) -> String {
    scaled(value, 1000.0, &["", "K", "M", "G", "T"])
}

/// Four digits at least where there are more than three, and a unit.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    // a value that would be rounded up to the next unit is shown in that
    while value >= step - 0.05 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let number = if unit == 0 && (value - value.round()).abs() < 0.05 {
        format!("{value:.0}")
    } else if value < 10.0 && unit > 0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    };
    format!("{number} {}", units[unit]).trim_end().to_owned()
}

/// A time that has passed: `2 h 5 min`.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min {} s", seconds % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::new(&[
            ("PORT", Align::Left),
            ("PACKETS", Align::Right),
            ("WHY", Align::Left),
        ]);
        table.row(["vale0:long".into(), "5".into(), String::new()]);
        table.row(["é".into(), "12345678".into(), "full".into()]);
        table.row(["x".into()]);
        let expected = "\
PORT         PACKETS  WHY
vale0:long         5
é           12345678  full
x
";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn control_characters_of_names_do_not_reach_the_terminal() {
        let mut table = Table::new(&[("PORT", Align::Left)]);
        table.row(["vale0:\u{1b}[2Ja\nb".into()]);
        assert_eq!(table.text(), "PORT\nvale0:\\u{1b}[2Ja\\nb\n");
    }

    #[test]
    fn numbers_have_units() {
        let cases = [
            (0.0, "0"),
            (999.0, "999"),
            (999.5, "999.5"),
            (999.96, "1.00 K"),
            (1000.0, "1.00 K"),
            (0.5, "0.5"),
            (1_488_095.0, "1.49 M"),
            (52_300_000.0, "52.3 M"),
            (9.9e15, "9900.0 T"),
        ];
        for (value, text) in cases {
            assert_eq!(rate(value), text);
        }
        assert_eq!(size(351_895_552), "335.6 MiB");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(2048), "2.00 KiB");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (7500, "2 h 5 min"),
            (90_000, "1 d 1 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
