//! `uvale top`: ports on a screen, with rates, drops by reason, and who has what open.
//!
//! | file | what |
//! |---|---|
//! | `feed.rs` | a thread that asks the daemon again and again, and waits for one that is gone |
//! | `rows.rs` | a line a port: which are shown, in which order |
//! | `state.rs` | what is on the screen, and what keys change |
//! | `view.rs` | the screen |
//! | `screen.rs` | the terminal: taken, given back, its keys |
//! | `plain.rs` | `--once`: a table for scripts |

mod feed;
mod plain;
mod rows;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::show::Place;
use super::stats::{self, Chosen};
use rows::Column;

/// Shows ports on the terminal, again and again: rates, drops by reason, and who has them open.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Only these: a port, a switch, or a pattern with * and ?
    #[arg(value_name = "PORT")]
    names: Vec<String>,
    /// Print one interval as a table and end; so it does where there is no terminal
    #[arg(long)]
    once: bool,
    /// The same as JSON, as `uvale stats --watch --json` has it
    #[arg(long)]
    json: bool,
    /// Ask every SECONDS
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = stats::interval)]
    interval: Duration,
    /// Begin sorted by this column; numbers from the highest down
    #[arg(long, short, value_name = "COLUMN", default_value = "name")]
    sort: Column,
}

/// Of `uvale top`.
pub const HELP: &str = "\
Keys: q ends, arrows choose a port, s and S sort by the next and the previous column, r turns the order round,
/ filters by a pattern, blank holds the screen

Examples:
  uvale top --sort drops 'vale0:*'
  uvale top --once --interval 5";

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let chosen = Chosen::new(args.names);
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if args.once || args.json || !is_terminal {
        return plain::run(&args.place, &chosen, args.interval, args.sort, args.json);
    }
    let state = state::State::new(chosen, args.sort, args.place.dir(), args.interval);
    screen::run(args.place, args.interval, state)
}
