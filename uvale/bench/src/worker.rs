//! Worker processes: `uvale bench --worker SPEC`, with the board as standard input.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use super::board::{Board, Stage};
use super::limit;
use super::nic::joining;
use super::nic::namespaces::Namespaces;
use super::nic::socket::{self, Version};
use super::nic::xdp;
use super::port::Port;
use super::raw;
use super::reach::parts::{self, Part, Reach};
use super::wake;
use uvale_wire::Carrier;

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// place on the board
    pub index: usize,
    /// group it starts and stops with
    pub group: usize,
    /// processor to stay on
    pub cpu: usize,
    /// go before all ordinary programs
    pub real_time: bool,
    /// where it goes first
    pub namespaces: Option<Namespaces>,
    /// is it to be served as a program that no preload reaches?
    pub reach: Option<Reach>,
    /// what is to carry the packets of its NIC port
    pub carrier: Carrier,
    /// its part
    pub role: Role,
}

/// The parts there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// limit loop: sends slots through a pipe
    LimitPipe { batch: u32, len: u16 },
    /// limit loop: sends into a switch
    LimitVale {
        lanes: Vec<usize>,
        batch: u32,
        len: u16,
    },
    /// limit loop: receives
    LimitReceive { lanes: Vec<usize> },
    /// netmap: sends packets from `smac` to `dmac`, which it writes first if `touch`
    Send {
        port: String,
        batch: u32,
        len: u16,
        dmac: u64,
        smac: u64,
        touch: bool,
    },
    /// netmap: receives, in a loop of NIOCRXSYNC or blocking in poll; reads the packets if `touch`
    Receive {
        port: String,
        blocking: bool,
        mac: u64,
        touch: bool,
    },
    /// AF_PACKET: sends
    PacketSend {
        interface: String,
        batch: u32,
        len: u16,
        dmac: u64,
        smac: u64,
    },
    /// AF_PACKET: receives
    PacketReceive { interface: String, version: Version },
    /// AF_XDP: sends
    XdpSend {
        interface: String,
        batch: u32,
        len: u16,
        dmac: u64,
        smac: u64,
    },
    /// AF_XDP: receives
    XdpReceive { interface: String },
    /// opens the port until it is joined, again and again
    Join { port: String, whole: bool },
    /// sends to its peer and waits for the answer, again and again
    Ping(wake::Way),
    /// answers
    Pong(wake::Way),
    /// sends the time now and then
    Pace(wake::Way),
    /// takes the time from sending to waking up
    Wake(wake::Way),
    /// calls that no preloaded library sees
    Reach(Part),
}

impl Role {
    /// Does it need the shim?
    pub fn is_netmap(&self) -> bool {
        match self {
            Self::LimitPipe { .. } | Self::LimitVale { .. } | Self::LimitReceive { .. } => false,
            Self::PacketSend { .. } | Self::PacketReceive { .. } => false,
            Self::XdpSend { .. } | Self::XdpReceive { .. } => false,
            Self::Send { .. } | Self::Receive { .. } | Self::Join { .. } => true,
            Self::Reach(part) => part.is_netmap(),
            Self::Ping(way) | Self::Pong(way) | Self::Pace(way) | Self::Wake(way) => {
                matches!(way, wake::Way::Netmap { .. })
            }
        }
    }

    /// Does it count packets that arrive, or calls that are done?
    pub fn receives(&self) -> bool {
        if let Self::Reach(part) = self {
            return part.counts();
        }
        matches!(
            self,
            Self::LimitReceive { .. }
                | Self::Receive { .. }
                | Self::PacketReceive { .. }
                | Self::XdpReceive { .. }
        )
    }

    /// Is it busy all the time, so that it should have its processor for itself?
    pub fn spins(&self) -> bool {
        matches!(
            self,
            Self::LimitPipe { .. }
                | Self::LimitVale { .. }
                | Self::LimitReceive { .. }
                | Self::PacketSend { .. }
                | Self::PacketReceive { .. }
                | Self::XdpSend { .. }
                | Self::XdpReceive { .. }
                | Self::Send { .. }
                | Self::Reach(_)
                | Self::Receive {
                    blocking: false,
                    ..
                }
        )
    }
}

