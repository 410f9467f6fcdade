//! Sends back what comes over TCP:  tcp_echo PORT ADDRESS/BITS [TCP-PORT]
//!
//! uvale run -- tcp_echo vale0:echo 10.0.0.1/24 7
//!
//! The TCP/IP stack is smoltcp, in this process: ARP, pings and TCP connections at ADDRESS go past the kernel. All that
//! smoltcp needs of a port is the [`Device`] below.

mod shared {
    pub mod ending;
}

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use nm_user::{Interest, Port, Rx, Tx, wait};
use shared::ending;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

/// Connections at once.
const CONNECTIONS: usize = 16;
/// Bytes on their way in each direction of a connection.
const WINDOW: usize = 32 * 1024;
/// Bytes of a frame, its Ethernet header included.
const FRAME: usize = 1514;

fn main() -> ExitCode {
    ending::run("tcp_echo PORT ADDRESS/BITS [TCP-PORT]", parse, run)
}

/// The port, our address there, and the TCP port.
type Args = (String, Ipv4Cidr, u16);

fn parse(args: &[String]) -> Result<Args, Box<dyn Error>> {
    let (port, address, tcp_port) = match args {
        [port, address] => (port, address, "7"),
        [port, address, tcp_port] => (port, address, tcp_port.as_str()),
        _ => return Err(ending::WRONG.into()),
    };
    let address = address
        .parse()
        .map_err(|()| format!("{address} is not ADDRESS/BITS"))?;
    let tcp_port = tcp_port.parse().ok().filter(|port| *port != 0);
    let tcp_port = tcp_port.ok_or("the TCP port is a number from 1 to 65535")?;
    Ok((port.clone(), address, tcp_port))
}

fn run((port, address, tcp_port): Args) -> Result<Counts, Box<dyn Error>> {
    let ended = ending::flag()?;
    let mut device = Device {
        port: Port::open(&port)?,
        is_full: false,
    };
    // A MAC address of our own: locally administered, and as unique as the IP address.
    let [a, b, c, d] = address.address().octets();
    let mac = EthernetAddress([2, 0, a, b, c, d]);
    let mut interface = Interface::new(Config::new(mac.into()), &mut device, Instant::now());
    interface.update_ip_addrs(|addresses| {
        // There is room for more than one.
        let _ = addresses.push(IpCidr::Ipv4(address));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let buffer = || tcp::SocketBuffer::new(vec![0; WINDOW]);
    let handles: Vec<_> = (0..CONNECTIONS)
        .map(|_| sockets.add(tcp::Socket::new(buffer(), buffer())))
        .collect();

    let mut counts = Counts::default();
    while !ended.load(Relaxed) {
        let now = Instant::now();
        device.is_full = false;
        interface.poll(now, &mut device, &mut sockets);
        for handle in &handles {
            echo(sockets.get_mut(*handle), tcp_port, &mut counts)?;
        }
        // Until there is room, if that is what is missing; else until packets come, or TCP has to send. This also sends
        // what the stack has put into the tx ring.
        let wake = interface
            .poll_delay(now, &sockets)
            .map_or(ending::TICK, Into::into);
        let (interest, most) = if device.is_full {
            (Interest::TX, ending::TICK)
        } else {
            (Interest::RX, wake.min(ending::TICK))
        };
        wait(&mut [device.port.watch(interest)], Some(most))?;
    }
    Ok(counts)
}

#[derive(Default)]
struct Counts {
    connections: u64,
    bytes: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} connections, {} bytes sent back",
            self.connections, self.bytes
        )
    }
}

/// Listens, sends back what there is room for, and closes when the other side has.
fn echo(
    socket: &mut tcp::Socket<'_>,
    port: u16,
    counts: &mut Counts,
) -> Result<(), Box<dyn Error>> {
    if !socket.is_open() {
        socket.listen(port)?;
    }
    while socket.can_recv() && socket.can_send() {
        let room = socket.send_capacity() - socket.send_queue();
        let mut bytes = vec![0; room];
        let len = socket.recv_slice(&mut bytes)?;
        counts.bytes += socket.send_slice(&bytes[..len])? as u64;
    }
    if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
        socket.close();
        counts.connections += 1;
    }
    Ok(())
}

/// A port as smoltcp sees it.
struct Device {
    port: Port,
    /// something could not be sent
    is_full: bool,
}

impl phy::Device for Device {
    type RxToken<'a> = Packet<'a>;
    type TxToken<'a> = Slot<'a>;

    /// A packet, and a slot for the answer.
    fn receive(&mut self, _: Instant) -> Option<(Packet<'_>, Slot<'_>)> {
        let (tx, mut rx) = self.port.rings();
        let packets = rx.find(|rx| !rx.is_empty())?;
        let slot = room(tx);
        self.is_full |= slot.is_none();
        Some((Packet(packets), slot?))
    }

    fn transmit(&mut self, _: Instant) -> Option<Slot<'_>> {
        let slot = room(self.port.tx_rings());
        self.is_full |= slot.is_none();
        slot
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A tx ring in which there is room.
fn room<'a>(mut rings: impl Iterator<Item = Tx<'a>>) -> Option<Slot<'a>> {
    rings.find(|tx| tx.room() > 0).map(Slot)
}

/// The next packet of a ring.
struct Packet<'a>(Rx<'a>);

impl phy::RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(mut self, read: F) -> R {
        match self.0.packets().next() {
            // As large as a frame may be here, it lies in one slot.
            Some(packet) => read(packet.bytes()),
            None => read(&[]),
        }
    }
}

/// The next free slot of a ring.
struct Slot<'a>(Tx<'a>);

impl phy::TxToken for Slot<'_> {
    /// The frame is written where it will be sent from.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, write: F) -> R {
        if let Some(mut slot) = self.0.slot()
            && let Some(buffer) = slot.buffer().get_mut(..len)
        {
            let written = write(buffer);
            slot.send(len);
            return written;
        }
        // Not with buffers as large as a frame: it is lost, as any frame may be.
        write(&mut vec![0; len])
    }
}
