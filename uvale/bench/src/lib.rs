//! `uvale bench`: how fast packets go through the shim and the public ABI, compared with two bare
//! processes on the same machine in the same minute.
//!
//! | file | what |
//! |---|---|
//! | `suites.rs`, `suites/*.rs`, `shapes.rs` | what is measured and by which workers |
//! | `contest.rs` | columns that are measured in turns |
//! | `measure.rs`, `histogram.rs` | windows, turns, medians; latencies |
//! | `figure.rs` | what comes of it, with ranges and ratios |
//! | `worker.rs` | the parts that worker processes play |
//! | `traffic.rs`, `load.rs`, `port.rs`, `ring.rs` | netmap ports by the public ABI: rates, latencies |
//! | `limit.rs`, `limit/*.rs` | the bare loops, the *limit* |
//! | `wake.rs` | round trips, and waking a receiver that blocks in poll; a bare socketpair |
//! | `messages.rs`, `iceoryx.rs` | messages by a socketpair, by a channel, by iceoryx2 |
//! | `nic.rs` | NIC ports over veth pairs, and the same by AF_PACKET and AF_XDP alone |
//! | `reach.rs` | syncs of programs that no preload reaches, and the kernel's part of them alone |
//! | `memif.rs`, `memif/*` | DPDK's testpmd over memif and over rings; latencies over memif |
//! | `preload.rs` | what the shim costs a program that has nothing to do with netmap |
//! | `memory.rs` | what worlds and ports take |
//! | `board.rs`, `temporary.rs` | the memory that all share; directories |
//! | `world.rs`, `cpus.rs`, `addresses.rs` | a daemon of its own, processes, processors, addresses |
//! | `conduct.rs`, `run.rs`, `options.rs` | a run, what suites do with it, the command line |
//! | `report.rs`, `table.rs`, `plot.rs`, `targets.rs`, `compare.rs`, `difference.rs`, `machine.rs` | what is said |
//! | `raw.rs`, `reach/raw.rs`, `nic/{socket,xdp}.rs` | all that needs unsafe code |
#![deny(unsafe_code)]

mod addresses;
mod board;
mod compare;
mod conduct;
mod contest;
mod cpus;
mod difference;
mod figure;
mod histogram;
mod iceoryx;
mod limit;
mod load;
mod machine;
mod measure;
mod memif;
mod memory;
mod messages;
mod nic;
mod options;
mod plot;
mod port;
mod preload;
#[allow(unsafe_code)]
mod raw;
mod reach;
mod report;
mod ring;
mod run;
mod shapes;
mod suites;
mod table;
mod targets;
mod temporary;
mod traffic;
mod wake;
mod worker;
mod world;

use std::process::ExitCode;

pub use options::Args;
use uvale_tools::output;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let result = match &args.worker {
        Some(spec) => preload::worker(spec)
            .or_else(|| memory::worker(spec))
            .or_else(|| nic::ground::worker(spec))
            .unwrap_or_else(|| worker::run(spec)),
        None => conduct::conduct(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            output::line(format_args!("uvale: bench: {why}"));
            ExitCode::FAILURE
        }
    }
}