/// Runs a worker to its end.
pub fn run(spec: &str) -> Result<(), String> {
    let spec: Spec = serde_json::from_str(spec).map_err(|e| format!("--worker: {e}"))?;
    let board = Board::from_stdin()?;
    if spec.real_time {
        raw::go_real_time(raw::PERFORMER).map_err(|e| format!("--real-time: {e}"))?;
    }
    super::cpus::pin(spec.cpu)?;
    if let Some(namespaces) = &spec.namespaces {
        namespaces.enter()?;
    }
    let stage = Stage::new(&board, spec.index, spec.group);
    match &spec.role {
        Role::LimitPipe { batch, len } => {
            let mut sender = limit::Sender::new(&board, 0).ok_or("no such lane")?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || Ok(sender.pipe(batch, len))))
        }
        Role::LimitVale { lanes, batch, len } => {
            let (table, batch, len) = (board.table(), *batch, *len);
            if let [lane] = lanes[..] {
                let mut sender = limit::Sender::new(&board, lane).ok_or("no such lane")?;
                return stage.perform(|running| {
                    stage.count(running, || Ok(sender.vale(table, batch, len)))
                });
            }
            let mut sender = limit::Flooder::new(&board, lanes).ok_or("no such lane")?;
            stage.perform(|running| stage.count(running, || Ok(sender.vale(table, batch, len))))
        }
        Role::LimitReceive { lanes } => {
            let mut receiver = limit::Receiver::new(&board, lanes).ok_or("no such lane")?;
            stage.perform(|running| {
                stage.count(running, || {
                    let (packets, bytes) = receiver.walk();
                    black_box(bytes);
                    if packets == 0 {
                        std::hint::spin_loop();
                    }
                    Ok(packets)
                })
            })
        }
        Role::Send {
            port,
            batch,
            len,
            dmac,
            smac,
            touch,
        } => {
            let packet = socket::packet(*dmac, *smac);
            let packet = touch.then_some(&packet[..usize::from(*len)]);
            send(
                &stage,
                &Port::open(port)?,
                *batch,
                *len,
                (*dmac, *smac),
                packet,
            )
        }
        Role::Receive {
            port,
            blocking,
            mac,
            touch,
        } => receive(&stage, &Port::open(port)?, *blocking, *mac, *touch),
        Role::PacketSend {
            interface,
            batch,
            len,
            dmac,
            smac,
        } => {
            let mut sender = socket::Sender::open(interface, *dmac, *smac)?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || sender.send(batch, len)))
        }
        Role::PacketReceive { interface, version } => {
            let mut receiver = socket::Receiver::open(interface, *version)?;
            stage.perform(|running| stage.count(running, || Ok(black_box(receiver.drain()).0)))
        }
        Role::XdpSend {
            interface,
            batch,
            len,
            dmac,
            smac,
        } => {
            let mut sender = xdp::Sender::open(interface, *dmac, *smac)?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || sender.send(batch, len)))
        }
        Role::XdpReceive { interface } => {
            let mut receiver = xdp::Receiver::open(interface)?;
            stage.perform(|running| stage.count(running, || Ok(black_box(receiver.drain()).0)))
        }
        Role::Join { port, whole } => joining::join(&stage, port, *whole),
        Role::Ping(way) => wake::ping(&stage, way),
        Role::Pong(way) => wake::pong(&stage, way),
        Role::Pace(way) => wake::pace(&stage, way),
        Role::Wake(way) => wake::wake(&stage, way),
        Role::Reach(part) => parts::perform(&stage, part),
    }
}

/// Sends whole batches, with `packet` written into each buffer; while a pipe has no room for one it asks again.
fn send(
    stage: &Stage<'_>,
    port: &Port,
    batch: u32,
    len: u16,
    (dmac, smac): (u64, u64),
    packet: Option<&[u8]>,
) -> Result<(), String> {
    let mut ring = port.tx()?;
    ring.address(dmac, smac);
    let batch = batch.min(ring.num_slots() - 1);
    stage.perform(|running| {
        stage.count(running, || {
            let ready = ring.space() >= batch;
            if ready {
                if let Some(packet) = packet {
                    ring.write(batch, packet).ok_or(OUTSIDE)?;
                }
                ring.fill(batch, len);
            }
            port.txsync()?;
            Ok(if ready { batch } else { 0 })
        })
    })
}

/// Says where `mac` is, then receives.
fn receive(
    stage: &Stage<'_>,
    port: &Port,
    blocking: bool,
    mac: u64,
    touch: bool,
) -> Result<(), String> {
    port.introduce(mac)?;
    let mut ring = port.rx()?;
    stage.perform(|running| {
        stage.count(running, || {
            if blocking {
                port.wait(100)?;
            } else {
                port.rxsync()?;
            }
            if touch {
                ring.read().ok_or(OUTSIDE)?;
            }
            let (packets, bytes) = ring.drain();
            black_box(bytes);
            Ok(packets)
        })
    })
}

const OUTSIDE: &str = "a buffer outside of the port's memory";
