//! Commands.

pub mod daemon;
pub mod run;
pub mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// netmap's VALE switches and pipes in userspace: programs that open /dev/netmap run unchanged,
/// with no kernel module
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program so that it finds /dev/netmap
    Run(run::Args),
    /// Serve a world in the foreground (normally started by itself when first needed)
    Daemon(daemon::Args),
    /// Generate, receive, replay and record packets (pkt-gen's options)
    Gen(uvale::generator::Args),
}

/// The command line.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Gen(args) => run::under_shim().map(|()| uvale::generator::run(args)),
    };
    outcome.unwrap_or_else(|why| {
        eprintln!("uvale: {why}");
        ExitCode::FAILURE
    })
}
