//! `uvale vm`: ports of virtual machines. One process for each guest, an ordinary client of the daemon: it opens a
//! port, and serves a device or a network backend on a socket that QEMU connects to.
//!
//! | file | what |
//! |---|---|
//! | `guest_ram.rs`, `sigbus.rs` | a guest's RAM, mapped; the end when it is cut short |
//! | `event_fd.rs` | eventfds of another process: checked, and signalled without ever waiting |
//! | `guest_port.rs` | what all of them have in common: options, the port, messages |
//! | `guest_shown.rs` | what `uvale ports` shows of a guest |
//! | `socket_place.rs` | where a socket is: a stale one is replaced, one in use refused, ours removed in the end |
//! | `qemu_options.rs` | the options that QEMU gets for what is served here |
//! | `address.rs` | MAC addresses that ports always have |
//! | `machine.rs`, `machine/` | `uvale vm run`: all of a guest: these processes, and QEMU with its options |
//! | `dgram.rs`, `dgram/` | `uvale vm dgram`: frames over a socket: QEMU's `-netdev dgram` and `stream`, passt |
//! | `vhost.rs`, `vhost/` | `uvale vm vhost`: a virtio-net device over vhost-user |
//! | `ptnet.rs`, `ptnet/` | `uvale vm ptnet`: the port's rings in the guest, for netmap's ptnet driver |
//! | `pci.rs`, `vfio.rs`, `guest_memory.rs` | PCI devices that QEMU finds over vfio-user, and the RAM it gives them |
#![deny(unsafe_code)]

#[macro_use]
mod qemu_options;

mod address;
mod dgram;
mod event_fd;
mod guest_memory;
mod guest_port;
mod guest_ram;
mod guest_shown;
mod machine;
mod pci;
mod ptnet;
mod sigbus;
mod socket_place;
mod vfio;
mod vhost;

#[cfg(feature = "driver")]
pub use vhost::driver;
/// What fuzz targets run.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::ptnet::fuzzing::ptnet;
    pub use crate::vhost::fuzzing::vhost;
}

use std::process::ExitCode;

/// The devices and backends.
#[derive(clap::Subcommand)]
pub enum Args {
    /// Serve Ethernet frames over a Unix socket: QEMU's -netdev dgram and stream, passt
    #[command(after_help = dgram::EXAMPLE)]
    Dgram(dgram::Args),
    /// Print or run all commands of a guest: those for its ports, and QEMU
    #[command(after_help = machine::EXAMPLE)]
    Run(machine::Args),
    /// Become a program that ends when the process does which started it
    #[command(hide = true)]
    Become(machine::Become),
    /// Serve a virtio-net device over vhost-user: QEMU, cloud-hypervisor, libvirt
    #[command(after_help = vhost::EXAMPLE)]
    Vhost(vhost::Args),
    /// Serve netmap's ptnet devices over vfio-user: netmap in the guest uses the port's own rings
    #[command(after_help = ptnet::EXAMPLE)]
    Ptnet(ptnet::Args),
}

/// Runs the command until the guest or a signal ends it.
pub fn run(args: Args) -> Result<ExitCode, String> {
    // What process lists show, and `uvale ports`.
    let name = match &args {
        Args::Dgram(_) => c"uvale vm dgram",
        Args::Vhost(_) => c"uvale vm vhost",
        Args::Ptnet(_) => c"uvale vm ptnet",
        Args::Run(_) | Args::Become(_) => c"uvale vm",
    };
    let _ = rustix::thread::set_name(name);
    match args {
        Args::Dgram(args) => args.port.end(dgram::run(&args)),
        Args::Run(args) => machine::run(&args),
        Args::Become(args) => args.run(),
        Args::Vhost(args) => args.port.end(vhost::run(&args)),
        Args::Ptnet(args) => args.port.end(ptnet::run(&args)),
    }
}
