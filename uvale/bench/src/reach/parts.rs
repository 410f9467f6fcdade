//! What workers do in this section.

use serde::{Deserialize, Serialize};

use super::{bare, syncs};
use crate::board::Stage;

/// How `uvale run` reaches a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    Notify,
    Trap,
}

impl Reach {
    /// The value of `--reach`.
    pub fn option(self) -> &'static str {
        match self {
            Self::Notify => "--reach=notify",
            Self::Trap => "--reach=trap",
        }
    }
}

/// What a worker does in this section. Except for who answers, each counts its calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Part {
    /// makes calls that are handed over to the one at the other end of its standard output
    Calls,
    /// answers them
    Answers,
    /// makes calls that are trapped
    Traps,
    /// syncs a port, past the C library; with a packet each time, or with none
    Syncs { switch: String, with_packet: bool },
}

impl Part {
    /// Does it open ports?
    pub fn is_netmap(&self) -> bool {
        matches!(self, Self::Syncs { .. })
    }

    /// Does it count calls?
    pub fn counts(&self) -> bool {
        !matches!(self, Self::Answers)
    }
}

/// Runs a worker's part.
pub fn perform(stage: &Stage<'_>, part: &Part) -> Result<(), String> {
    match part {
        Part::Calls => bare::call(stage),
        Part::Answers => bare::answer(stage),
        Part::Traps => bare::trap(stage),
        Part::Syncs {
            switch,
            with_packet,
        } => syncs::sync(stage, switch, *with_packet),
    }
}
