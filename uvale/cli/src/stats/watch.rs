//! `uvale stats --watch`: rates, again and again.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use uvale_link::session::Session;

use super::super::table::print;
use super::Chosen;
use super::sample::Sample;

/// To the terminal's top left corner, and everything from there on erased.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Prints rates every `interval` until a signal ends the process, or the daemon exits.
pub fn run(
    session: &Session,
    chosen: &Chosen,
    interval: Duration,
    rings: bool,
    json: bool,
) -> Result<ExitCode, String> {
    let terminal = std::io::stdout().is_terminal() && !json;
    let mut before = Sample::take(session)?;
    let mut due = before.taken + interval;
    loop {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Sample::take(session)?;
        let changes = now.since(&before);
        let text = if json {
            changes.only(chosen).json()?
        } else {
            let rounds = changes.rounds();
            let text = changes.only(chosen).rates(rings) + &rounds;
            if terminal {
                format!("{CLEAR}{text}")
            } else {
                text + "\n"
            }
        };
        if !print(&text)? {
            return Ok(ExitCode::SUCCESS);
        }
        // after a time of being stopped, no burst of catching up
        due = (due + interval).max(now.taken);
        before = now;
    }
}
