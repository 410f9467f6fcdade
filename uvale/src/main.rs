//! The `uvale` command: daemon, launcher, reports, generator.
#![deny(unsafe_code)]

#[cfg(not(loom))]
mod cli;

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    cli::main()
}

/// Under loom the library is empty (see `lib.rs`).
#[cfg(loom)]
fn main() {}
