//! Everything that was measured, as `--json` prints it.

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use super::figure::Figure;
use super::machine::Machine;
use super::targets::Target;

/// Value of `format`, by which a file is known to be one of these.
pub const FORMAT: &str = "uvale-bench";
/// Value of `version`. It rises when figures of one version cannot be compared with those of another one.
pub const VERSION: u32 = 1;

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: String,
    pub version: u32,
    pub machine: Machine,
    /// processors that were used
    pub processors: Vec<usize>,
    /// load average before the start
    pub load: f64,
    /// length of a window in milliseconds, and how many of them
    pub window_ms: u64,
    pub windows: usize,
    pub figures: Vec<Figure>,
    pub targets: Vec<Target>,
    /// with `--compare`: between that file and this run
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Difference>,
    /// with `--against`: between that build and this one
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Difference>,
    /// what was not measured, and why
    pub skipped: Vec<String>,
    /// what makes the figures less certain
    pub notes: Vec<String>,
}
