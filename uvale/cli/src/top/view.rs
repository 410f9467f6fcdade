//! The screen: a head, the ports, details of the one that is chosen, keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Sparkline, Table, TableState, Wrap};

use super::super::table::{duration, printable, rate, size};
use super::rows::{Column, Row};
use super::state::{Past, State};

/// Lines of details.
const DETAILS: u16 = 6;
/// Fewer lines than this show no details.
const ENOUGH: u16 = 14;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let details = if area.height >= ENOUGH { DETAILS } else { 0 };
    let round = u16::from(!state.going_round.is_empty());
    let [head, warning, ports, chosen, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(round),
        Constraint::Min(0),
        Constraint::Length(details),
        Constraint::Length(1),
    ])
    .areas(area);
    self::head(frame, state, head);
    if let Some(sentence) = state.going_round.first() {
        frame.render_widget(Line::from(printable(sentence)).bold(), warning);
    }
    let shown = state.shown();
    match (&state.absent, shown.as_slice()) {
        (Some(why), _) => say(
            frame,
            &format!("{}\n\nWaiting for it to return.", printable(why)),
            ports,
        ),
        (None, []) if state.daemon.is_none() => say(frame, "Asking the daemon.", ports),
        (None, []) if state.count() > 0 => {
            say(
                frame,
                &format!("No port is meant by {}.", printable(&state.filter)),
                ports,
            );
        }
        (None, []) => say(frame, "No port is open.", ports),
        (None, rows) => {
            let selected = state.selected(rows);
            table(frame, state, rows, selected, ports);
            self::details(frame, state, &rows[selected], chosen);
        }
    }
    self::keys(frame, state, keys);
}

fn say(frame: &mut Frame<'_>, text: &str, area: Rect) {
    let text = Paragraph::new(Text::from(text.to_owned())).wrap(Wrap { trim: true });
    frame.render_widget(text, area);
}

/// The world, its daemon, sums and their spark line.
fn head(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let place = printable(&state.dir.display().to_string());
    let mut text = format!("uvale top  {place}");
    if let (Some(daemon), None) = (&state.daemon, &state.absent) {
        let memory: u64 = daemon.memories.iter().map(|memory| memory.size).sum();
        let others = daemon.processes.saturating_sub(1);
        text += &format!(
            "  up {}  {} ports  {others} programs  {}",
            duration(daemon.uptime),
            state.count(),
            size(memory)
        );
    }
    let held = match state.silence() {
        Some(silent) => format!("  no answer for {}", duration(silent.as_secs())),
        None if state.is_held => "  HELD".to_owned(),
        None => String::new(),
    };
    let sum = state.past_of_all[1].back().copied().unwrap_or(0);
    let right = format!("{held}  rx {}/s ", rate(sum as f64));
    let line = Line::from(vec![Span::from(text).bold(), Span::from(right)]);
    let width = (line.width() as u16).min(area.width);
    let [left, spark] =
        Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(area);
    frame.render_widget(line, left);
    sparks(frame, &state.past_of_all[1], spark);
}

/// As much of the past as there is room for.
fn sparks(frame: &mut Frame<'_>, past: &std::collections::VecDeque<u64>, area: Rect) {
    let skipped = past.len().saturating_sub(area.width.into());
    let values: Vec<u64> = past.iter().skip(skipped).copied().collect();
    frame.render_widget(Sparkline::default().data(&values), area);
}

fn table(frame: &mut Frame<'_>, state: &State, rows: &[Row], selected: usize, area: Rect) {
    let title = |column: Column| {
        let style = match column == state.by {
            true => Style::new().bold().underlined(),
            false => Style::new().bold(),
        };
        let text = Text::from(column.title()).style(style);
        Cell::from(if column.is_number() {
            text.right_aligned()
        } else {
            text
        })
    };
    let name_width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or(0);
    let widths = Column::ALL.map(|column| match column {
        Column::Name => Constraint::Length((name_width as u16).clamp(4, (area.width / 4).max(12))),
        Column::Who => Constraint::Min(8),
        _ => Constraint::Length(8),
    });
    let lines = rows.iter().map(|row| {
        let number = |value: f64| Cell::from(Text::from(rate(value)).right_aligned());
        let mut cells = vec![Cell::from(printable(&row.name))];
        cells.extend(row.rates.map(number));
        cells.push(Cell::from(printable(&row.open_by())));
        let style = match row.rates[4] > 0.0 {
            true => Style::new().red(),
            false => Style::new(),
        };
        Cells::new(cells).style(style)
    });
    let table = Table::new(lines, widths)
        .header(Cells::new(Column::ALL.map(title)))
        .row_highlight_style(Style::new().reversed());
    let mut at = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut at);
}

/// What there is to say of one port.
fn details(frame: &mut Frame<'_>, state: &State, row: &Row, area: Rect) {
    let lines: [Rect; DETAILS as usize] =
        Layout::vertical([Constraint::Length(1); DETAILS as usize]).areas(area);
    let rule = format!("-- {} ", printable(&row.name));
    let fill = usize::from(area.width).saturating_sub(rule.chars().count());
    frame.render_widget(Line::from(rule + &"-".repeat(fill)).bold(), lines[0]);
    let why = match row.why.as_str() {
        "" => "nothing is dropped",
        why => why,
    };
    let past = state.past(&row.name);
    let sparkling = ["tx    ", "rx    "];
    for (index, (title, area)) in sparkling.iter().zip([lines[1], lines[2]]).enumerate() {
        let [left, right] =
            Layout::horizontal([Constraint::Length(6), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::from(*title), left);
        past.into_iter()
            .for_each(|past: &Past| sparks(frame, &past[index], right));
    }
    for (area, text) in [
        (lines[3], format!("drops {why}")),
        (lines[4], format!("open  by {}", row.open_by())),
        (lines[5], format!("port  {}", row.what)),
    ] {
        frame.render_widget(Line::from(printable(&text)), area);
    }
}

fn keys(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let line = match (state.is_typing, state.filter.as_str()) {
        (true, filter) => format!("filter: {filter}_   Enter keeps it, Esc drops it"),
        (false, filter) => {
            let by = state.by.title().to_lowercase();
            let order = if state.reversed { " reversed" } else { "" };
            let filter = match filter {
                "" => "/ filter".to_owned(),
                filter => format!("/ filter: {filter}"),
            };
            let hold = if state.is_held {
                "blank go on"
            } else {
                "blank hold"
            };
            format!("q quit  arrows choose  s sort: {by}{order}  r reverse  {filter}  {hold}")
        }
    };
    frame.render_widget(Line::from(printable(&line)).reversed(), area);
}
