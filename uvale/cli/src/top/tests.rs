//! The screen, drawn into memory.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use uvale_link::report;

use super::super::stats::Chosen;
use super::super::stats::counters::tests::{holder, port, rx, tx};
use super::super::stats::sample::Changes;
use super::rows::Column;
use super::state::{Ask, State};
use super::view;

fn daemon(pid: i32) -> report::Daemon {
    report::Daemon {
        version: "0".into(),
        pid,
        uptime: 7500,
        processes: 3,
        attached: Vec::new(),
        descriptors: 2,
        max_switches: 8,
        memories: Vec::new(),
    }
}

/// Ports with what they sent and what was dropped in a second.
fn changes(ports: &[(&str, u64, u64)]) -> Changes {
    let at = |times: u64| -> Vec<report::Port> {
        let port = |(name, sent, dropped): &(&str, u64, u64)| report::Port {
            holders: vec![holder(77)],
            ..port(
                name,
                vec![tx(sent * times, 0)],
                vec![rx(1, dropped * times)],
            )
        };
        ports.iter().map(port).collect()
    };
    Changes::between(&at(2), &at(1), 1.0)
}

fn state(ports: &[(&str, u64, u64)]) -> State {
    let mut state = State::new(
        Chosen::new(Vec::new()),
        Column::Name,
        "/run/uvale".into(),
        Duration::from_secs(1),
    );
    state.hear(Ok((changes(ports), daemon(1))));
    state
}

/// The screen's lines.
fn screen(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let line =
        |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
    buffer
        .content
        .chunks(width.into())
        .map(|row| line(row).trim_end().to_owned())
        .collect()
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        state.press(KeyEvent::from(KeyCode::Char(key)));
    }
}

/// The first words of the lines of ports.
fn names(state: &State) -> Vec<String> {
    let lines = screen(state, 80, 24);
    let ports = lines[2..].iter().take_while(|line| !line.is_empty());
    ports
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn ports_are_on_80_by_24() {
    let lines = screen(&state(&[("vale0:a", 1000, 0), ("vale0:b", 5, 400)]), 80, 24);
    assert!(
        lines[0].starts_with("uvale top  /run/uvale  up 2 h 5 min  2 ports  2 programs"),
        "{}",
        lines[0]
    );
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words(&lines[1]),
        "PORT TX PKT/S TX BIT/S RX PKT/S RX BIT/S DROPS/S OPEN BY"
    );
    assert_eq!(words(&lines[2]), "vale0:a 1.00 K 480.0 K 0 0 0 bridge 77");
    assert_eq!(words(&lines[3]), "vale0:b 5 2.40 K 0 0 400 bridge 77");
    assert_eq!(lines[17].trim_end_matches('-'), "-- vale0:a ");
    assert_eq!(lines[18], "tx    █");
    assert_eq!(lines[20], "drops nothing is dropped");
    assert_eq!(lines[21], "open  by bridge 77");
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn keys_sort_choose_and_filter() {
    let mut state = state(&[("vale0:a", 1, 0), ("vale0:b", 30, 0), ("x{1", 2, 9)]);
    assert_eq!(names(&state), ["vale0:a", "vale0:b", "x{1"]);
    press(&mut state, "s");
    assert_eq!(names(&state), ["vale0:b", "x{1", "vale0:a"]);
    press(&mut state, "r");
    assert_eq!(names(&state), ["vale0:a", "x{1", "vale0:b"]);
    // backwards past the first
    press(&mut state, "rSSSj");
    assert_eq!(names(&state), ["x{1", "vale0:a", "vale0:b"]);
    let lines = screen(&state, 80, 24);
    assert!(
        lines[17].starts_with("-- vale0:a"),
        "the second is chosen: {}",
        lines[17]
    );
    press(&mut state, "k");
    assert_eq!(screen(&state, 80, 24)[20], "drops receiver full 9/s");
    press(&mut state, "/vale0:");
    assert_eq!(names(&state), ["vale0:a", "vale0:b"]);
    assert!(screen(&state, 80, 24)[23].starts_with("filter: vale0:_"));
    // q is a letter here
    press(&mut state, "q");
    assert!(screen(&state, 80, 24)[1].contains("No port is meant by vale0:q"));
    state.press(KeyEvent::from(KeyCode::Backspace));
    state.press(KeyEvent::from(KeyCode::Enter));
    assert_eq!(state.press(KeyEvent::from(KeyCode::Char('q'))), Ask::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.press(control_c), Ask::Quit);
}

#[test]
fn any_size_is_drawn() {
    let many: Vec<_> = (0..300).map(|n| (format!("vale0:port-{n}"), n)).collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, n)| (name.as_str(), *n, *n))
        .collect();
    let mut state = state(&many);
    for (width, height) in [(1, 1), (5, 3), (20, 7), (79, 13), (80, 24), (300, 100)] {
        screen(&state, width, height);
    }
    // the last one is chosen, and the list moves there
    state.press(KeyEvent::from(KeyCode::End));
    assert!(
        screen(&state, 80, 24)
            .iter()
            .any(|line| line.starts_with("vale0:port-299 "))
    );
    state.hear(Ok((changes(&[]), daemon(1))));
    assert_eq!(screen(&state, 80, 24)[1], "No port is open.");
}

#[test]
fn a_daemon_that_is_gone_is_waited_for() {
    let mut state = state(&[("vale0:a", 1, 0)]);
    state.hear(Err(
        "no uvale daemon answers in /run/uvale: none is running".to_owned(),
    ));
    let text = screen(&state, 80, 24).join("\n");
    assert!(
        text.contains("none is running") && text.contains("Waiting for it to return."),
        "{text}"
    );
    assert!(!text.contains("vale0:a"), "{text}");
    state.hear(Ok((changes(&[("vale0:b", 1, 0)]), daemon(2))));
    assert_eq!(names(&state), ["vale0:b"]);
}

#[test]
fn a_held_screen_stays() {
    let mut state = state(&[("vale0:a", 1, 0)]);
    press(&mut state, " ");
    state.hear(Ok((changes(&[("vale0:b", 1, 0)]), daemon(1))));
    assert_eq!(names(&state), ["vale0:a"]);
    assert!(screen(&state, 80, 24)[0].contains("HELD"));
    press(&mut state, " ");
    state.hear(Ok((changes(&[("vale0:b", 1, 0)]), daemon(1))));
    assert_eq!(names(&state), ["vale0:b"]);
}

#[test]
fn names_of_programs_do_not_reach_the_terminal_as_commands() {
    let text = screen(&state(&[("vale0:\u{1b}[2Ja", 1, 0)]), 80, 24).join("\n");
    assert!(
        text.contains("\\u{1b}[2Ja") && !text.contains('\u{1b}'),
        "{text}"
    );
}
