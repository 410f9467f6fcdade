//! A line a port.

use std::cmp::Ordering;

use clap::ValueEnum;
use uvale_link::report::Holder;
use uvale_tools::pattern;

use super::super::show;
use super::super::stats::change::PortChange;
use super::super::stats::counters::in_words;
use super::super::table::rate;

/// What lines can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// the port's name
    Name,
    /// packets sent a second
    Tx,
    /// bits sent a second
    TxBits,
    /// packets received a second
    Rx,
    /// bits received a second
    RxBits,
    /// packets dropped a second
    Drops,
    /// who has it open
    Who,
}

impl Column {
    /// All of them, as they stand.
    pub const ALL: [Column; 7] = [
        Column::Name,
        Column::Tx,
        Column::TxBits,
        Column::Rx,
        Column::RxBits,
        Column::Drops,
        Column::Who,
    ];

    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Column::Name => "PORT",
            Column::Tx => "TX PKT/S",
            Column::TxBits => "TX BIT/S",
            Column::Rx => "RX PKT/S",
            Column::RxBits => "RX BIT/S",
            Column::Drops => "DROPS/S",
            Column::Who => "OPEN BY",
        }
    }

    /// Is it a number?
    pub fn is_number(self) -> bool {
        !matches!(self, Column::Name | Column::Who)
    }
}

/// A port's line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// its name
    pub name: String,
    /// the switch that it is on
    pub switch: Option<String>,
    /// packets and bits sent, packets and bits received, packets dropped, a second
    pub rates: [f64; 5],
    /// drops and faults by reason
    pub why: String,
    /// programs with their numbers
    pub who: Vec<String>,
    /// kind, rings, memory
    pub what: String,
}

impl From<&PortChange> for Row {
    fn from(change: &PortChange) -> Self {
        let (tx, rx) = (change.tx.total.rates(), change.rx.total.rates());
        let port = &change.port;
        let why = tx.why.iter().chain(&rx.why);
        let rings = |ways: usize, slots: u32| format!("{ways} x {slots}");
        Row {
            name: change.name.clone(),
            switch: port.switch.clone(),
            rates: [
                tx.packets,
                tx.amount,
                rx.packets,
                rx.amount,
                tx.dropped + rx.dropped,
            ],
            why: in_words(why.map(|(key, n)| (*key, format!("{}/s", rate(*n))))),
            who: port.holders.iter().map(who).collect(),
            what: format!(
                "{}, tx {}, rx {}, memory {}",
                port.kind,
                rings(port.tx.len(), port.tx_slots),
                rings(port.rx.len(), port.rx_slots),
                port.mem_id
            ),
        }
    }
}

impl Row {
    /// Who has it open, in a word or more.
    pub fn open_by(&self) -> String {
        match self.who.as_slice() {
            [] => "-".to_owned(),
            all => all.join(", "),
        }
    }

    /// Does the pattern, or the part of a name, mean it?
    pub fn passes(&self, filter: &str) -> bool {
        let meant = match filter.contains(['*', '?']) {
            true => filter.to_owned(),
            false => format!("*{filter}*"),
        };
        let names = [Some(&self.name), self.switch.as_ref()];
        let is_meant = |name: &String| pattern::matches(&meant, name);
        names.into_iter().flatten().any(is_meant) || self.who.iter().any(is_meant)
    }
}

/// Program and number, as `uvale ports` shows them.
fn who(holder: &Holder) -> String {
    let [program, pid, ..] = show::holder(holder);
    format!("{program} {pid}")
}

/// Sorts lines: names from a on, numbers from the highest down; the other way if `reversed`.
pub fn sort(rows: &mut [Row], by: Column, reversed: bool) {
    rows.sort_by(|a, b| {
        let number = |index: usize| b.rates[index].total_cmp(&a.rates[index]);
        let order = match by {
            Column::Name => Ordering::Equal,
            Column::Tx => number(0),
            Column::TxBits => number(1),
            Column::Rx => number(2),
            Column::RxBits => number(3),
            Column::Drops => number(4),
            Column::Who => a.who.cmp(&b.who),
        };
        let order = order.then_with(|| natural(&a.name, &b.name));
        if reversed { order.reverse() } else { order }
    });
}

/// Names in the order of the numbers in them: `vale0:p9` before `vale0:p10`.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let text = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let digits = rest[text..].find(|c: char| !c.is_ascii_digit());
            let end = digits.map_or(rest.len(), |len| text + len);
            parts.push((
                rest[text..end].parse().unwrap_or(0),
                rest[..text].to_owned(),
            ));
            rest = &rest[end..];
        }
        parts
    };
    let by_text = parts(a).into_iter().map(|(n, text)| (text, n));
    by_text
        .cmp(parts(b).into_iter().map(|(n, text)| (text, n)))
        .then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, tx: f64) -> Row {
        Row {
            name: name.to_owned(),
            switch: Some("vale0".to_owned()),
            rates: [tx, 0.0, 0.0, 0.0, 0.0],
            why: String::new(),
            who: vec!["bridge 7".to_owned()],
            what: String::new(),
        }
    }

    #[test]
    fn lines_are_sorted() {
        let names = |by, reversed| {
            let mut rows = vec![
                row("vale0:p10", 5.0),
                row("vale0:p9", 5.0),
                row("eth0", 7.0),
            ];
            sort(&mut rows, by, reversed);
            rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(Column::Name, false),
            ["eth0", "vale0:p9", "vale0:p10"]
        );
        assert_eq!(names(Column::Name, true), ["vale0:p10", "vale0:p9", "eth0"]);
        assert_eq!(names(Column::Tx, false), ["eth0", "vale0:p9", "vale0:p10"]);
        assert_eq!(names(Column::Tx, true), ["vale0:p10", "vale0:p9", "eth0"]);
    }

    #[test]
    fn filters_are_patterns_or_parts() {
        let row = row("vale0:web1", 0.0);
        for filter in ["", "web", "vale?:*", "vale0", "bridge"] {
            assert!(row.passes(filter), "{filter}");
        }
        for filter in ["wob", "web*", "vale1"] {
            assert!(!row.passes(filter), "{filter}");
        }
    }
}
