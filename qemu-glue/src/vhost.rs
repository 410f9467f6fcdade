//! `uvale vm vhost`: a virtio-net device over vhost-user, for QEMU, cloud-hypervisor and libvirt, and any guest.
//!
//! | file | what |
//! |---|---|
//! | `serve.rs`, `serve/attend.rs` | the loop: sync, guest's rings, port's rings, sleep; descriptors |
//! | `listen.rs` | who connects to whom |
//! | `front.rs`, `message.rs` | the front end's requests |
//! | `voice.rs` | what is said about guests, within limits |
//! | `features.rs` | what is offered |
//! | `vring.rs` | a ring as the front end describes it: started, enabled, where |
//! | `ring.rs` | a ring in the guest's RAM: chains, what is used, kicks and interrupts |
//! | `port_ring.rs`, `bytes.rs` | the slots of the port's rings; bytes that lie in several places |
//! | `transmit.rs`, `receive.rs` | packets from the guest, packets to it |
//! | `header.rs` | the virtio-net header |
//!
//! Nobody trusts the guest or its front end: a ring that is broken is out of service, with a sentence, and a front end
//! that talks nonsense is hung up on ([decision 28](../../docs/design/0028-vhost-user.md)).

mod bytes;
#[cfg(any(test, feature = "driver"))]
pub mod driver;
mod features;
#[cfg(any(test, fuzzing))]
// the fuzz target needs some of it
#[cfg_attr(fuzzing, allow(dead_code))]
mod fixture;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header;
mod listen;
mod message;
mod port_ring;
mod receive;
mod ring;
mod serve;
#[cfg(test)]
mod tests;
mod transmit;
mod voice;
mod vring;

use std::path::PathBuf;
use std::process::ExitCode;

use uvale_tools::mac::{Mac, parse_mac};
use uvale_tools::output;

use crate::event_fd;
use crate::guest_port::{PortArgs, absolute};
use crate::qemu_options::vhost_user;
use serve::Server;
use uvale_tools::signals::Signals;

/// Shown under --help.
pub const EXAMPLE: &str = concat!(
    "\
The guest's side, for --socket /tmp/vm1: QEMU with
  ",
    shared_ram!("1G"),
    "
  -chardev socket,id=c0,path=/tmp/vm1,reconnect-ms=1000 -netdev vhost-user,id=n0,chardev=c0
  -device virtio-net-pci,netdev=n0 (reconnect=1 before QEMU 9.2)
or cloud-hypervisor with --memory size=1G,shared=on --net vhost_user=true,socket=/tmp/vm1

Examples:
  uvale vm vhost --port vale0:vm1 --socket /tmp/vm1"
);

/// Options of `uvale vm vhost`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub port: PortArgs,
    /// Path of the socket to make, which QEMU connects to
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Connect to that socket instead of making it: QEMU's chardev with server=on, cloud-hypervisor with
    /// vhost_mode=server
    #[arg(long)]
    client: bool,
    /// End when the guest disconnects, instead of waiting for the next one
    #[arg(long)]
    once: bool,
    /// Queue pairs that the guest is offered, and rings of a new port
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    queues: u16,
    /// The guest's MAC address, for front ends that ask for it (QEMU has its own option: -device ...,mac=)
    #[arg(long, value_parser = parse_mac)]
    mac: Option<Mac>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    event_fd::ready()?;
    let signals = Signals::take()?;
    let mut server = Server::new(args, signals)?;
    output::write(&args.describe())?;
    let ended = server.run();
    server.close();
    ended.map(|()| ExitCode::SUCCESS)
}

impl Args {
    /// What to type.
    fn describe(&self) -> String {
        let how = match self.client {
            true => "server=on",
            false => "reconnect-ms=1000",
        };
        let options = vhost_user(0, &absolute(&self.socket), how, self.queues, None);
        self.port.qemu_options("", &options)
    }
}
