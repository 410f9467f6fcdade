//! Why a run ends before its last step.

use crate::plan::{Count, Verdict};

/// What there is, or the end of the run.
pub type Done<T = ()> = Result<T, Verdict>;

/// The function does not do what its case says.
pub fn failed(line: impl Into<Option<usize>>, why: impl Into<String>) -> Verdict {
    Verdict::Failed {
        line: line.into(),
        why: why.into(),
    }
}

/// An error of the system, however it is wrapped, without its number.
pub fn plain(error: &dyn std::fmt::Display) -> String {
    uvale_tools::output::plain(&std::io::Error::other(error.to_string()))
}

/// It could not be tried.
pub fn error(why: impl Into<String>) -> Verdict {
    Verdict::Error(why.into())
}

/// This machine cannot.
pub fn skipped(why: impl Into<String>) -> Verdict {
    Verdict::Skipped(why.into())
}

/// `1 frame`, `2 frames`.
pub fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// A count for people.
pub fn range(count: Count) -> String {
    match (count.min, count.max) {
        (min, max) if min == max => min.to_string(),
        (min, u64::MAX) => format!("{min} or more"),
        (min, max) => format!("{min} to {max}"),
    }
}
