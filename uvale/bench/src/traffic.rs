//! Workers that send, receive and forward by the public ABI.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use super::board::Stage;
use super::limit::exchange::Random;
use super::nic::socket;
use super::port::{Opening, Port};
use super::ring::Ring;

/// Longest wait in one poll, after which a worker looks whether it is to stop.
const TIMEOUT_MS: i32 = 100;
const OUTSIDE: &str = "a buffer outside of the port's memory";

/// What a sender sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sending {
    pub port: Opening,
    /// packets between two syncs
    pub batch: u32,
    /// bytes of each; what does not fit into a buffer takes several slots
    pub len: u32,
    /// destination and source, one after the other
    pub flows: Vec<(u64, u64)>,
    /// write every packet first
    pub touch: bool,
    /// wait in poll while there is no room, instead of asking again and again
    pub blocking: bool,
}

/// A port that a receiver drains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taking {
    pub port: Opening,
    /// addresses that it tells
    pub macs: Vec<u64>,
    /// do its packets count?
    pub counts: bool,
}

/// What a receiver receives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receiving {
    pub ports: Vec<Taking>,
    /// wait in poll, instead of a loop of NIOCRXSYNC
    pub blocking: bool,
    /// read every packet
    pub touch: bool,
    /// packets may take several slots
    pub chains: bool,
}

/// What a forwarding program does: waits in poll, and hands on what has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forwarding {
    pub from: Opening,
    pub to: Opening,
    /// copy packets, instead of exchanging buffers
    pub copy: bool,
}

/// Sends whole batches; while there is no room for one it asks again, or waits.
pub fn send(stage: &Stage<'_>, what: &Sending) -> Result<(), String> {
    let port = Port::open_as(&what.port)?;
    let mut rings = port.all_tx()?;
    rings.iter().for_each(|ring| ring.address(&what.flows));
    let packet = what.flows.first().map(|(d, s)| socket::packet(*d, *s));
    let packet = packet.filter(|_| what.touch);
    let len = what.len + u32::from(port.ahead());
    let first = rings.first().ok_or("the port has no tx ring")?;
    let (each, slots) = (first.slots_for(len), first.num_slots());
    let batch = what.batch.min((slots - 1) / each);
    let ring = match &mut rings[..] {
        [ring] if each == 1 => ring,
        rings => return send_chains(stage, &port, rings, (batch, each, len)),
    };
    let len = u16::try_from(len).map_err(|_| "a packet longer than any buffer")?;
    stage.perform(|running| {
        stage.count(running, || {
            let ready = ring.space() >= batch;
            if ready {
                if let Some(packet) = &packet {
                    ring.write(batch, packet.get(..len.into()).ok_or(OUTSIDE)?)
                        .ok_or(OUTSIDE)?;
                }
                ring.fill(batch, len);
            } else if what.blocking {
                return port.wait_for_room(TIMEOUT_MS).map(|_| 0);
            }
            port.txsync()?;
            Ok(if ready { batch } else { 0 })
        })
    })
}

/// Sends a share of each batch on each ring, packets of `len` bytes in `each` slots.
fn send_chains(
    stage: &Stage<'_>,
    port: &Port,
    rings: &mut [Ring<'_>],
    (batch, each, len): (u32, u32, u32),
) -> Result<(), String> {
    let share = (batch / rings.len() as u32).max(1);
    stage.perform(|running| {
        stage.count(running, || {
            let mut sent = 0;
            for ring in rings.iter_mut() {
                if ring.space() >= share * each {
                    ring.fill_chains(share, len);
                    sent += share;
                }
            }
            port.txsync().map(|()| sent)
        })
    })
}

/// Says where the addresses are, then receives.
pub fn receive(stage: &Stage<'_>, what: &Receiving) -> Result<(), String> {
    let opened = what.ports.iter().map(|taking| Port::open_as(&taking.port));
    let ports: Vec<Port> = opened.collect::<Result<_, _>>()?;
    let mut taken = Vec::new();
    for (port, taking) in ports.iter().zip(&what.ports) {
        port.introduce(&taking.macs)?;
        taken.push((port, port.all_rx()?, taking.counts));
    }
    if what.blocking && ports.len() > 1 {
        return Err("a receiver that blocks has one port".into());
    }
    stage.perform(|running| {
        stage.count(running, || {
            let mut sum = 0;
            for (port, rings, counts) in &mut taken {
                if what.blocking {
                    port.wait(TIMEOUT_MS)?;
                } else {
                    port.rxsync()?;
                }
                for ring in rings {
                    if what.touch {
                        ring.read().ok_or(OUTSIDE)?;
                    }
                    let (packets, bytes) = match what.chains {
                        true => ring.drain_chains(),
                        false => ring.drain(),
                    };
                    black_box(bytes);
                    sum += if *counts { packets } else { 0 };
                }
            }
            Ok(sum)
        })
    })
}

/// Waits for packets, and hands them on.
pub fn forward(stage: &Stage<'_>, what: &Forwarding) -> Result<(), String> {
    let (from, to) = (Port::open_as(&what.from)?, Port::open_as(&what.to)?);
    let (mut rx, mut tx) = (from.rx()?, to.tx()?);
    if !what.copy && !from.shares_buffers_with(&to) {
        return Err("buffers of two different memories cannot be exchanged".into());
    }
    stage.perform(|running| {
        stage.count(running, || {
            if rx.space() == 0 {
                from.wait(TIMEOUT_MS)?;
            } else if tx.space() == 0 {
                to.wait_for_room(TIMEOUT_MS)?;
            }
            let moved = match what.copy {
                true => rx.copy_to(&mut tx),
                false => rx.swap_to(&mut tx),
            };
            if moved > 0 {
                to.txsync()?;
                from.rxsync()?;
            }
            Ok(moved)
        })
    })
}

/// Opens ports on a switch, and lets one of them send a batch to another one, which receives it, at random.
pub fn exchange(
    stage: &Stage<'_>,
    ports: &[Taking],
    (batch, len): (u32, u16),
) -> Result<(), String> {
    let opened = ports.iter().map(|taking| Port::open_as(&taking.port));
    let opened: Vec<Port> = opened.collect::<Result<_, _>>()?;
    let (mut tx, mut rx) = (Vec::new(), Vec::new());
    for (port, taking) in opened.iter().zip(ports) {
        port.introduce(&taking.macs)?;
        tx.push(port.tx()?);
        rx.push(port.rx()?);
    }
    // What the introductions have brought, and then the room that it took.
    for (port, rx) in opened.iter().zip(&mut rx) {
        port.rxsync()?;
        rx.drain();
        port.rxsync()?;
    }
    let mac = |i: usize| ports[i].macs.first().copied().unwrap_or_default();
    let mut random = Random::new();
    stage.perform(|running| {
        stage.count(running, || {
            let (source, target) = random.two_of(opened.len());
            let ring = &mut tx[source];
            if ring.space() < batch {
                return opened[source].txsync().map(|()| 0);
            }
            let flow = (mac(target), mac(source));
            let (head, slots) = (ring.head(), ring.num_slots());
            (0..batch).for_each(|i| ring.address_one((head + i) % slots, flow));
            ring.fill(batch, len);
            opened[source].txsync()?;
            opened[target].rxsync()?;
            let (packets, bytes) = rx[target].drain();
            black_box(bytes);
            if packets != batch {
                return Err(format!("{packets} of {batch} packets arrived"));
            }
            Ok(packets)
        })
    })
}
