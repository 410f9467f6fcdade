//! The command `uvale`.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` | `uvale run`: the shim's environment, programs that it does not reach, private worlds |
//! | `daemon.rs`, `spawn.rs`, `log.rs` | `uvale daemon`; one in the background, and where its log goes |
//! | `settings.rs` | the configuration file |
//! | `metrics.rs` | `uvale daemon --metrics` |
//! | `show.rs`, `nics.rs`, `guests.rs`, `worlds.rs` | `ports`, `switches`, `fdb`, `status`; where else daemons answer |
//! | `show_stop.rs`, `wait.rs` | `uvale stop`; `uvale wait` |
//! | `stats.rs` | `uvale stats` |
//! | `top.rs` | `uvale top` |
//! | `capture.rs`, `extcap.rs` | `uvale capture`; the same for Wireshark |
//! | `trace.rs` | `uvale trace` |
//! | `ctl.rs`, `ctl_parse.rs`, `ctl_device.rs` | `uvale ctl`, over `/dev/netmap` |
//! | `nic.rs`, `nic_list.rs` | `uvale nic`: interfaces of ours |
//! | `nic_helper.rs` | `uvale nic-helper` |
//! | `nic_runner.rs` | what the daemon starts for each NIC on a switch |
//! | `ptnet_driver.rs` | drives a ptnet device of a guest, for `uvale nic add --ptnet` |
//! | `param.rs` | `uvale ctl param` |
//! | `test_run.rs` | what `uvale test` starts for each run |
//! | `install.rs`, `manual.rs` | `uvale install`; manual pages and completions |
//! | `help.rs` | what stands below the options in `--help` |
//! | `table.rs` | tables, and numbers with units |
//!
//! `uvale gen`, `uvale link`, `uvale test`, `uvale bench` and `uvale vm` are crates of their own.
#![deny(unsafe_code)]

