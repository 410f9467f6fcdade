//! `uvale vm ptnet`: a port as netmap's paravirtual devices, served to QEMU over vfio-user. The guest's netmap driver
//! maps the port's rings and buffers, and a sync loop here does what its ioctls would do.
//!
//! | file | what |
//! |---|---|
//! | `opened.rs` | the port, and what is shown of it |
//! | `private_memory.rs` | a memory for the port alone, if it would share that of NICs |
//! | `memory_device.rs` | `ptnetmap-memdev`: the port's region as a BAR |
//! | `network_device.rs`, `registers.rs` | `ptnet`: commands and kicks of the driver |
//! | `sync_loop.rs`, `part.rs`, `csb.rs` | the loops, and the CSB in the guest's RAM |
//! | `known.rs`, `pace.rs` | whose turn it is, and when a guest need not be asked for kicks |
//! | `still.rs` | whether the guest's writes arrive |
//! | `interrupts.rs` | eventfds by which the guest is interrupted |
//! | `neighbors.rs` | who else is in the port's memory |
//! | `clients.rs` | who is connected |

mod clients;
mod csb;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod interrupts;
mod known;
mod memory_device;
mod neighbors;
mod network_device;
mod opened;
mod pace;
mod part;
mod private_memory;
mod registers;
mod still;
mod sync_loop;

/// Most pairs of rings that a device has registers for.
pub const MOST_PAIRS: usize = registers::MOST_RINGS / 2;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd};
use uvale_port::Port;
use uvale_tools::mac::{Mac, parse_mac};
use uvale_tools::output::{line, write};

use crate::event_fd;
use crate::guest_port::{PortArgs, absolute};
use crate::guest_shown::GuestShown;
use crate::pci::Bar;
use crate::qemu_options::vfio_user;
use crate::socket_place::SocketPlace;
use crate::vfio::{Clients, Device, Layout, serve};
use clients::Connected;
use interrupts::Interrupts;
use memory_device::MemoryDevice;
use neighbors::Neighbors;
use network_device::{NetworkDevice, Parts};
use opened::Opened;
use sync_loop::Loops;
use uvale_tools::signals::Signals;

/// Shown under --help.
pub const EXAMPLE: &str = "\
Makes two sockets, NAME-mem.sock and NAME-net.sock, and prints the options with which QEMU (10.1 or
later) connects to them. The guest needs netmap's ptnet driver and shared RAM (share=on). It can read
and write all of the memory that its port is in. A port on a switch has a memory of its own. All pipes
of a base share one (netmap:x{1, netmap:x{2, netmap:x): give each pair of guests a base of its own

Examples:
  uvale vm ptnet --port vale0:vm1 --socket /tmp/vm1
  uvale vm ptnet --port netmap:x{1 --socket /tmp/a &
  uvale vm ptnet --port netmap:x}1 --socket /tmp/b";

/// Options of `uvale vm ptnet`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub port: PortArgs,
    /// Paths of the sockets to make: DIR/NAME-mem.sock and DIR/NAME-net.sock
    #[arg(long, value_name = "DIR/NAME")]
    socket: PathBuf,
    /// Queue pairs (a tx and an rx ring each) of a new port [default: 1, or what the port has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    queues: Option<u16>,
    /// Slots of each ring of a new port [default: 1024, or what the port has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16384))]
    slots: Option<u32>,
    /// Use a thread for each queue pair, not one for all of them
    #[arg(long)]
    thread_per_queue: bool,
    /// MAC address of the guest's interface [default: derived from the names of the port and the host]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    mac: Option<Mac>,
    /// Type of the BAR for the registers
    #[arg(long, value_enum, default_value_t = RegisterBar::Mem)]
    bar0: RegisterBar,
    /// How long to poll for packets before sleeping
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    spin: u32,
    /// How long to wait for another QEMU when one has disconnected
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    linger: u32,
    /// Keep waiting for another QEMU, until a signal comes
    #[arg(long, conflicts_with = "linger")]
    keep: bool,
}

/// Which kind of BAR the registers are in: posted writes, or what FreeBSD's driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RegisterBar {
    /// Memory: the guest does not wait for a kick (Linux)
    Mem,
    /// I/O ports (FreeBSD)
    Io,
}

impl RegisterBar {
    /// The BAR.
    pub fn bar(self, len: u32) -> Bar {
        match self {
            Self::Mem => Bar::Memory(len),
            Self::Io => Bar::Io(len),
        }
    }
}

/// Between two looks at who else is in the port's memory, and at whether the interface of a NIC port is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    event_fd::ready()?;
    let signals = Signals::take()?;
    let sockets = ["mem", "net"].map(|which| args.socket(which));
    let opened = Opened::open(args)?;
    let listen = |path: &Path| SocketPlace::bind(path, |path| UnixListener::bind(path));
    let [mem, net] = sockets.each_ref().map(|path| listen(path));
    let ((_mem_place, mem), (_net_place, net)) = (mem?, net?);
    crate::sigbus::take(&sockets.each_ref().map(PathBuf::as_path))?;

    let connected = Arc::new(Connected::new().map_err(|e| no_resources(&e))?);
    let guest = Guest::new(args, opened, connected.clone())?;
    guest.begin(mem, net)?;
    write(&args.describe(&sockets))?;
    let ended = guest.wait(args, &signals, &connected);
    guest.end(args);
    ended.map(|()| ExitCode::SUCCESS)
}

