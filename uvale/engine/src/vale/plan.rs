//! What runs had to look up. As long as nothing of the switch and the rings has changed, a sync looks at these alone,
//! and at the table for packets that do not look like the one before.

use core::cell::Cell;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::places::{NO_WORDS, Place, Places};
use crate::offsets::Offsets;
use crate::synced::place;
use crate::{fdb, vnet};
use uvale_shared::atomics::AtomicU64;
use uvale_shared::ctl::{FDB_SIZE, Kring, Port, Switch};
use uvale_shared::held::Held;
use uvale_shared::shm::{Buffer, HeldRing};

/// A generation that no switch has.
pub(super) const NEVER: u64 = u64::MAX;

/// A receiver, and what a run to it needs, so that the next sync need not find out again.
pub(super) struct Plan {
    /// slots per batch, one at least
    pub(super) batch: u32,
    /// by whom it was made, and in which epoch of the sending ring (see [`now`](crate::synced::now))
    pub(super) when: u64,
    /// the sending ring, if it is a descriptor's without virtio-net headers, and the record of its port
    pub(super) from: Option<HeldRing>,
    pub(super) me: Held<Port>,
    pub(super) switch: Held<Switch>,
    /// of the switch; [`NEVER`]: the plan is good for nothing
    pub(super) generation: Cell<u64>,
    /// numbers of the sender and of the receiver on the switch
    pub(super) numbers: (u32, u32),
    /// bytes before the Ethernet header, at the sender and at the receiver
    pub(super) headers: Headers,
    /// what the last packet looked like
    pub(super) last: Cell<Last>,
    /// packets of the last run did not all look alike, as far as that is known
    pub(super) is_mixed: Cell<bool>,
    /// the receiving ring, its kring and its epoch
    pub(super) to: HeldRing,
    pub(super) rx_index: u32,
    pub(super) rx: Held<Kring>,
    pub(super) rx_epoch: u32,
    /// nobody else sees what the receiver gets
    pub(super) is_private: bool,
}

/// Lengths of the virtio-net headers of a sender and of a receiver, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Headers {
    /// None at both.
    pub(super) const NONE: Self = Self { from: 0, to: 0 };

    /// What is sent arrives as it is.
    #[inline(always)]
    pub(super) fn are_alike(self) -> bool {
        self.from == self.to
    }

    /// Bytes that arrive of a packet of `len` bytes, its own header included.
    #[inline(always)]
    pub(super) fn len(self, len: u32) -> u32 {
        len.saturating_sub(self.from) + self.to
    }

    /// Puts the header that a receiver gets, if it has one, into its buffer: what that of `packet` says, as far as
    /// there is one.
    #[inline(always)]
    #[must_use]
    pub(super) fn put(self, packet: Buffer<'_>, to: Buffer<'_>) -> bool {
        // Ten bytes of the packet are all but the last two of three words that overlap.
        let (lo, hi) = packet.words();
        let mut header = [0; vnet::MOST_HDR_LEN];
        if self.from != 0 {
            header[..8].copy_from_slice(&lo.to_le_bytes());
            header[8..10].copy_from_slice(&hi.to_le_bytes()[4..6]);
        }
        header
            .get(..self.to as usize)
            .is_some_and(|header| to.put(header))
    }
}

/// What the last packet of a run looked like.
#[derive(Clone, Copy)]
pub(super) struct Last {
    /// first twelve bytes
    words: (u64, u64),
    /// the address that the sender has last been seen with
    source: u64,
    /// place and content of the destination's table entry
    place: usize,
    entry: u64,
}

impl Last {
    /// There was none.
    pub(super) const NONE: Self = Self {
        words: NO_WORDS,
        source: 0,
        place: 0,
        entry: 0,
    };
}

/// Packets between the same two addresses.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    /// first twelve bytes of each
    pub(super) words: (u64, u64),
    /// the address that the sender had been seen with before them
    source: fdb::Mac,
}

/// What a look-up has found out. Of few words, so that it comes in registers.
#[derive(Clone, Copy)]
struct Found {
    /// as in [`Flow`]
    source: fdb::Mac,
    /// does the packet go to the receiver?
    takes: bool,
}

/// What the table has to say of flows that go to a receiver.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    entries: &'a [AtomicU64; FDB_SIZE],
    /// numbers of the sender and of the receiver
    numbers: (u32, u32),
}

impl Table<'_> {
    /// Does the table say, at `guess`, that a packet that begins with `words` goes to the receiver and comes from the
    /// sender? Then a look-up would change nothing, and have the same result.
    #[inline(always)]
    pub(super) fn knows(self, words: (u64, u64), guess: Place) -> bool {
        let ((destination, source), (me, receiver)) =
            (fdb::addresses(words.0, words.1), self.numbers);
        let says = |place: u16| self.entries[usize::from(place) % FDB_SIZE].load(Relaxed);
        let (to, from) = (says(guess.destination), says(guess.source));
        // Addresses of groups are never there. An empty place would do for the zero address behind port 0, wherever it
        // is.
        (to == fdb::entry(destination, receiver)) & (from == fdb::entry(source, me)) & (to != 0)
    }
}

