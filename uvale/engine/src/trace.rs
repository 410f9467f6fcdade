//! What happens to packets, for `uvale trace`.
//!
//! Each ring whose packets are traced has the trace's number in its kring, where a sync looks once. A traced sync sends
//! its packets one by one, by the general way where there is one, so that each fact is a packet's own. Afterwards it
//! leaves a record in the memory of the trace ([`uvale_shared::trace`]): the packet's bytes, and what has happened to
//! it, in order.
//!
//! | file | what |
//! |---|---|
//! | `record.rs` | the records |
//! | `packet.rs` | a packet, copied out of its ring before it is sent |
//! | `watching.rs` | a host that hears who is woken, and what monitors are shown |
//! | `vale/traced.rs`, `pipe/traced.rs`, `nic/traced.rs` | the facts of a switch, a pipe, a wire |

mod packet;
mod record;
mod watching;

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::Host;
use super::monitor::{self, Regions};
use super::synced::Synced;
use nm_abi::NS_MOREFRAG;
use packet::Packet;
pub use record::{Event, Reason, Record, Ring, Way};
use uvale_shared::ctl::{Kring, WIRE_HOST};
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
        if !(record.is_possible() && self.memory.put(&record.encode())) {
            // Only a packet of more receivers, sleepers and monitors than anybody has can be so long.
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

/// A ring of a trace that this process cannot get: its packets from slot `from` to `to` leave no record, which is
/// counted.
#[cold]
#[inline(never)]
pub(super) fn unrecorded(ring: &Synced<'_>, from: u32, to: u32) {
    let (mut at, mut packets) = (from, 0);
    while at != to && at < ring.n && to < ring.n {
        let slot = ring.ring.slots()[at as usize].load();
        at = ring.ring.next(at);
        packets += u64::from(slot.flags & NS_MOREFRAG == 0 || at == to);
    }
    ring.kring.untraced.fetch_add(packets, Relaxed);
}

/// Sends what lies before `head`, and shows it to the ring's monitors, whose memory is the part `monitors` of the work
/// area `work`. `act` sends one packet, which ends before a slot and begins with some bytes: it returns hwtail, and
/// adds what has happened. Returns hwtail.
#[inline(never)]
pub(super) fn send<W>(
    host: &dyn Host,
    tx: &Synced<'_>,
    head: u32,
    tracing: &Tracing,
    (work, monitors): (&mut W, fn(&mut W) -> &mut Regions),
    mut act: impl FnMut(&Watching<'_>, u32, &[u8], &mut W, &mut Vec<Event>) -> u32,
) -> u32 {
    let k = tx.kring;
    let watching = Watching::new(host);
    let mut step = |end: u32, data: &[u8]| {
        let is_monitored = k.is_monitored();
        let freed = is_monitored.then(|| monitor::sending(&watching, tx, end, monitors(work)));
        let mut events = watching.take();
        let hwtail = act(&watching, end, data, work, &mut events);
        if let Some(freed) = freed {
            monitor::sent(&watching, tx, freed, hwtail);
        }
        events.extend(watching.take());
        (hwtail, events)
    };
    loop {
        let at = k.hwcur.load(Relaxed);
        if at == head || at >= tx.n || head >= tx.n {
            return step(head, &[]).0;
        }
        let packet = Packet::of(host, tx, at, head, tracing.snaplen);
        let (hwtail, events) = step(packet.end, &packet.data);
        tracing.put(host, k, packet, events);
        if k.hwcur.load(Relaxed) == at {
            // It stays in the ring, and those behind it.
            return hwtail;
        }
    }
}

/// Do records tell of what arrives at rx ring `k`? What the other end of a joined port puts there its own records tell.
pub(super) fn is_of_arriving(k: &Kring) -> bool {
    k.is_traced() && (k.joined.load(Relaxed) == 0 || k.joining.load(Relaxed) != 0)
}

/// Takes in what is on the wire of rx ring `rx`, as `take_in` does.
#[inline(never)]
pub(super) fn arriving(
    host: &dyn Host,
    rx: &Synced<'_>,
    tracing: &Tracing,
    take_in: impl FnOnce(&dyn Host),
) {
    let (k, watching) = (rx.kring, Watching::new(host));
    if !is_of_arriving(k) {
        return take_in(host);
    }
    let counts = || {
        let c = &k.produced;
        [&c.full, &c.unconvertible].map(|c| c.load(Relaxed))
    };
    let (mut at, before) = (k.hwtail.load(Relaxed), counts());
    take_in(&watching);
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
pub(super) fn ring(host: &dyn Host, k: &Kring) -> Ring {
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
fn ring_of(host: &dyn Host, port: u32, ring: u32) -> Ring {
    Ring {
        port: host.ctl().port(port).map_or(String::new(), |p| p.name()),
        ring,
        is_host: false,
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let (seconds, nanos) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}
