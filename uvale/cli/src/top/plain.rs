//! `--once`: a table for scripts.

use std::process::ExitCode;
use std::time::Duration;

use super::super::show::{NO_PORT, Place};
use super::super::stats::Chosen;
use super::super::stats::sample::{Changes, Sample};
use super::super::table::{Align, Table, print, rate};
use super::rows::{Column, Row, sort};

/// Prints what happens in one interval.
pub fn run(
    place: &Place,
    chosen: &Chosen,
    interval: Duration,
    by: Column,
    json: bool,
) -> Result<ExitCode, String> {
    let session = place.attach()?;
    let before = Sample::take(&session)?;
    chosen.check(&before.ports)?;
    std::thread::sleep(interval);
    let changes = Sample::take(&session)?.since(&before).only(chosen);
    let text = match json {
        true => changes.json()?,
        false => table(&changes, by) + &changes.rounds(),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(changes: &Changes, by: Column) -> String {
    let mut rows: Vec<Row> = changes.ports.iter().map(Row::from).collect();
    if rows.is_empty() {
        return NO_PORT.to_owned();
    }
    sort(&mut rows, by, false);
    let align = |column: Column| match column.is_number() {
        true => Align::Right,
        false => Align::Left,
    };
    let mut columns = Column::ALL
        .map(|column| (column.title(), align(column)))
        .to_vec();
    columns.insert(columns.len() - 1, ("WHY", Align::Left));
    let mut table = Table::new(&columns);
    for row in rows {
        let who = row.open_by();
        let rates = row.rates.map(rate);
        table.row([row.name].into_iter().chain(rates).chain([row.why, who]));
    }
    table.text()
}
