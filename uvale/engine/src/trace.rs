//! What happens to packets, for `uvale trace`.
//!
//! Each ring whose packets are traced has the trace's number in its kring, where a sync looks once. A traced sync sends
//! its packets one by one, by the general way where there is one, so that each fact is a packet's own. Afterwards it
//! leaves a record in the memory of the trace ([`uvale_shared::trace`]): the packet's bytes, and what has happened to it,
//! in order.
//!
//! | file | what |
//! |---|---|
//! | `record.rs` | the records |
//! | `packet.rs` | a packet, copied out of its ring before it is sent |
//! | `watching.rs` | a host that hears who is woken, and what monitors are shown |
//! | `vale/traced.rs` | the facts of a switch |

mod packet;
mod record;
mod watching;

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::Host;
use super::monitor;
use super::nic;
use super::pipe;
use super::synced::Synced;
use super::vale::{self, Scratch};
use packet::Packet;
pub use record::{Event, Reason, Record, Ring, Way};
use uvale_shared::ctl::{Kring, PORT_DOWN, WIRE_HOST};
use uvale_shared::trace::Trace;
use uvale_system::who::Who;
pub(super) use watching::Watching;

/// A trace as a process that is traced knows it.
#[derive(Debug)]
pub struct Tracing {
    /// its number
    pub number: u32,
    /// where its records go
    pub memory: Trace,
    /// bytes of a packet that are recorded
    pub snaplen: u32,
    /// this process
    pub who: Who,
}

impl Tracing {
    fn put(&self, host: &dyn Host, k: &Kring, packet: Packet, events: Vec<Event>) {
        let record = Record {
            time: now(),
            session: host.session(),
            pid: self.who.pid,
            program: self.who.program.clone(),
            ring: ring(host, k),
            is_tx: k.dir.load(Relaxed) != 0,
            slot: packet.slot,
            slots: packet.slots,
            len: packet.len,
            data: packet.data,
            events,
        };
        let bytes = record.encode();
        if !self.memory.put(&bytes) {
            // Only a packet of more slots and receivers than there are can be so long.
            let short = Record {
                data: Vec::new(),
                events: vec![Event::TooMuch],
                ..record
            };
            self.memory.put(&short.encode());
        }
    }
}

/// The trace of a ring's packets, if there is one.
#[inline(always)]
pub(super) fn of(host: &dyn Host, k: &Kring) -> Option<Arc<Tracing>> {
    match k.trace.load(Relaxed) {
        0 => None,
        number => get(host, number),
    }
}

#[cold]
#[inline(never)]
fn get(host: &dyn Host, number: u32) -> Option<Arc<Tracing>> {
    host.trace(number)
}

/// Sends what lies before `head`, and shows it to the ring's monitors. Returns hwtail.
#[cold]
#[inline(never)]
pub(super) fn send(
    host: &dyn Host,
    tx: &Synced<'_>,
    head: u32,
    work: &mut Scratch,
    tracing: &Tracing,
) -> u32 {
    let k = tx.kring;
    let watching = Watching::new(host);
    loop {
        let at = k.hwcur.load(Relaxed);
        if at == head || at >= tx.n || head >= tx.n {
            return step(&watching, tx, head, work).0;
        }
        let packet = Packet::of(host, tx, at, head, tracing.snaplen);
        let (hwtail, events) = step(&watching, tx, packet.end, work);
        tracing.put(host, k, packet, events);
        if k.hwcur.load(Relaxed) == at {
            // It stays in the ring, and those behind it.
            return hwtail;
        }
    }
}

/// Sends one packet, which ends before `end`. Returns hwtail and what has happened.
fn step(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    end: u32,
    work: &mut Scratch,
) -> (u32, Vec<Event>) {
    let is_monitored = tx.kring.is_monitored();
    let freed = is_monitored.then(|| monitor::sending(watching, tx, end, &mut work.monitors));
    let mut events = watching.take();
    let hwtail = if tx.kring.pipe.load(Relaxed) != 0 {
        through_pipe(watching, tx, end, work, &mut events)
    } else if tx.kring.wire.load(Relaxed) != 0 {
        onto_wire(watching, tx, end, work, &mut events)
    } else {
        vale::txsync_traced(watching, tx, end, work, &mut events)
    };
    if let Some(freed) = freed {
        monitor::sent(watching, tx, freed, hwtail);
    }
    events.extend(watching.take());
    (hwtail, events)
}

fn through_pipe(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    end: u32,
    work: &mut Scratch,
    events: &mut Vec<Event>,
) -> u32 {
    let (k, from) = (tx.kring, tx.kring.hwcur.load(Relaxed));
    let before = k.sync.packets.load(Relaxed);
    let hwtail = pipe::txsync(watching, tx, end, || Some(&mut work.monitors));
    let slots = tx.ring.distance(from, k.hwcur.load(Relaxed));
    let peer = k.pipe.load(Relaxed).checked_sub(1);
    events.push(match peer.and_then(|i| watching.ctl().kring(i)) {
        Some(rx) if k.sync.packets.load(Relaxed) != before => Event::Passed {
            to: ring(watching, rx),
            slot: from,
            slots,
        },
        _ => Event::Kept(Reason::Incomplete),
    });
    hwtail
}

