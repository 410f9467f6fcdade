//! `uvale test`: network functions under test, declared in a file.
//!
//! | file | what |
//! |---|---|
//! | `command.rs` | options, files, which runs are chosen |
//! | `file.rs` | a file of cases: read, checked, expanded |
//! | `runs.rs` | all runs, from preparation to the last report |
//! | `schedule.rs` | processes side by side |
//! | `result.rs`, `keep.rs` | what has come of a run; its captures and logs |
//! | `report.rs`, `junit.rs` | what a person reads, what CI reads |
//! | `plan.rs` | one run of a case: what its process is given, and what it answers |
//! | `run.rs` | that process: the run itself |
#![forbid(unsafe_code)]

pub mod command;
mod file;
mod junit;
mod keep;
// what is said nowhere else is said by the names
#[allow(missing_docs)]
pub mod plan;
mod report;
mod result;
pub mod run;
mod runs;
mod schedule;

pub use keep::abandon;