impl Flow {
    /// A packet begins with `words`: does it go to the receiver of `plan`, whose table is `table`? Then this is its
    /// flow. Its source is learnt before, as netmap does it.
    #[inline(always)]
    pub(super) fn goes_on(
        &mut self,
        words: (u64, u64),
        (plan, table): (&Plan, Table<'_>),
        places: &mut Places,
    ) -> bool {
        if let Some(guess) = places.guess(words)
            && table.knows(words, guess)
        {
            self.words = words;
            return true;
        }
        let found = plan.look_up(words, self.source(), places);
        self.source = found.source;
        // What is like the one before a packet for others has to be learnt once more.
        self.words = if found.takes { words } else { NO_WORDS };
        found.takes
    }

    /// The address that the sender has last been seen with.
    #[inline(always)]
    fn source(&self) -> fdb::Mac {
        let source = fdb::addresses(self.words.0, self.words.1).1;
        match self.words == NO_WORDS || fdb::is_group(source) {
            true => self.source,
            false => source,
        }
    }
}

impl Plan {
    /// May a packet that begins with `words` go where the last one went, if [`Plan::is_still`]? Plans are for rings
    /// whose packets begin where their buffers do, in memories of whole lines.
    #[inline(always)]
    pub(super) fn is_same(&self, words: (u64, u64)) -> bool {
        self.last.get().words == words && self.is_known()
    }

    /// Is the switch as it was?
    #[inline(always)]
    pub(super) fn is_current(&self) -> bool {
        self.generation.get() == u64::from(self.switch.generation.load(Acquire))
    }

    /// Would the look-up for another packet like the last one change nothing, and have the same result?
    #[inline(always)]
    fn is_known(&self) -> bool {
        let last = self.last.get();
        self.switch.fdb[last.place & (FDB_SIZE - 1)].load(Relaxed) == last.entry
            && self.me.last_smac.load(Relaxed) == last.source
    }

    /// Packets that need not be looked up.
    #[inline(always)]
    pub(super) fn flow(&self) -> Flow {
        Flow {
            words: self.known_words().unwrap_or(NO_WORDS),
            source: self.me.last_smac.load(Relaxed),
        }
    }

    /// First twelve bytes of packets that need not be looked up, if there are such.
    #[inline(always)]
    pub(super) fn known_words(&self) -> Option<(u64, u64)> {
        self.is_known().then(|| self.last_words())
    }

    /// First twelve bytes of the last packet.
    #[inline(always)]
    pub(super) fn last_words(&self) -> (u64, u64) {
        self.last.get().words
    }

    /// The switch's table.
    #[inline(always)]
    pub(super) fn table(&self) -> Table<'_> {
        Table {
            entries: &self.switch.fdb,
            numbers: self.numbers,
        }
    }

    /// Looks up a packet that begins with `words`, whose sender has last been seen with address `before`.
    #[inline(never)]
    fn look_up(&self, words: (u64, u64), before: fdb::Mac, places: &mut Places) -> Found {
        let (destination, source) = fdb::addresses(words.0, words.1);
        let (place, is_group) = (places.work_out(words), fdb::is_group(source));
        let table = &self.switch.fdb;
        if source != before && !is_group {
            fdb::learn_at(table, place.source.into(), source, self.numbers.0);
        }
        let says = table[usize::from(place.destination) % FDB_SIZE].load(Relaxed);
        Found {
            source: if is_group { before } else { source },
            takes: !fdb::is_group(destination) && says == fdb::entry(destination, self.numbers.1),
        }
    }

    /// The last packet has begun with `words`; its addresses have these places, and the table knows them.
    pub(super) fn ends_with_known(&self, words: (u64, u64), place: Place) {
        let (destination, source) = fdb::addresses(words.0, words.1);
        self.note_source(source);
        self.last.set(Last {
            words,
            source,
            place: place.destination.into(),
            entry: fdb::entry(destination, self.numbers.1),
        });
    }

    /// The sender has been seen with address `source`.
    fn note_source(&self, source: fdb::Mac) {
        let smac = &self.me.last_smac;
        if smac.load(Relaxed) != source {
            smac.store(source, Relaxed);
        }
    }

    /// A run that began with packets of `first` has ended with some of `flow`: are runs mixed? This one `was`, if
    /// others have been seen in it.
    #[inline(always)]
    pub(super) fn ends_run_with(&self, first: Flow, flow: Flow, was: bool) {
        let before = self.last_words();
        if was {
            self.is_mixed.set(true);
        } else if before != NO_WORDS && flow.words != NO_WORDS {
            self.is_mixed
                .set(first.words != before || flow.words != before);
        }
        self.ends_with(flow);
    }

    /// The last packet was of `flow`.
    #[inline(always)]
    pub(super) fn ends_with(&self, flow: Flow) {
        let (mut last, source) = (self.last.get(), flow.source());
        self.note_source(source);
        if last.words != flow.words {
            let (destination, _) = fdb::addresses(flow.words.0, flow.words.1);
            last.words = flow.words;
            last.place = fdb::hash(destination);
            last.entry = fdb::entry(destination, self.numbers.1);
        }
        last.source = source;
        self.last.set(last);
    }

    /// Is the receiving ring `rx`, which is locked, still the one that was looked up? A plan outlives the sync that
    /// made it: its records may be another port's by now, which the epoch says, or the port may have left the switch,
    /// whose generation says so. Looked at under the lock, through which the daemon passes afterwards.
    #[inline(always)]
    pub(super) fn is_still(&self, rx: &Kring) -> bool {
        rx.check(self.rx_epoch, |rx| {
            let is_private = !rx.is_monitored() && !rx.has_bwrap();
            let is_there = place(rx, self.to.region()).is_some() && Offsets::of(rx).is_none();
            rx.now() != self.rx_epoch || is_there && is_private == self.is_private
        });
        rx.now() == self.rx_epoch
            && self.generation.get() == u64::from(self.switch.generation.load(Relaxed))
    }
}
