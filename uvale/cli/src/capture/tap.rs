//! One captured port: a copy monitor of it, and what it counts.

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::path::Path;
use std::sync::Arc;

use nm_abi::NS_TXMON;
use nm_abi::request::{NR_MONITOR_RX, NR_MONITOR_TX};
use rustix::fd::{AsFd, BorrowedFd};
use uvale_link::report;
use uvale_link::session::Session;
use uvale_port::{POLLIN, Port, RX, Slots, Wanted};
use uvale_shared::ctl::Kring;
use uvale_system::refusal::Refusal;

use super::drops::{Drops, Origin, between};
use super::record::{Seen, Totals, now};

/// Slots of a monitor's ring: the most that netmap gives.
const SLOTS: u32 = 4096;
/// Bytes of an Ethernet header.
const HEADER: usize = 14;

/// Which packets of a port.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// what arrives for the port's program
    In,
    /// what it sends
    Out,
    /// both
    #[value(name = "inout")]
    Both,
}

impl Direction {
    fn flags(self) -> u64 {
        match self {
            Self::In => NR_MONITOR_RX,
            Self::Out => NR_MONITOR_TX,
            Self::Both => NR_MONITOR_RX | NR_MONITOR_TX,
        }
    }
}

/// A port that is captured.
pub struct Tap {
    port: Port,
    name: String,
    /// its number in the capture
    interface: u32,
    /// shorter packets than an Ethernet header are dropped
    is_on_switch: bool,
    origin: Origin,
    captured: u64,
    /// missed packets, as counted when the rings were last looked at, and how many of them have been told
    missed: u64,
    told: u64,
    /// what the port had dropped at the beginning, when last looked at, and when last told
    drops: [Drops; 3],
    packet: Vec<u8>,
    notes: Vec<String>,
}

/// A name of a report as REGISTER takes it.
fn full_name(name: &str) -> String {
    match name.starts_with("vale") && name.contains(':') {
        true => name.to_owned(),
        false => format!("netmap:{name}"),
    }
}

impl Tap {
    /// Monitors `port`.
    ///
    /// # Errors
    /// What the monitor is refused for.
    pub fn open(
        (dir, session): (&Path, &Arc<Session>),
        port: &report::Port,
        direction: Direction,
    ) -> Result<Self, Refusal> {
        let wanted = Wanted {
            dir,
            name: &full_name(&port.name),
            register: &|register| {
                register.nr_flags |= direction.flags();
                register.nr_rx_slots = SLOTS;
            },
            say: &|_| {},
        };
        let monitor = Port::open_in(session.clone(), &wanted)?;
        let mut tap = Self {
            origin: Origin::of(&monitor),
            port: monitor,
            name: port.name.clone(),
            interface: 0,
            is_on_switch: port.switch.is_some(),
            captured: 0,
            missed: 0,
            told: 0,
            drops: Default::default(),
            packet: Vec::new(),
            notes: Vec::new(),
        };
        tap.drops = [tap.count_drops(); 3];
        Ok(tap)
    }

    /// The bytes of the port's buffers, and of the monitor's, if these are fewer: what is longer is cut off.
    pub fn cut(&self) -> Option<(u32, u32)> {
        let session = self.port.session();
        let region = self.origin.record(session)?.region.load(Relaxed);
        let (_, theirs) = session.region_memfd(region).ok()?;
        let own = self.port.region().pool.size();
        (theirs.buf_size > own).then_some((theirs.buf_size, own))
    }

    /// The port's name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the capture.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Gives it that number.
    pub fn is_number(&mut self, interface: u32) {
        self.interface = interface;
    }

    /// Has the monitored port been closed, so that nothing more comes? What has come can still be taken.
    pub fn is_orphan(&self) -> bool {
        let mut krings = self.krings();
        krings.any(|k| k.orphan.load(Acquire) != 0)
    }

    fn rings(&self) -> core::ops::Range<u32> {
        self.port.attachment().binding().rings(RX)
    }

    fn krings(&self) -> impl Iterator<Item = &Kring> {
        self.rings().filter_map(|ring| self.port.kring(RX, ring))
    }

