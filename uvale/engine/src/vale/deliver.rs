//! Delivery to one receiver: its lock, its room, publication, waking.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::super::offsets::{Offsets, is_plain};
use super::super::sleep::{to_wake, wake};
use super::super::{RegionMap, joined, monitor};
use super::scratch::{Dest, Scratch};
use super::{BROADCAST_QUEUE, Sender};
use uvale_shared::ctl::{Kring, MAX_RINGS, Port, RING_ON, count};
use uvale_shared::shm::RingView;

impl<'a> Sender<'a> {
    /// Copy, publish, wake: fills one receiver's ring. False if there is nobody to receive.
    #[inline]
    pub(super) fn deliver(&self, dest: Dest, scratch: &mut Scratch) -> bool {
        let queue = dest.queue as usize;
        let (number, ring_nr) = ((queue / MAX_RINGS) as u32, (queue % MAX_RINGS) as u32);
        let Some((index, port, rx)) = self.receiver(number, ring_nr) else {
            return false;
        };
        // Another port has come in place of the one that the packets are for.
        if index != dest.port {
            return false;
        }
        let Some(kring) = self.host.ctl().kring(rx) else {
            return false;
        };
        // The region is mapped before the lock is taken: mapping may have to ask the daemon.
        let wanted = kring.region.load(Relaxed);
        let cached = &mut scratch.regions[number as usize];
        if cached.as_ref().is_none_or(|r| r.number != wanted) {
            *cached = self.host.region(wanted);
        }
        let Some(region) = cached.as_deref() else {
            return false;
        };

        // One second of waiting for a process that is stopped is enough.
        let holder = kring.q_lock.holder();
        if holder != 0 && scratch.stuck == Some((rx, holder)) {
            return false;
        }
        let Some(guard) = kring.q_lock.lock(self.owner) else {
            scratch.stuck = Some((rx, kring.q_lock.holder()));
            return false;
        };
        let n = kring.num_slots.load(Relaxed);
        let live = kring.mode.load(Relaxed) == RING_ON
            && kring.port.load(Relaxed) == index
            && kring.dir.load(Relaxed) == 0
            && port.switch.load(Relaxed) == self.switch_ref
            && port.bdg_port.load(Relaxed) == number
            && kring.region.load(Relaxed) == region.number;
        let ring = RingView::new(&region.map, kring.ring_ofs.load(Relaxed), n);
        let (Some(ring), true) = (ring, live) else {
            return false;
        };
        let wanted = match port.virt_hdr_len.load(Relaxed) == self.virt_hdr_len {
            true => scratch.queues[queue].slots + scratch.queues[BROADCAST_QUEUE].slots,
            false => u32::MAX,
        };
        let Some(room) = Room::of(kring, n, wanted) else {
            return false;
        };
        let receiver = Receiver {
            port,
            kring,
            region,
            ring,
            offsets: Offsets::of(kring),
            plain: is_plain(kring, region),
        };
        let end = self.fill(&receiver, room, queue, &scratch.frags, &scratch.queues);
        if end != room.at {
            count(&kring.produced.progress, 1);
            publish(kring, end);
            let mask = to_wake(kring);
            drop(guard);
            if kring.is_watched() {
                monitor::delivered(self.host, rx, region, &mut scratch.monitors);
            }
            wake(self.host, kring, mask);
        } else {
            drop(guard);
        }
        if kring.is_joined() {
            joined::forward(self.host, rx, region, &mut scratch.onward);
        }
        true
    }

    /// The port behind `number` and the rx kring that the sender's ring maps to.
    #[inline]
    pub(super) fn receiver(&self, number: u32, ring_nr: u32) -> Option<(u32, &'a Port, u32)> {
        let index = self.member(number)?;
        let port = self.host.ctl().port(index)?;
        let rings = port.num_rx_rings.load(Relaxed).max(1);
        let ring_nr = if ring_nr < rings {
            ring_nr
        } else {
            ring_nr % rings
        };
        let rx = port.rx_kring.load(Relaxed).checked_add(ring_nr)?;
        let kring = self.host.ctl().kring(rx)?;
        let on = kring.mode.load(Relaxed) == RING_ON && kring.dir.load(Relaxed) == 0;
        on.then_some((index, port, rx))
    }
}

/// A receiving ring whose `q_lock` is held.
pub(super) struct Receiver<'a> {
    pub(super) port: &'a Port,
    pub(super) kring: &'a Kring,
    pub(super) region: &'a RegionMap,
    pub(super) ring: RingView<'a>,
    pub(super) offsets: Offsets,
    /// the short ways of copying will do
    pub(super) plain: bool,
}

impl Receiver<'_> {
    /// Asks for the buffers of the next slots to be written: they were last in the receiver's
    /// cache, and fetching them one by one while copying would be most of the time it takes.
    #[inline]
    pub(super) fn prime(&self, mut at: u32, slots: u32) {
        let n = self.ring.num_slots();
        for _ in 0..slots {
            let buf_idx = self.ring.slots()[at as usize].load().buf_idx;
            self.region
                .map
                .prefetch_to_write(self.region.pool.offset(buf_idx));
            at = if at + 1 == n { 0 } else { at + 1 };
        }
    }
}

/// Free slots of a receiving ring: where they begin and how many they are.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) at: u32,
    pub(crate) free: u32,
}

/// Shows the receiver the slots before `end`. The caller holds `q_lock`.
#[inline(always)]
pub fn publish(kring: &Kring, end: u32) {
    kring.filled.store(end, Relaxed);
    // SYNC POINT: Release pairs with the Acquire in `attachment::rx`: slots and payload are
    // visible before the index that shows them.
    kring.hwtail.store(end, Release);
}

impl Room {
    /// Room for `wanted` slots if there is so much, else what there is. One slot always stays
    /// empty. `None` if the indices make no sense.
    #[inline(always)]
    pub(crate) fn of(kring: &Kring, n: u32, wanted: u32) -> Option<Self> {
        let at = kring.filled.load(Relaxed);
        // What some sender saw of hwcur is still true: slots that were free then, and were not
        // filled since, are free. The line of hwcur itself is the receiver's, and busy.
        if let Some(room) = Self::between(at, kring.hwcur_seen.load(Relaxed), n)
            && room.free >= wanted
        {
            return Some(room);
        }
        // SYNC POINT: Acquire pairs with the Release of hwcur in `attachment::release`: the
        // program's last accesses to the slots it gives back come before ours. Other senders
        // that go by hwcur_seen have that through `q_lock`.
        let hwcur = kring.hwcur.load(Acquire);
        kring.hwcur_seen.store(hwcur, Relaxed);
        Self::between(at, hwcur, n)
    }

    #[inline(always)]
    pub(super) fn between(at: u32, hwcur: u32, n: u32) -> Option<Self> {
        if at >= n || hwcur >= n {
            return None;
        }
        let busy = if at >= hwcur {
            at - hwcur
        } else {
            at + n - hwcur
        };
        Some(Self {
            at,
            free: n - 1 - busy,
        })
    }
}
