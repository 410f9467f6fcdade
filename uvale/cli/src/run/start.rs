//! How a program is started so that it finds the device: as a person asks for it, or as its file says. One place for
//! all commands that start programs.

use std::process::Command;

use uvale_tools::reach::Reach;

use super::beside::Served;
use super::preload::{self, Shim, variable};
use super::reach::{Obstacle, Program};

/// Tells the shim how to reach the program and what that starts: `trap`, `preload`, or not set: as files say.
const ENV_REACH: &str = "NMSHIM_REACH";

/// How one program is started.
pub struct Start {
    way: Reach,
    is_preload_only: bool,
    /// to be in its environment
    shim: Option<Shim>,
    obstacle: Option<Obstacle>,
}

impl Start {
    /// Looks at the program of `command`, and chooses unless `asked` does.
    ///
    /// # Errors
    /// A sentence: there is no shim that could reach it.
    pub fn of(command: &Command, asked: Reach) -> Result<Self, String> {
        let path = variable(command, "PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        let program = Program::of(command.get_program(), &path);
        let mut way = match (asked, &program) {
            (Reach::Auto, Some(program)) => program.way(),
            (Reach::Auto, None) => Reach::Preload,
            (way, _) => way,
        };
        // Who is served from beside needs no shim, though its children may.
        let shim = match Shim::find() {
            Err(_) if way == Reach::Notify => None,
            found => Some(found?),
        };
        let (shim, obstacle) = match (shim, program) {
            (Some(shim), Some(program)) => {
                let (shim, obstacle) = program.reached_by(shim);
                (Some(shim), obstacle)
            }
            (shim, _) => (shim, None),
        };
        // Who asks for notify is served by it, and so is what it starts.
        let is_fatal = obstacle.as_ref().is_some_and(|o| o.is_fatal);
        let is_without = asked == Reach::Notify || is_fatal;
        if asked == Reach::Auto && is_fatal {
            way = obstacle.as_ref().and_then(|o| o.way).unwrap_or(way);
        }
        Ok(Self {
            way,
            is_preload_only: asked == Reach::Preload,
            shim: shim.filter(|_| !is_without),
            obstacle: obstacle.filter(|o| !o.is_passed_by(way)),
        })
    }

    /// What keeps the program from the device, for the person, whom `by` tells how to ask for another way.
    pub fn obstacle(&self, by: impl Fn(&str) -> String) -> Option<String> {
        self.obstacle.as_ref().map(|o| o.said(by))
    }

    /// Prepares the program's environment.
    pub fn enter(&self, command: &mut Command) {
        match self.way {
            Reach::Trap => command.env(ENV_REACH, "trap"),
            _ if self.is_preload_only => command.env(ENV_REACH, "preload"),
            _ => command.env_remove(ENV_REACH),
        };
        match &self.shim {
            Some(shim) => shim.enter(command),
            None => preload::leave(command),
        }
    }

    /// Its calls are handed over to who starts it: how that is done then. `verbose` as `uvale run -v`.
    pub fn served(&self, verbose: Option<i8>) -> Option<Served> {
        (self.way == Reach::Notify).then_some(Served { verbose })
    }
}
