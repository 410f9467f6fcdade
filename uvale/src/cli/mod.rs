//! Commands.

pub mod daemon;
pub mod run;
pub mod settings;
