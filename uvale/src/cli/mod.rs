//! Commands.

pub mod ctl;
pub mod ctl_device;
pub mod ctl_parse;
pub mod daemon;
pub mod log;
pub mod param;
pub mod run;
pub mod settings;
pub mod show;
pub mod show_stop;
pub mod stats;
pub mod stats_watch;
pub mod table;
pub mod wait;
mod worlds;

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
    /// Show counters of ports and rings, with drops by reason
    Stats(stats::Args),
    /// List ports
    Ports(show::Args),
    /// List switches with their ports
    Switches(show::Args),
    /// Show a switch's forwarding table
    Fdb(show::FdbArgs),
    /// Wait until ports are there
    Wait(wait::Args),
    /// Manage switches and persistent ports (vale-ctl's options)
    Ctl(ctl::Args),
    /// Show the daemon, who uses it, and its memory
    Status(show::Args),
    /// Ask the daemon to leave
    Stop(show_stop::Args),
    /// Measure throughput and wake-ups, beside what two bare processes can do
    Bench(uvale::bench::Args),
}

/// The command line.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Gen(args) => {
            ctl_device::prepare_environment(None, true);
            run::under_shim().map(|()| uvale::generator::run(args, &show::port_hint))
        }
        Command::Stats(args) => stats::run(args),
        Command::Ports(args) => show::ports(args),
        Command::Switches(args) => show::switches(args),
        Command::Fdb(args) => show::fdb(args),
        Command::Wait(args) => wait::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Status(args) => show::status(args),
        Command::Stop(args) => show_stop::run(args),
        Command::Bench(args) => Ok(uvale::bench::run(args)),
    };
    outcome.unwrap_or_else(|why| {
        uvale::output::line(format_args!("uvale: {why}"));
        ExitCode::FAILURE
    })
}