fn onto_wire(
    watching: &Watching<'_>,
    tx: &Synced<'_>,
    end: u32,
    work: &mut Scratch,
    events: &mut Vec<Event>,
) -> u32 {
    let (k, from) = (tx.kring, tx.kring.hwcur.load(Relaxed));
    let counts = || {
        let c = &k.sync;
        [&c.packets, &c.short, &c.bad_slot, &c.no_receiver].map(|c| c.load(Relaxed))
    };
    let before = counts();
    let (hwtail, by) = nic::send(watching, tx, end, work);
    let [sent, short, bad_slot, no_receiver] =
        core::array::from_fn(|i| counts()[i].wrapping_sub(before[i]));
    let slots = tx.ring.distance(from, k.hwcur.load(Relaxed));
    let peer = by.and_then(|i| watching.ctl().kring(i));
    let is_host = k.wire.load(Relaxed) & WIRE_HOST != 0;
    let port = watching.ctl().port(k.port.load(Relaxed));
    let is_down = port.is_some_and(|p| p.flags.load(Relaxed) & PORT_DOWN != 0);
    let dropped = |why| Event::Dropped {
        at: None,
        why,
        packets: 1,
    };
    events.push(match peer {
        Some(rx) if sent > 0 => Event::Passed {
            to: ring(watching, rx),
            slot: first_swapped(k, rx, slots),
            slots,
        },
        Some(rx) if slots == 0 => Event::Kept(Reason::FullAt(ring(watching, rx))),
        Some(rx) => Event::Dropped {
            at: Some(ring(watching, rx)),
            why: Reason::Full,
            packets: 1,
        },
        None if slots == 0 && sent == 0 => Event::Kept(Reason::WireFull),
        None if short > 0 => dropped(Reason::Short),
        None if bad_slot > 0 => dropped(Reason::Refused),
        None if no_receiver > 0 && is_down => dropped(Reason::LinkDown),
        None if no_receiver > 0 => dropped(Reason::NoReceiver),
        None if is_host => Event::Sent(Way::Host),
        None => Event::Sent(Way::Wire),
    });
    hwtail
}

/// The first of the last `slots` slots of ring `rx` that exchanged buffers with ring `k`, which the caller holds.
fn first_swapped(k: &Kring, rx: &Kring, slots: u32) -> u32 {
    let n = u64::from(rx.num_slots.load(Relaxed).max(1));
    let end = (k.swap.slots.load(Relaxed) >> 32) + k.swap.count.load(Relaxed);
    ((end % n + n - u64::from(slots) % n) % n) as u32
}

/// Takes in what is on the wire of rx ring `rx`.
#[cold]
#[inline(never)]
pub(super) fn arriving(host: &dyn Host, rx: &Synced<'_>, tracing: &Tracing) {
    let (k, watching) = (rx.kring, Watching::new(host));
    let counts = || {
        let c = &k.produced;
        [&c.full, &c.unconvertible].map(|c| c.load(Relaxed))
    };
    let (mut at, before) = (k.hwtail.load(Relaxed), counts());
    nic::take_in_untraced(&watching, rx);
    let (end, after) = (k.hwtail.load(Relaxed), counts());
    let way = match k.wire.load(Relaxed) & WIRE_HOST {
        0 => Way::Wire,
        _ => Way::Host,
    };
    let woken = watching.take();
    while at != end && at < rx.n && end < rx.n {
        let packet = Packet::of(host, rx, at, end, tracing.snaplen);
        at = packet.end;
        let mut events = vec![Event::Arrived(way)];
        if at == end {
            // One wake-up is for all.
            events.extend(woken.iter().cloned());
        }
        tracing.put(host, k, packet, events);
    }
    for (i, why) in [Reason::Full, Reason::Unconvertible]
        .into_iter()
        .enumerate()
    {
        let packets = after[i].wrapping_sub(before[i]);
        if packets != 0 {
            let at = Some(ring(host, k));
            let lost = Event::Dropped { at, why, packets };
            tracing.put(host, k, Packet::none(end), vec![lost]);
        }
    }
}

/// The program's head or cur of tx ring `tx` make no sense, and so it sent nothing.
pub(super) fn refused(host: &dyn Host, tx: &Synced<'_>, tracing: &Tracing) {
    let at = tx.kring.hwcur.load(Relaxed);
    tracing.put(host, tx.kring, Packet::none(at), vec![Event::Reinit]);
}

/// A ring by name.
fn ring(host: &dyn Host, k: &Kring) -> Ring {
    let port = host.ctl().port(k.port.load(Relaxed));
    let wire = k.wire.load(Relaxed);
    let (is_host, id) = (wire & WIRE_HOST != 0, k.ring_id.load(Relaxed));
    Ring {
        port: port.map_or(String::new(), |p| p.name()),
        ring: match is_host {
            true => (wire & !WIRE_HOST).saturating_sub(1),
            false => id,
        },
        is_host,
    }
}

/// Ring `ring` of the port in record `port`.
pub(super) fn ring_of(host: &dyn Host, port: u32, ring: u32) -> Ring {
    Ring {
        port: host.ctl().port(port).map_or(String::new(), |p| p.name()),
        ring,
        is_host: false,
    }
}

pub(super) fn ring_at(host: &dyn Host, index: u32) -> Ring {
    let kring = host.ctl().kring(index);
    kring.map_or_else(Ring::default, |k| ring(host, k))
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let (seconds, nanos) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}
