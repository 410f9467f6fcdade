//! Rings with packets to send.

use std::fmt;

use nm_abi::{NS_MOREFRAG, netmap_slot};

use crate::memory::{Place, Ring};

/// A tx ring between two exchanges: what is put into it is sent with the next one.
pub struct Tx<'p> {
    ring: &'p Ring,
    head: u32,
    tail: u32,
}

/// Why a packet was not put into a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no room before the next exchange.
    Full,
    /// It has more bytes than all slots of the ring.
    TooLong,
}

impl fmt::Display for NotSent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "the ring is full",
            Self::TooLong => "the packet is longer than the ring",
        })
    }
}

impl std::error::Error for NotSent {}

impl<'p> Tx<'p> {
    pub(crate) fn new(ring: &'p mut Ring) -> Self {
        let (head, tail) = ring.own().unwrap_or_default();
        Self { ring, head, tail }
    }

    /// Free slots.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.ring.distance(self.head, self.tail)
    }

    /// Are that many slots free? If not, waiting for room ([`Interest::TX`](crate::Interest::TX)) lasts until there are
    /// more of them than now.
    #[must_use]
    pub fn has_room(&mut self, slots: u32) -> bool {
        let has_room = self.room() >= slots;
        if !has_room {
            self.publish_full();
        }
        has_room
    }

    /// Slots that may be free at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.ring.num_slots() - 1
    }

    /// Bytes of a buffer: a longer packet takes several slots.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        self.ring.buf_size()
    }

    /// Copies a packet into as many slots as it needs.
    ///
    /// # Errors
    /// [`NotSent`]; then nothing of it was put into the ring.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), NotSent> {
        let sent = self.copy(&[packet]);
        self.publish_after(sent);
        sent
    }

    /// A slot to write a packet of up to [`TxSlot::buffer`] bytes into; none if the ring is full.
    pub fn slot(&mut self) -> Option<TxSlot<'_>> {
        if self.head == self.tail {
            return None;
        }
        Some(TxSlot {
            ring: self.ring,
            slot: self.ring.slot(self.head),
            head: &mut self.head,
        })
    }

    /// Puts the packet there into this ring: by exchanging buffers, or by copying. Nothing is published.
    #[inline]
    pub(crate) fn put(&mut self, from: &Ring, place: Place) -> Result<(), NotSent> {
        if !from.exchanges_with(self.ring) {
            let mut pieces = place.slots(from).map(|i| from.bytes(from.slot(i)));
            // Each slot is read once.
            return match (place.slots, pieces.next()) {
                (1, Some(piece)) => self.copy(&[piece]),
                (_, first) => self.copy(&first.into_iter().chain(pieces).collect::<Vec<_>>()),
            };
        }
        if place.slots > self.room() {
            return Err(match place.slots < self.ring.num_slots() {
                true => NotSent::Full,
                false => NotSent::TooLong,
            });
        }
        let mut at = place.at;
        for _ in 0..place.slots {
            self.ring.exchange(self.head, from, at);
            (at, self.head) = (from.next(at), self.ring.next(self.head));
        }
        Ok(())
    }

    /// Puts packets of one slot each into this ring, if buffers can be exchanged, as long as there is room: up to
    /// `most` from slot `at` on. Gives how many. Nothing is published.
    #[inline]
    pub(crate) fn put_run(&mut self, from: &Ring, at: u32, most: u32) -> u32 {
        if !from.exchanges_with(self.ring) {
            return 0;
        }
        let most = most.min(self.room());
        let moved = self.ring.exchange_run(self.head, from, at, most);
        self.head = self.ring.after(self.head, moved);
        moved
    }

    /// Copies a packet that lies in several pieces.
    fn copy(&mut self, pieces: &[&[u8]]) -> Result<(), NotSent> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let places = self.places(len)?;
        let (mut left, mut piece, mut pieces) = (len, &[][..], pieces.iter());
        for n in 0..places {
            let slot = self.ring.slot(self.head);
            let part = left.min(self.ring.room(slot));
            fill(self.ring.bytes_mut(slot, part), &mut piece, &mut pieces);
            left -= part;
            let more = if n + 1 < places { NS_MOREFRAG } else { 0 };
            self.ring
                .set_slot(self.head, slot.buf_idx, part as u16, more);
            self.head = self.ring.next(self.head);
        }
        Ok(())
    }

    /// How many free slots take `len` bytes.
    fn places(&self, len: usize) -> Result<u32, NotSent> {
        let (mut at, mut room, mut n) = (self.head, 0, 0);
        while room < len || n == 0 {
            if at == self.tail {
                return Err(match n + 1 < self.ring.num_slots() && len <= self.most() {
                    true => NotSent::Full,
                    false => NotSent::TooLong,
                });
            }
            room += self.ring.room(self.ring.slot(at));
            at = self.ring.next(at);
            n += 1;
        }
        Ok(n)
    }

    /// Bytes of all slots, if packets begin where their buffers do.
    fn most(&self) -> usize {
        (self.ring.num_slots() as usize - 1) * self.ring.buf_size()
    }

    pub(crate) fn publish(&self) {
        if self.ring.own().is_some() {
            self.ring.publish(self.head, self.head);
        }
    }

    /// The free slots do not suffice: nobody is woken before there are more.
    fn publish_full(&self) {
        if self.ring.own().is_some() {
            self.ring.publish(self.head, self.tail);
        }
    }

    /// After a packet was put into the ring, or was not.
    pub(crate) fn publish_after(&self, put: Result<(), NotSent>) {
        match put {
            Err(NotSent::Full) => self.publish_full(),
            _ => self.publish(),
        }
    }
}

/// Fills `to` with what is left of `piece`, and with the pieces behind it.
fn fill<'a>(mut to: &mut [u8], piece: &mut &'a [u8], pieces: &mut std::slice::Iter<'_, &'a [u8]>) {
    while !to.is_empty() {
        if piece.is_empty() {
            match pieces.next() {
                Some(next) => *piece = next,
                None => return,
            }
        }
        let n = to.len().min(piece.len());
        let (now, later) = to.split_at_mut(n);
        now.copy_from_slice(&piece[..n]);
        (to, *piece) = (later, &piece[n..]);
    }
}

/// A free slot. It is sent by [`TxSlot::send`], and stays free otherwise.
pub struct TxSlot<'r> {
    ring: &'r Ring,
    slot: netmap_slot,
    head: &'r mut u32,
}

impl TxSlot<'_> {
    /// Its buffer, with whatever was in it.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.ring.bytes_mut(self.slot, usize::MAX)
    }

    /// Sends the first `len` bytes of its buffer, as many as it has at most.
    pub fn send(self, len: usize) {
        let len = len.min(self.ring.room(self.slot));
        let at = *self.head;
        self.ring.set_slot(at, self.slot.buf_idx, len as u16, 0);
        *self.head = self.ring.next(at);
        self.ring.publish(*self.head, *self.head);
    }
}
