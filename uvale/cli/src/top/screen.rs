//! The terminal: taken, given back whatever happens, its keys.

use std::io::stdin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event};
use ratatui::DefaultTerminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use uvale_tools::signals::Signals;

use super::super::show::Place;
use super::feed::Feed;
use super::state::{Ask, State};
use super::view;

/// How long a resize may go unnoticed that comes between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// How long keys that are there may take to be read: of no time at all crossterm would not even look, and of this it
/// spins away what is left. So it is asked when there is something, and at each look for what it has kept.
const READ: Duration = Duration::from_millis(1);

/// The terminal, given back when this is dropped; a panic gives it back before it says why.
struct Taken(DefaultTerminal);

impl Drop for Taken {
    fn drop(&mut self) {
        // who has hung up gets nothing back
        let _ = ratatui::try_restore();
    }
}

/// Shows the screen until a key or a signal ends it.
pub fn run(place: Place, interval: Duration, mut state: State) -> Result<ExitCode, String> {
    // before there are threads, so that they leave signals alone, too
    let signals = Signals::take()?;
    let feed = Feed::begin(place, interval)?;
    let fail = |e: std::io::Error| format!("the terminal: {}", uvale_tools::output::plain(&e));
    let terminal = ratatui::try_init().map_err(|e| {
        let _ = ratatui::try_restore();
        fail(e)
    })?;
    let mut taken = Taken(terminal);
    let mut looked = Instant::now();
    loop {
        taken
            .0
            .draw(|frame| view::draw(frame, &state))
            .map_err(fail)?;
        let are_keys_there = wait(&signals, &feed)?;
        if signals.has_come() {
            return Ok(ExitCode::SUCCESS);
        }
        while let Some(news) = feed.next() {
            state.hear(news);
        }
        if !are_keys_there && looked.elapsed() < LOOK {
            continue;
        }
        looked = Instant::now();
        while event::poll(READ).map_err(fail)? {
            let ask = match event::read().map_err(fail)? {
                Event::Key(key) => state.press(key),
                // drawing notices the new size
                _ => Ask::Nothing,
            };
            match ask {
                Ask::Nothing => {}
                Ask::Redraw => taken.0.clear().map_err(fail)?,
                Ask::Quit => return Ok(ExitCode::SUCCESS),
            }
        }
    }
}

/// Until there is a key, a signal or news, or it is time for a look. Are there keys?
fn wait(signals: &Signals, feed: &Feed) -> Result<bool, String> {
    const MOST: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: LOOK.subsec_nanos() as i64,
    };
    let stdin = stdin();
    let mut of = [
        PollFd::new(&stdin, PollFlags::IN),
        PollFd::new(signals, PollFlags::IN),
        PollFd::new(feed, PollFlags::IN),
    ];
    match poll(&mut of, Some(&MOST)) {
        Ok(_) if of[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => {
            Err("the terminal is gone".to_owned())
        }
        Ok(_) => Ok(of[0].revents().contains(PollFlags::IN)),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(format!("cannot wait for keys: {e}")),
    }
}