    /// Takes up to `most` packets, in the order of each ring, while `sink` says that there is room. Answers with
    /// how many there were.
    pub fn take(&mut self, most: u64, sink: &mut dyn FnMut(u32, &Seen<'_>) -> bool) -> u64 {
        let is_orphan = self.is_orphan();
        if !is_orphan {
            self.port.rxsync();
        }
        let (missed, dropped) = (self.count_missed(), self.count_drops());
        let header = self.header();
        let (mut packet, mut notes) = (
            core::mem::take(&mut self.packet),
            core::mem::take(&mut self.notes),
        );
        let mut taken = 0;
        let mut has_room = true;
        for ring in self.rings() {
            let Some(mut slots) = self.slots(ring, is_orphan) else {
                continue;
            };
            while has_room && taken < most {
                let Some(flags) = slots.take_flagged(&mut packet) else {
                    break;
                };
                taken += 1;
                notes.clear();
                let first = self.unsaid(taken == 1);
                notes.extend(first.drops);
                let is_sent = flags & NS_TXMON != 0;
                let (virtio, data) = packet.split_at(header.min(packet.len()));
                notes.extend(virtio_notes(virtio));
                if is_sent && self.is_on_switch && data.len() < HEADER {
                    notes.push("dropped: shorter than an Ethernet header".to_owned());
                }
                let seen = Seen {
                    nanos: now(),
                    is_sent,
                    data,
                    len: data.len(),
                    missed: first.missed,
                    notes: &notes,
                };
                has_room = sink(self.interface, &seen);
            }
            slots.finish();
        }
        (self.packet, self.notes) = (packet, notes);
        if taken > 0 {
            self.told = self.missed;
            self.drops[2] = self.drops[1];
        }
        self.captured += taken;
        // What was missed until now has found no room behind the packets that have just been taken.
        (self.missed, self.drops[1]) = (missed, dropped);
        taken
    }

    /// What the first packet of a turn says of what happened before it.
    fn unsaid(&self, is_first: bool) -> Unsaid {
        if !is_first {
            return Unsaid::default();
        }
        let drops = between(&self.drops[2], &self.drops[1]);
        Unsaid {
            missed: self.missed.saturating_sub(self.told),
            drops: drops.map(|drops| format!("dropped at this port before it: {drops}")),
        }
    }

    /// The slots to be taken of a ring.
    fn slots(&self, ring: u32, is_orphan: bool) -> Option<Slots<'_>> {
        if !is_orphan {
            return self.port.slots(RX, ring);
        }
        // Syncs of an orphan fail, but what its ring got until then is there.
        let (view, kring) = (self.port.ring(RX, ring)?, self.port.kring(RX, ring)?);
        let (head, tail) = (view.header().head.load(Relaxed), kring.hwtail.load(Acquire));
        Slots::new(self.port.region(), view, head, tail)
    }

    /// Packets that found no place in the rings.
    fn count_missed(&self) -> u64 {
        let lost = |k: &Kring| {
            k.produced
                .full
                .load(Relaxed)
                .saturating_add(k.stuck.load(Relaxed))
        };
        self.krings().map(lost).fold(0, u64::saturating_add)
    }

    /// What the monitored port has dropped since it was opened.
    fn count_drops(&self) -> Drops {
        self.origin.drops(self.port.session(), &self.drops[1])
    }

    /// Bytes of virtio-net header before each packet of the port.
    fn header(&self) -> usize {
        let record = self.origin.record(self.port.session());
        record.map_or(0, |port| port.virt_hdr_len.load(Relaxed)) as usize
    }

    /// All there is to say in the end.
    pub fn totals(&self) -> Totals {
        Totals {
            captured: self.captured,
            missed: self.missed.max(self.count_missed()),
            dropped: between(&self.drops[0], &self.count_drops()),
        }
    }

    /// Before a sleep; see [`Port::announce`].
    pub fn announce(&self) -> bool {
        self.port.announce(POLLIN)
    }

    /// After it.
    pub fn withdraw(&self) {
        self.port.withdraw(POLLIN);
    }

    /// Is there something to take, or an end to notice?
    pub fn glance(&self) -> bool {
        self.port.glance(POLLIN) || self.is_orphan()
    }

    /// Gives the monitor up.
    pub fn close(self) {
        self.port.close();
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

#[derive(Default)]
struct Unsaid {
    missed: u64,
    drops: Option<String>,
}

/// What a virtio-net header says that the packet itself does not.
fn virtio_notes(header: &[u8]) -> Vec<String> {
    let mut notes = Vec::new();
    if header.first().is_some_and(|flags| flags & 1 != 0) {
        notes.push("its checksum is left to the receiver (virtio-net header)".to_owned());
    }
    let kind = header.get(1).copied().unwrap_or(0);
    if let (true, Some(size)) = (kind != 0, header.get(4..6)) {
        let size = u16::from_le_bytes([size[0], size[1]]);
        notes.push(format!(
            "to be sent in segments of {size} bytes (virtio-net header)"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_registers() {
        for (name, full) in [
            ("vale0:a", "vale0:a"),
            ("x{1", "netmap:x{1"),
            ("vi0", "netmap:vi0"),
            ("valentine", "netmap:valentine"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn headers_tell_what_is_left_to_do() {
        assert!(virtio_notes(&[0; 12]).is_empty());
        assert!(virtio_notes(&[]).is_empty());
        let notes = virtio_notes(&[1, 1, 0, 0, 0xa8, 5, 0, 0, 0, 0]);
        assert!(
            notes[0].contains("checksum") && notes[1].contains("1448"),
            "{notes:?}"
        );
    }
}
