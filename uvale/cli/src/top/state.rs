//! What is on the screen, and what keys change.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use uvale_link::report;

use super::super::stats::Chosen;
use super::super::stats::sample::Changes;
use super::feed::News;
use super::rows::{Column, Row, sort};

/// Intervals that spark lines go back.
const PAST: usize = 300;

/// What a daemon may take to answer without a word about it.
const SLACK: Duration = Duration::from_secs(2);

/// Packets sent, packets received and drops a second, the newest last.
pub type Past = [VecDeque<u64>; 3];

/// What is on the screen.
pub struct State {
    chosen: Chosen,
    /// the world
    pub dir: PathBuf,
    /// all chosen ports, in no order
    rows: Vec<Row>,
    /// the past of each, by name
    past: HashMap<String, Past>,
    /// the past of all together
    pub past_of_all: Past,
    /// packets that seem to go round, a sentence each
    pub going_round: Vec<String>,
    /// the daemon, as it was last seen
    pub daemon: Option<report::Daemon>,
    /// why there is none
    pub absent: Option<String>,
    /// when it told last
    told: Instant,
    /// how long it may take until it tells again
    patience: Duration,
    /// column that lines are sorted by
    pub by: Column,
    /// the other way round
    pub reversed: bool,
    /// pattern of ports that are shown
    pub filter: String,
    /// it is being typed
    pub is_typing: bool,
    /// nothing new is shown
    pub is_held: bool,
    /// name of the port that details are shown of
    selected: Option<String>,
}

/// What a key asks of the terminal.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// nothing more than another look at the state
    Nothing,
    /// all drawn anew
    Redraw,
    /// the end
    Quit,
}

impl State {
    /// Nothing is known yet. The daemon of `dir` is asked every `interval`.
    pub fn new(chosen: Chosen, by: Column, dir: PathBuf, interval: Duration) -> Self {
        Self {
            chosen,
            dir,
            rows: Vec::new(),
            past: HashMap::new(),
            past_of_all: Past::default(),
            going_round: Vec::new(),
            daemon: None,
            absent: None,
            told: Instant::now(),
            patience: interval + SLACK,
            by,
            reversed: false,
            filter: String::new(),
            is_typing: false,
            is_held: false,
            selected: None,
        }
    }

    /// Takes in what the daemon told.
    pub fn hear(&mut self, news: News) {
        self.told = Instant::now();
        if self.is_held {
            return;
        }
        match news {
            Ok((changes, daemon)) => {
                let is_another = self
                    .daemon
                    .as_ref()
                    .is_some_and(|old| old.pid != daemon.pid);
                if is_another {
                    self.past.clear();
                    self.past_of_all = Past::default();
                }
                self.take(&changes);
                self.daemon = Some(daemon);
                self.absent = None;
            }
            Err(why) => {
                self.absent = Some(why);
                self.rows.clear();
                self.going_round.clear();
            }
        }
    }

    fn take(&mut self, changes: &Changes) {
        let chosen = changes
            .ports
            .iter()
            .filter(|change| self.chosen.has(&change.port));
        self.rows = chosen.map(Row::from).collect();
        self.going_round.clone_from(&changes.going_round);
        let mut sums = [0.0; 3];
        let mut past = HashMap::new();
        for row in &self.rows {
            let [tx, _, rx, _, drops] = row.rates;
            let mut own: Past = self.past.remove(&row.name).unwrap_or_default();
            for ((line, value), sum) in own.iter_mut().zip([tx, rx, drops]).zip(&mut sums) {
                push(line, value);
                *sum += value;
            }
            past.insert(row.name.clone(), own);
        }
        // ports that are gone have no past any more
        self.past = past;
        let all = self.past_of_all.iter_mut().zip(sums);
        all.for_each(|(line, value)| push(line, value));
    }

    /// For how long the daemon has told nothing, if that is longer than it should be.
    pub fn silence(&self) -> Option<Duration> {
        Some(self.told.elapsed()).filter(|silent| *silent > self.patience)
    }

    /// The lines that are shown, in their order.
    pub fn shown(&self) -> Vec<Row> {
        let passing = self.rows.iter().filter(|row| row.passes(&self.filter));
        let mut rows: Vec<Row> = passing.cloned().collect();
        sort(&mut rows, self.by, self.reversed);
        rows
    }

    /// How many ports there are, shown or not.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The line that details are shown of: the first, if the one that was chosen is gone.
    pub fn selected(&self, shown: &[Row]) -> usize {
        let is_it = |row: &Row| Some(&row.name) == self.selected.as_ref();
        shown.iter().position(is_it).unwrap_or(0)
    }

    /// The past of a port.
    pub fn past(&self, name: &str) -> Option<&Past> {
        self.past.get(name)
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Ask {
        if key.kind == KeyEventKind::Release {
            return Ask::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Ask::Quit,
            KeyCode::Char('l') if control => return Ask::Redraw,
            _ if self.is_typing => self.type_filter(key.code, control),
            KeyCode::Char('q') => return Ask::Quit,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char(' ') => self.is_held = !self.is_held,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('s' | '>') | KeyCode::Right => self.sort_by(1),
            KeyCode::Char('S' | '<') | KeyCode::Left => self.sort_by(Column::ALL.len() - 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::PageUp => self.select(-10),
            KeyCode::PageDown => self.select(10),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            _ => {}
        }
        Ask::Nothing
    }

    fn type_filter(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char('u') if control => self.filter.clear(),
            KeyCode::Char(c) if !control && self.filter.len() < 64 => self.filter.push(c),
            _ => {}
        }
    }

    fn sort_by(&mut self, further: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.by);
        self.by = Column::ALL[(at.unwrap_or(0) + further) % Column::ALL.len()];
    }

    fn select(&mut self, by: isize) {
        let shown = self.shown();
        let at = self.selected(&shown).saturating_add_signed(by);
        let row = shown.get(at.min(shown.len().saturating_sub(1)));
        self.selected = row.map(|row| row.name.clone());
    }
}

fn push(line: &mut VecDeque<u64>, value: f64) {
    if line.len() == PAST {
        line.pop_front();
    }
    // a drop in ten seconds is seen, too
    line.push_back(value.ceil() as u64);
}
