//! Worker processes: `uvale bench --worker SPEC`, with the board as standard input.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use super::board::{Board, Stage};
use super::iceoryx;
use super::limit::{part as limit, perform};
use super::load;
use super::memif::timed;
use super::messages;
use super::nic::joining;
use super::nic::namespaces::Namespaces;
use super::nic::socket::{self, Version};
use super::nic::xdp;
use super::raw;
use super::reach::parts::{self, Part, Reach};
use super::traffic;
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
    /// a loop of the limit
    Limit(limit::Part),
    /// netmap: sends
    Send(traffic::Sending),
    /// netmap: receives
    Receive(traffic::Receiving),
    /// netmap: forwards
    Forward(traffic::Forwarding),
    /// netmap: one of the ports sends to another one, at random
    Exchange {
        ports: Vec<traffic::Taking>,
        batch: u32,
        len: u16,
    },
    /// netmap: sends packets when they are due
    Load(load::Pacing),
    /// netmap: says how old packets are
    Time(load::Timing),
    /// DPDK's memif: either of these
    Memif(timed::End),
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
    /// a socket: sends messages
    MessageSend,
    /// a socket: receives messages
    MessageReceive,
    /// messages from a thread on that processor to another one
    Channel { sender_cpu: usize },
    /// messages by iceoryx2
    Iceoryx(iceoryx::End),
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
            Self::Limit(_) | Self::PacketSend { .. } | Self::PacketReceive { .. } => false,
            Self::XdpSend { .. } | Self::XdpReceive { .. } => false,
            Self::MessageSend | Self::MessageReceive | Self::Channel { .. } => false,
            Self::Memif(_) | Self::Iceoryx(_) => false,
            Self::Send(_) | Self::Receive(_) | Self::Forward(_) | Self::Exchange { .. } => true,
            Self::Load(_) | Self::Time(_) | Self::Join { .. } => true,
            Self::Reach(act) => act.is_netmap(),
            Self::Ping(way) | Self::Pong(way) | Self::Pace(way) | Self::Wake(way) => {
                matches!(way, wake::Way::Netmap { .. })
            }
        }
    }

    /// Does it count packets that arrive, or calls that are done?
    pub fn receives(&self) -> bool {
        match self {
            Self::Limit(part) => part.receives(),
            Self::Reach(act) => act.counts(),
            Self::Memif(end) => end.receives(),
            Self::Receive(_) | Self::Exchange { .. } | Self::Time(_) => true,
            Self::PacketReceive { .. } | Self::XdpReceive { .. } => true,
            Self::MessageReceive | Self::Channel { .. } => true,
            Self::Iceoryx(end) => !end.sends,
            _ => false,
        }
    }

    /// Is it a worker on rings that sleeps in poll until there are packets, or room?
    pub fn blocks(&self) -> bool {
        match self {
            Self::Receive(what) => what.blocking,
            Self::Time(what) => what.blocking,
            Self::Send(what) => what.blocking,
            Self::Forward(_) => true,
            _ => false,
        }
    }

    /// Is it busy all the time, so that it should have its processor for itself?
    pub fn spins(&self) -> bool {
        match self {
            Self::Limit(part) => !part.blocks(),
            Self::Join { .. } => false,
            Self::Ping(_) | Self::Pong(_) | Self::Pace(_) | Self::Wake(_) => false,
            _ => !self.blocks(),
        }
    }
}

/// Runs a worker to its end.
pub fn run(spec: &str) -> Result<(), String> {
    let spec: Spec = serde_json::from_str(spec).map_err(|e| format!("--worker: {e}"))?;
    let board = Board::from_stdin()?;
    // these have been started so, and their threads are to be so, too
    if spec.real_time && !matches!(spec.role, Role::Reach(_)) {
        raw::go_real_time(raw::PERFORMER).map_err(|e| format!("--real-time: {e}"))?;
    }
    super::cpus::pin(spec.cpu)?;
    if let Some(namespaces) = &spec.namespaces {
        namespaces.enter()?;
    }
    let stage = Stage::new(&board, spec.index, spec.group);
    match &spec.role {
        Role::Limit(part) => perform::perform(&stage, &board, part),
        Role::Send(what) => traffic::send(&stage, what),
        Role::Receive(what) => traffic::receive(&stage, what),
        Role::Forward(what) => traffic::forward(&stage, what),
        Role::Exchange { ports, batch, len } => traffic::exchange(&stage, ports, (*batch, *len)),
        Role::Load(what) => load::pace(&stage, what),
        Role::Time(what) => load::time(&stage, what),
        Role::Memif(_) => Err("a program of its own plays this part".into()),
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
        Role::MessageSend => messages::send_all(&stage),
        Role::MessageReceive => messages::receive_all(&stage),
        Role::Channel { sender_cpu } => messages::channel(&stage, *sender_cpu),
        Role::Iceoryx(end) => iceoryx::perform(&stage, end),
        Role::Join { port, whole } => joining::join(&stage, port, *whole),
        Role::Ping(way) => wake::ping(&stage, way),
        Role::Pong(way) => wake::pong(&stage, way),
        Role::Pace(way) => wake::pace(&stage, way),
        Role::Wake(way) => wake::wake(&stage, way),
        Role::Reach(act) => parts::perform(&stage, act),
    }
}
