//! `uvale test`: network functions under test, declared in a file.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` | that process: the run itself |
//! | `plan.rs` | one run of a case: what its process is given, and what it answers |
#![forbid(unsafe_code)]

// what is said nowhere else is said by the names
#[allow(missing_docs)]
pub mod plan;
pub mod run;
