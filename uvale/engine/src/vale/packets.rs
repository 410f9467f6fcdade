//! The packets of a run, in the order of their slots.

use super::fill::{Plain, Source};
use super::places::Places;
use super::plan::{Flow, Headers, Plan, Table};
use uvale_shared::shm::{Buffers, SlotView};

/// Slots of a tx ring that are left of a run.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    slots: &'a [SlotView],
    buffers: Buffers<'a>,
    /// the slot after the packets so far
    at: u32,
    /// packets that may follow
    left: u32,
    /// the slots of this stretch
    row: &'a [SlotView],
}

impl<'a> Walk<'a> {
    /// `left` slots from `at` on at most, of these.
    #[inline(always)]
    pub(super) fn new(slots: &'a [SlotView], buffers: Buffers<'a>, at: u32, left: u32) -> Self {
        Self {
            slots,
            buffers,
            at,
            left,
            row: &[],
        }
    }

    /// A stretch of `most` slots at most begins; no stretch goes beyond the last slot of the ring.
    #[inline(always)]
    fn begin(&mut self, most: u32) -> u32 {
        let row = self.slots.get(self.at as usize..).unwrap_or_default();
        self.row = row.get(..self.left.min(most) as usize).unwrap_or(row);
        self.row.len() as u32
    }

    /// It ends after `n`.
    #[inline(always)]
    fn end(&mut self, n: u32) {
        self.at += n;
        if self.at as usize >= self.slots.len() {
            self.at = 0;
        }
        self.left -= n;
    }
}

/// The packets of a run up to the first one that does not look like the one before.
pub(super) struct OneFlow<'a> {
    walk: Walk<'a>,
    /// bytes before the Ethernet header, and its first twelve
    ahead: u32,
    words: (u64, u64),
}

impl<'a> OneFlow<'a> {
    /// Packets of `flow`.
    #[inline(always)]
    pub(super) fn new(walk: Walk<'a>, ahead: u32, flow: Flow) -> Self {
        let words = flow.words;
        Self { walk, ahead, words }
    }

    /// What is left.
    #[inline(always)]
    pub(super) fn walk(self) -> Walk<'a> {
        self.walk
    }
}

impl<'a> Source<'a> for OneFlow<'a> {
    #[inline(always)]
    fn begin(&mut self, most: u32) -> u32 {
        self.walk.begin(most)
    }

    #[inline(always)]
    fn take(&mut self, i: u32) -> Option<Plain<'a>> {
        let packet = Plain::of(
            self.walk.row.get(i as usize)?,
            self.walk.buffers,
            self.ahead,
        )?;
        (packet.bytes.words_behind(self.ahead) == self.words).then_some(packet)
    }

    #[inline(always)]
    fn end(&mut self, n: u32) {
        self.walk.end(n);
    }
}

/// The packets of a run, whatever they look like. `ALIKE`: what is sent arrives as it is.
pub(super) struct Mixed<'a, 'p, const ALIKE: bool> {
    walk: Walk<'a>,
    plan: &'p Plan,
    headers: Headers,
    /// bytes of the receiver's buffers
    room: u32,
    table: Table<'p>,
    flow: Flow,
    places: &'p mut Places,
}

impl<'a, 'p, const ALIKE: bool> Mixed<'a, 'p, ALIKE> {
    /// Packets that follow some of `flow`.
    #[inline(always)]
    pub(super) fn new(walk: Walk<'a>, plan: &'p Plan, flow: Flow, places: &'p mut Places) -> Self {
        Self {
            walk,
            plan,
            headers: plan.headers,
            room: plan.to.buffers().size(),
            table: plan.table(),
            flow,
            places,
        }
    }

    /// That of the last packet.
    #[inline(always)]
    pub(super) fn flow(self) -> Flow {
        self.flow
    }
}

impl<'a, const ALIKE: bool> Source<'a> for Mixed<'a, '_, ALIKE> {
    #[inline(always)]
    fn begin(&mut self, most: u32) -> u32 {
        self.walk.begin(most)
    }

    #[inline(always)]
    fn take(&mut self, i: u32) -> Option<Plain<'a>> {
        let view = self.walk.row.get(i as usize)?;
        let packet = Plain::of(view, self.walk.buffers, self.headers.from)?;
        if !ALIKE && !packet.is_convertible(self.headers, self.room) {
            return None;
        }
        let words = packet.bytes.words_behind(self.headers.from);
        self.flow
            .goes_on(words, (self.plan, self.table), self.places)
            .then_some(packet)
    }

    #[inline(always)]
    fn end(&mut self, n: u32) {
        self.walk.end(n);
    }
}

impl Plan {
    /// Does a run, the first one after packets of `flow`, begin with the packet in this slot? And its flow.
    #[inline(always)]
    pub(super) fn begins(
        &self,
        mut flow: Flow,
        view: &SlotView,
        buffers: Buffers<'_>,
        places: &mut Places,
    ) -> (Flow, bool) {
        let headers = self.headers;
        let packet = Plain::of(view, buffers, headers.from).filter(|packet| {
            headers.are_alike() || packet.is_convertible(headers, self.to.buffers().size())
        });
        let Some(packet) = packet else {
            return (flow, false);
        };
        let words = packet.bytes.words_behind(headers.from);
        if words == flow.words {
            return (flow, true);
        }
        // Without memory for them they are looked up.
        let _ = places.remember();
        let begins = flow.goes_on(words, (self, self.table()), places);
        (flow, begins)
    }
}