pub mod capture;
pub mod ctl;
pub mod ctl_device;
pub mod ctl_parse;
pub mod daemon;
pub mod extcap;
mod guests;
mod help;
mod install;
pub mod log;
mod manual;
mod metrics;
pub mod nic;
pub mod nic_helper;
mod nic_list;
pub mod nic_runner;
pub mod nics;
mod param;
pub mod ptnet_driver;
pub mod run;
pub mod settings;
pub mod show;
pub mod show_stop;
pub mod spawn;
pub mod stats;
pub mod table;
pub mod test_run;
pub mod top;
pub mod trace;
pub mod wait;
mod worlds;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// netmap's VALE switches and pipes in userspace: programs that open /dev/netmap run unchanged,
/// with no kernel module
#[derive(Parser)]
#[command(version, max_term_width = 100, color = clap::ColorChoice::Never, after_help = help::UVALE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program so that it finds /dev/netmap
    #[command(after_help = help::RUN)]
    Run(run::Args),
    /// Serve a world in the foreground (normally started by itself when first needed)
    #[command(after_help = help::DAEMON)]
    Daemon(daemon::Args),
    /// Generate, receive, replay and record packets (pkt-gen's options)
    #[command(after_help = help::GEN)]
    Gen(uvale_generator::Args),
    /// Show counters of ports and rings, with drops by reason
    #[command(after_help = help::STATS)]
    Stats(stats::Args),
    /// Show ports on the terminal, with rates, drops and who has them open, again and again
    #[command(after_help = top::HELP)]
    Top(top::Args),
    /// Capture what ports send and receive, for tcpdump, tshark and Wireshark
    #[command(after_help = capture::HELP)]
    Capture(capture::Args),
    /// Show what happens to each packet, and why
    #[command(after_help = trace::HELP)]
    Trace(trace::Args),
    /// List ports in Wireshark
    #[command(after_help = extcap::HELP)]
    Extcap(extcap::Args),
    /// List ports
    #[command(after_help = help::PORTS)]
    Ports(show::PortsArgs),
    /// List switches with their ports
    #[command(after_help = help::SWITCHES)]
    Switches(show::Args),
    /// Show a switch's forwarding table
    #[command(after_help = help::FDB)]
    Fdb(show::FdbArgs),
    /// Wait until ports exist
    #[command(after_help = help::WAIT)]
    Wait(wait::Args),
    /// Manage switches and persistent ports (vale-ctl's options)
    #[command(after_help = help::CTL)]
    Ctl(ctl::Args),
    /// Show the daemon, who uses it, and its memory
    #[command(after_help = help::STATUS)]
    Status(show::Args),
    /// Ask the daemon to exit
    #[command(after_help = help::STOP)]
    Stop(show_stop::Args),
    /// Make, list and remove network interfaces between the host and netmap programs or switches
    #[command(after_help = help::NIC)]
    Nic(nic::Args),
    /// Open network interfaces for users that an administrator allowed (needs privileges)
    #[command(after_help = help::NIC_HELPER)]
    NicHelper(nic_helper::Args),
    /// Bring in what arrives at a NIC on a switch (started by the daemon)
    #[command(hide = true)]
    NicRunner(nic_runner::Args),
    /// Drive a ptnet device of this guest (started by `uvale nic add --ptnet`)
    #[command(hide = true)]
    PtnetDriver(ptnet_driver::Args),
    /// Carry out one run of a case (started by `uvale test`)
    #[command(hide = true)]
    TestRun(test_run::Args),
    /// Give a port to a virtual machine
    #[command(subcommand, after_help = help::VM)]
    Vm(qemu_glue::Args),
    /// Join two ports by a wire that delays, loses, doubles, reorders or corrupts packets
    #[command(after_help = uvale_impair::EXAMPLE)]
    Link(uvale_impair::Args),
    /// Test network functions: cases in files say what is sent and what is to come
    #[command(after_help = uvale_test::command::EXAMPLE)]
    Test(uvale_test::command::Args),
    /// Install programs, libraries, headers, manual pages and completions; remove them again
    #[command(after_help = install::HELP)]
    Install(install::Args),
    /// Print what makes a shell complete commands, options and values
    #[command(hide = true, after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of uvale, or write one for each command
    #[command(hide = true, after_help = help::MAN)]
    Man {
        /// The folder to write them to
        folder: Option<std::path::PathBuf>,
    },
    /// Measure throughput and wake-ups, compared with two bare processes
    #[command(after_help = help::BENCH)]
    Bench(uvale_bench::Args),
}

/// The command line.
fn main() -> ExitCode {
    let cli = Cli::parse_from(extcap::with_subcommand(std::env::args_os()));
    let outcome = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Gen(args) => {
            ctl_device::prepare_environment(None, true);
            run::under_shim().map(|()| uvale_generator::run(args, &show::port_hint))
        }
        Command::Stats(args) => stats::run(args),
        Command::Top(args) => top::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Extcap(args) => extcap::run(&args),
        Command::Ports(args) => show::ports(args),
        Command::Switches(args) => show::switches(args),
        Command::Fdb(args) => show::fdb(args),
        Command::Wait(args) => wait::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Status(args) => show::status(args),
        Command::Stop(args) => show_stop::run(args),
        Command::Nic(args) => nic::run(args),
        Command::NicHelper(args) => nic_helper::run(args),
        Command::NicRunner(args) => nic_runner::run(&args),
        Command::Link(args) => {
            ctl_device::prepare_environment(None, true);
            run::under_shim().and_then(|()| uvale_impair::run(&args))
        }
        Command::PtnetDriver(args) => ptnet_driver::run(&args),
        Command::TestRun(args) => test_run::run(&args),
        Command::Vm(args) => qemu_glue::run(args),
        Command::Test(args) => uvale_test::command::run(&args),
        Command::Install(args) => install::run(args, &Cli::command()),
        Command::Completions { shell } => manual::completions(&Cli::command(), shell),
        Command::Man { folder } => manual::write(&Cli::command(), folder.as_deref()),
        Command::Bench(args) => run::can_be_preloaded().map(|()| uvale_bench::run(args)),
    };
    outcome.unwrap_or_else(|why| {
        uvale_tools::output::line(format_args!("uvale: {why}"));
        ExitCode::FAILURE
    })
}
