//! How much is said to the person, by `NMSHIM_VERBOSE`: the same wherever a program is served from.

/// When a line is worth printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// nothing works
    Trouble = 0,
    /// a request was refused
    Refusal = 1,
    /// what happens
    Trace = 2,
}

/// The variable.
pub const ENV_VERBOSE: &str = "NMSHIM_VERBOSE";
/// Reasons that are shown where nobody has set how much is to be said.
pub const MAX_REASONS: usize = 10;

/// How much is said.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// levels up to this one
    level: i8,
    /// a reason that was given is not given again, and there is an end
    pub once: bool,
}

impl Manner {
    /// As `set` says, or else the variable; or else by who reads it: a terminal, or CI.
    pub fn new(set: Option<i8>, is_terminal: bool) -> Self {
        let variable = || std::env::var(ENV_VERBOSE).ok()?.trim().parse().ok();
        let set = set.or_else(variable);
        let ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
        let has_reader = ci || is_terminal;
        Self {
            level: set.unwrap_or(if has_reader { 1 } else { 0 }),
            once: set.is_none_or(|level| level < 1),
        }
    }

    /// Is a line of that level printed?
    pub fn says(&self, level: Level) -> bool {
        level as i8 <= self.level
    }
}
