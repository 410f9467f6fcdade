//! Rings of the device as a wire: packets are copied between the slots of a port here and those of the device.
//!
//! A ring of the port has that ring of the device whose number it has, and whoever holds its `busy` lock works on both.
//! Nothing of the device's ring is remembered from one sync to the next: its head is read from the CSB, too, so it does
//! not matter which process was the last.

use std::sync::Arc;

use rustix::io::Errno;
use uvale_shared::shm::{BufferPool, Mapping, RegionMap, RingView};
use uvale_system::sys::{Fd, OwnFd};

use super::ring::{Csb, Kick, PAGE, PAGES, Ring};
use super::{Direction, Shape, kicks, places};
use crate::packet::{Batch, Packet};

/// A device, as a process has it.
#[derive(Debug)]
pub(crate) struct Link {
    shape: Shape,
    region: RegionMap,
    csb: Mapping,
    places: [Vec<u64>; 2],
    kicks: Vec<ByEvent>,
}

/// Asks whoever has the registers for a kick.
#[derive(Debug)]
struct ByEvent(OwnFd);

impl Kick for ByEvent {
    fn kick(&self) -> Result<(), Errno> {
        kicks::ask(&self.0)
    }
}

impl Link {
    /// By its descriptors; `EPROTO` if they are not those of the shape, or the region is not as it says.
    pub(crate) fn new(
        shape: Shape,
        mut next: impl FnMut() -> Result<Fd, Errno>,
    ) -> Result<Self, Errno> {
        let (memory, csb) = (next()?, next()?);
        let kicks = (2..shape.descriptors()).map(|_| Ok(ByEvent(OwnFd::new(next()?))));
        let kicks = kicks.collect::<Result<_, Errno>>()?;
        let len = usize::try_from(shape.bar).map_err(|_| Errno::PROTO)?;
        let map = Mapping::of_device(&memory, len)?;
        let Shape {
            buffers,
            buffer_size,
            buffer_count,
            ..
        } = shape;
        let pool = BufferPool::new(&map, buffers, buffer_size, buffer_count);
        let rings = shape.rings.map(u32::from);
        let (_, places) = places(&map, shape.nifp, rings, shape.slots).map_err(|_| Errno::PROTO)?;
        Ok(Self {
            shape,
            region: RegionMap {
                number: shape.memory,
                pool: pool.ok_or(Errno::PROTO)?,
                map,
            },
            csb: Mapping::of_device(&csb, PAGES * PAGE)?,
            places,
            kicks,
        })
    }

    fn ring(&self, direction: Direction, number: u16) -> Result<Ring<'_>, Errno> {
        let (dir, i) = (direction as usize, usize::from(number));
        let first = match direction {
            Direction::Tx => 0,
            Direction::Rx => usize::from(self.shape.rings[0]),
        };
        let place = *self.places[dir].get(i).ok_or(Errno::NXIO)?;
        let view = RingView::new(&self.region.map, place, self.shape.slots[dir]);
        let csb = Csb::of(&self.csb, (first + i) as u32).ok_or(Errno::NXIO)?;
        let kick = self.kicks.get(first + i).ok_or(Errno::NXIO)?;
        // A host that writes nonsense has no port.
        Ring::new(&self.region, view.ok_or(Errno::NXIO)?, csb, kick).map_err(|_| Errno::NXIO)
    }
}

/// A ring of the device: packets come from there, or go there.
#[derive(Clone, Debug)]
pub struct Queue {
    link: Arc<Link>,
    direction: Direction,
    number: u16,
}

impl Queue {
    pub(crate) fn new(link: Arc<Link>, direction: Direction, number: u16) -> Self {
        Self {
            link,
            direction,
            number,
        }
    }

    fn ring(&self) -> Result<Ring<'_>, Errno> {
        self.link.ring(self.direction, self.number)
    }

    /// How many packets find room.
    pub(crate) fn count(&self) -> u32 {
        self.link.shape.slots[self.direction as usize] - 1
    }

    /// Has a packet arrived, all its fragments?
    pub(crate) fn is_ready(&self) -> bool {
        self.ring().is_ok_and(|ring| ring.slots().has_packet())
    }

    /// As [`Frames::take_in`](crate::Frames::take_in) has it.
    pub(crate) fn take_in(&self, mut take: impl FnMut(Packet<'_>) -> bool) {
        let Ok(mut ring) = self.ring() else { return };
        let mut slots = ring.slots();
        let mut bytes = Vec::new();
        let head = loop {
            let before = slots.at();
            if !slots.take(&mut bytes) {
                // What is longer than the ring is lost: its slots are given back, too.
                break slots.at();
            }
            let packet = Packet {
                pieces: [&bytes, &[], &[]],
                header: None,
            };
            if !take(packet) {
                break before;
            }
        };
        // Nonsense of the host shows at the next sync.
        let _ = ring.sync(head);
    }

    /// As [`Transmitter::send`](crate::Transmitter::send) has it.
    pub(crate) fn send(&self, batch: &Batch<'_>, from: usize) -> Result<usize, Errno> {
        let mut ring = self.ring()?;
        let mut slots = ring.slots();
        let mut bytes = Vec::new();
        let mut sent = 0;
        let mut is_too_long = false;
        while batch.copy_out(from + sent, &mut bytes) {
            if !slots.put(&bytes) {
                is_too_long = bytes.len() > slots.most();
                break;
            }
            sent += 1;
        }
        // Also if nothing has found room: the host may sleep.
        ring.sync(slots.at()).map_err(|_| Errno::NXIO)?;
        match sent {
            0 if is_too_long => Err(Errno::MSGSIZE),
            0 => Err(Errno::AGAIN),
            sent => Ok(sent),
        }
    }
}
