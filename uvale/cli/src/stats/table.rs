//! Tables of counters and of rates: a line a port, or a line a ring.

use super::super::show::NO_PORT;
use super::super::table::{Align, Table};
use super::counters::{Direction, Line, in_words};

/// What a table shows of a ring, or of a direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// packets
    pub packets: f64,
    /// bytes, or bits a second
    pub amount: f64,
    /// packets dropped
    pub dropped: f64,
    /// drops and faults by reason, those that there were
    pub why: Vec<(&'static str, f64)>,
}

impl From<&Line> for Shown {
    fn from(line: &Line) -> Self {
        let there = line.reasons().filter(|(_, n)| *n > 0);
        Shown {
            packets: line.packets as f64,
            amount: line.bytes as f64,
            dropped: line.dropped() as f64,
            why: there.map(|(key, n)| (key, n as f64)).collect(),
        }
    }
}

/// How numbers are written, and what the columns are called.
pub struct Style {
    /// packets, bytes, drops
    pub names: [&'static str; 3],
    /// and their numbers
    pub number: fn(f64) -> String,
}

/// Counts, in full.
pub const COUNTS: Style = Style {
    names: ["PACKETS", "BYTES", "DROPPED"],
    number: |n| format!("{n:.0}"),
};

/// Rates, with units.
pub const RATES: Style = Style {
    names: ["PACKETS/S", "BITS/S", "DROPS/S"],
    number: super::super::table::rate,
};

/// A port's name, and what it sent and received.
pub type Row<'a> = (&'a str, [Direction<Shown>; 2]);

/// The table: a line a port, with `rings` a line a direction and a line a ring.
pub fn text<'a>(style: &Style, rows: impl IntoIterator<Item = Row<'a>>, rings: bool) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        return NO_PORT.to_owned();
    }
    if rings {
        ring_lines(style, &rows)
    } else {
        port_lines(style, &rows)
    }
}

fn port_lines(style: &Style, rows: &[Row<'_>]) -> String {
    let [packets, amount, dropped] = style.names;
    let named = |direction: &str, what: &str| format!("{direction} {what}");
    let names = ["TX", "RX"].map(|d| [named(d, packets), named(d, amount)]);
    let mut columns = vec![("PORT", Align::Left)];
    columns.extend(
        names
            .iter()
            .flatten()
            .map(|name| (name.as_str(), Align::Right)),
    );
    columns.extend([(dropped, Align::Right), ("WHY", Align::Left)]);
    let mut table = Table::new(&columns);
    for (name, [tx, rx]) in rows {
        let (tx, rx) = (&tx.total, &rx.total);
        let numbers = [
            tx.packets,
            tx.amount,
            rx.packets,
            rx.amount,
            tx.dropped + rx.dropped,
        ];
        let cells = numbers.map(style.number);
        table.row(
            [(*name).to_owned()]
                .into_iter()
                .chain(cells)
                .chain([words(style, tx.why.iter().chain(&rx.why))]),
        );
    }
    table.text()
}

fn ring_lines(style: &Style, rows: &[Row<'_>]) -> String {
    let mut columns = vec![("PORT", Align::Left), ("", Align::Left), ("", Align::Left)];
    columns.extend(style.names.map(|name| (name, Align::Right)));
    columns.push(("WHY", Align::Left));
    let mut table = Table::new(&columns);
    for (name, directions) in rows {
        let mut name = *name;
        for (direction, way) in directions.iter().zip(["tx", "rx"]) {
            for (index, shown) in direction.shown().enumerate() {
                let ring = match index {
                    0 => String::new(),
                    ring => format!("ring {}", ring - 1),
                };
                let numbers = [shown.packets, shown.amount, shown.dropped].map(style.number);
                table.row(
                    [std::mem::take(&mut name).to_owned(), way.to_owned(), ring]
                        .into_iter()
                        .chain(numbers)
                        .chain([words(style, shown.why.iter())]),
                );
            }
        }
    }
    table.text()
}

fn words<'a>(style: &Style, why: impl Iterator<Item = &'a (&'static str, f64)>) -> String {
    in_words(why.map(|(key, n)| (*key, (style.number)(*n))))
}

#[cfg(test)]
mod tests {
    use super::super::counters::directions;
    use super::super::counters::tests::{port, rx, tx};
    use super::*;

    fn table(rings: bool) -> Vec<String> {
        let port = port("vale0:a", vec![tx(3, 1), tx(4, 0)], vec![rx(10, 400)]);
        let shown = directions(&port).map(|direction| direction.map(|line| Shown::from(line)));
        let text = text(&COUNTS, [("vale0:a", shown)], rings);
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn a_port_is_one_line() {
        let expected = [
            "PORT TX PACKETS TX BYTES RX PACKETS RX BYTES DROPPED WHY",
            "vale0:a 7 420 10 600 401 short frame 1, receiver full 400",
        ];
        assert_eq!(table(false), expected);
    }

    #[test]
    fn rings_are_lines_on_demand_where_there_are_several() {
        let expected = [
            "PORT PACKETS BYTES DROPPED WHY",
            "vale0:a tx 7 420 1 short frame 1",
            "tx ring 0 3 180 1 short frame 1",
            "tx ring 1 4 240 0",
            "rx 10 600 400 receiver full 400",
        ];
        assert_eq!(table(true), expected);
    }
}