fn no_resources(error: &dyn std::fmt::Display) -> String {
    format!("not enough descriptors or threads to serve a guest: {error}")
}

impl Args {
    fn socket(&self, which: &str) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(format!("-{which}.sock"));
        PathBuf::from(path)
    }

    /// What to type.
    fn describe(&self, sockets: &[PathBuf; 2]) -> String {
        let devices = sockets.iter().flat_map(|path| vfio_user(&absolute(path)));
        self.port
            .qemu_options(" (10.1 or later)", &devices.collect())
    }
}

/// A guest that is served.
struct Guest {
    /// kept for as long as a guest may map it
    opened: Opened,
    port: Arc<Port>,
    loops: Arc<Loops>,
    interrupts: Arc<Interrupts>,
    connected: Arc<Connected>,
    bar0: RegisterBar,
}

impl Guest {
    fn new(args: &Args, mut opened: Opened, connected: Arc<Connected>) -> Result<Self, String> {
        let rings = [opened.facts.tx_rings, opened.facts.rx_rings].map(|n| n as usize);
        let interrupts = Arc::new(Interrupts::new(rings[0] + rings[1]));
        let spin = Duration::from_micros(args.spin.into());
        let loops = Loops::new(
            std::mem::take(&mut opened.ports),
            rings,
            interrupts.clone(),
            spin,
        );
        Ok(Self {
            port: opened.port.clone(),
            opened,
            loops: Arc::new(loops.map_err(|e| no_resources(&e))?),
            interrupts,
            connected,
            bar0: args.bar0,
        })
    }

    /// From now on QEMU finds both devices.
    fn begin(&self, mem: UnixListener, net: UnixListener) -> Result<(), String> {
        let memory = MemoryDevice::new(self.opened.pools, self.bar0);
        let layout = memory.layout(self.opened.memfd.as_fd().as_raw_fd());
        self.serve("memory device", mem, layout, memory)?;
        let network = NetworkDevice::new(Parts {
            facts: self.opened.facts,
            bar: self.bar0,
            loops: self.loops.clone(),
            interrupts: self.interrupts.clone(),
            set_header: opened::header_setter(&self.port),
            say: {
                let name = self.port.name().to_owned();
                Box::new(move |what| line(format_args!("uvale vm: {name}: {what}")))
            },
        });
        let layout = network.layout();
        self.serve("network device", net, layout, network)
    }

    fn serve(
        &self,
        name: &str,
        listener: UnixListener,
        layout: Layout,
        mut device: impl Device + Send + 'static,
    ) -> Result<(), String> {
        let clients: Arc<dyn Clients> = self.connected.clone();
        let run = move || {
            if let Err(e) = serve(&listener, &layout, &mut device, &*clients) {
                line(format_args!("uvale vm: QEMU cannot connect any more: {e}"));
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        thread.map(drop).map_err(|e| no_resources(&e))
    }

    /// Until a signal comes, QEMU has been gone for long enough, or the port is lost.
    fn wait(&self, args: &Args, signals: &Signals, connected: &Connected) -> Result<(), String> {
        let is_nic = self.port.attachment().binding().is_nic;
        let mut neighbors = Neighbors::default();
        let sockets = ["mem", "net"].map(|which| args.socket(which));
        let mut shown = GuestShown::new(&sockets.each_ref().map(PathBuf::as_path));
        loop {
            shown.tell(&self.port, connected.pid());
            if connected.is_somebody()
                && let Some(what) = neighbors.look(&self.port)
            {
                line(format_args!("uvale vm: {}: {what}", self.port.name()));
            }
            let linger = Duration::from_secs(args.linger.into());
            let rest = connected.rest(linger).filter(|_| !args.keep);
            if rest.is_some_and(|rest| rest.is_zero()) {
                return Ok(());
            }
            let longest = match is_nic || connected.is_somebody() {
                true => Some(rest.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)),
                false => rest,
            };
            let longest = longest.and_then(|time| Timespec::try_from(time).ok());
            let mut fds = [
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(connected, PollFlags::IN),
                PollFd::new(self.port.session().connection(), PollFlags::empty()),
            ];
            let _ = poll(&mut fds, longest.as_ref());
            let is_lost = !fds[2].revents().is_empty();
            if signals.has_come() {
                return Ok(());
            }
            if is_lost || is_nic && !self.port.is_alive() {
                return Err(args.port.lost());
            }
        }
    }

    /// Gives the port up. Servers of QEMU that still run end with the process.
    fn end(self, args: &Args) {
        let mut ports = self.loops.end();
        ports.push(self.port);
        drop(self.opened);
        // The same port may be there twice.
        ports
            .into_iter()
            .filter_map(Arc::into_inner)
            .for_each(Port::close);
        line(format_args!(
            "uvale vm: {}: {} kicks, {} interrupts",
            args.port.port,
            self.loops.kicks(),
            self.interrupts.raised()
        ));
    }
}
