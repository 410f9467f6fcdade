//! Rings with packets that have arrived.

use crate::memory::{Place, Ring};
use crate::tx::{NotSent, Tx};

/// An rx ring between two exchanges: packets that have arrived. Those that were taken are given back with the next
/// exchange; the others stay.
pub struct Rx<'p> {
    ring: &'p Ring,
    head: u32,
    tail: u32,
}

impl<'p> Rx<'p> {
    pub(crate) fn new(ring: &'p mut Ring) -> Self {
        let (head, tail) = ring.own().unwrap_or_default();
        Self { ring, head, tail }
    }

    /// Slots with packets.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.ring.distance(self.head, self.tail)
    }

    /// Has no packet arrived that was not taken? (Part of one may have.)
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.place().is_none()
    }

    /// Takes packets, one after the other.
    pub fn packets(&mut self) -> Packets<'_, 'p> {
        Packets { rx: self }
    }

    /// The next packet, which is not taken before it is said what becomes of it: [`Received::take`],
    /// [`Received::forward_to`].
    pub fn next_packet(&mut self) -> Option<Received<'_>> {
        let place = self.place()?;
        Some(Received {
            packet: Packet {
                ring: self.ring,
                place,
            },
            head: &mut self.head,
        })
    }

    /// Moves as many packets as there is room for, without copying them if the ports share their memory. A packet that
    /// `to` can never take ([`NotSent::TooLong`]) is dropped. Gives how many were moved.
    pub fn forward_to(&mut self, to: &mut Tx<'_>) -> usize {
        let (mut moved, mut put) = (0, Ok(()));
        loop {
            // Most packets have one slot.
            let run = to.put_run(self.ring, self.head, self.slots());
            self.head = self.ring.after(self.head, run);
            moved += run as usize;
            let Some(place) = self.place() else { break };
            put = to.put(self.ring, place);
            match put {
                Ok(()) => moved += 1,
                Err(NotSent::Full) => break,
                Err(NotSent::TooLong) => {}
            }
            self.head = place.next;
        }
        to.publish_after(put);
        moved
    }

    /// The next packet, if it has arrived whole.
    #[inline]
    fn place(&self) -> Option<Place> {
        if self.head == self.tail {
            return None;
        }
        let (mut last, mut slots) = (self.head, 1);
        while self.ring.has_more(last) {
            let next = self.ring.next(last);
            if next == self.tail {
                // The rest comes later; unless the ring is full of it.
                if slots + 1 < self.ring.num_slots() {
                    return None;
                }
                break;
            }
            (last, slots) = (next, slots + 1);
        }
        Some(Place {
            at: self.head,
            slots,
            next: self.ring.next(last),
        })
    }
}

/// When nothing that the ring has lent is used any more. What begins a packet that is not there whole stays, and nobody
/// is woken before more of it has come.
impl Drop for Rx<'_> {
    fn drop(&mut self) {
        if self.ring.own().is_some() {
            let is_part = self.is_empty();
            self.ring
                .publish(self.head, if is_part { self.tail } else { self.head });
        }
    }
}

/// Iterator over the packets of a ring: each counts as taken once it was given.
pub struct Packets<'r, 'p> {
    rx: &'r mut Rx<'p>,
}

impl<'r> Iterator for Packets<'r, '_> {
    type Item = Packet<'r>;

    fn next(&mut self) -> Option<Packet<'r>> {
        let place = self.rx.place()?;
        self.rx.head = place.next;
        let ring: &Ring = self.rx.ring;
        Some(Packet { ring, place })
    }
}

/// A packet in the buffers it has arrived in: one slot, or several for a packet that is longer than a buffer.
pub struct Packet<'r> {
    pub(crate) ring: &'r Ring,
    pub(crate) place: Place,
}

impl<'r> Packet<'r> {
    /// Bytes of all its slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fragments().map(<[u8]>::len).sum()
    }

    /// Has it no bytes?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots it has.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.place.slots
    }

    /// What its first slot holds: all of it, if it has one slot.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.ring.bytes(self.ring.slot(self.place.at))
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let slot = self.ring.slot(self.place.at);
        self.ring.bytes_mut(slot, slot.len.into())
    }

    /// What each of its slots holds.
    pub fn fragments(&self) -> impl Iterator<Item = &[u8]> {
        let ring = self.ring;
        self.place.slots(ring).map(|i| ring.bytes(ring.slot(i)))
    }

    /// Copies it to the end of `bytes`.
    pub fn copy_to(&self, bytes: &mut Vec<u8>) {
        self.fragments().for_each(|part| bytes.extend(part));
    }
}

/// The next packet of a ring. As long as nobody says what becomes of it, it stays there.
pub struct Received<'r> {
    packet: Packet<'r>,
    head: &'r mut u32,
}

impl<'r> Received<'r> {
    /// It is done with, and its slots go back with the next exchange.
    pub fn take(self) {
        *self.head = self.packet.place.next;
    }

    /// What its first slot holds, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.packet.bytes_mut()
    }

    /// Sends it on, without copying it if the two ports share their memory. Then it is taken.
    ///
    /// # Errors
    /// [`NotSent`]; then it stays where it is.
    pub fn forward_to(self, to: &mut Tx<'_>) -> Result<(), NotSent> {
        let put = to.put(self.packet.ring, self.packet.place);
        to.publish_after(put);
        if put.is_ok() {
            self.take();
        }
        put
    }
}

impl<'r> std::ops::Deref for Received<'r> {
    type Target = Packet<'r>;

    fn deref(&self) -> &Packet<'r> {
        &self.packet
    }
}
