//! The tester's ends of ports: what is sent, what comes, and the bad wires between.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use nm_user::{Error, Interest, NotSent, Open, Port, Watch};
use uvale_impair::{Outcome, Way};

use super::order::{Passed, flow};

mod all;

pub use all::Tester;

/// Slots of the tester's rx rings, unless the case says how many: more than a program's own rings can hold back.
const RX_SLOTS: u32 = 4096;

/// The sleep while a ring has room, but not enough, or packets wait for room in a program's ring.
const SOON: Duration = Duration::from_millis(1);

/// A frame that has left for the program, or come from it.
pub struct Frame {
    /// when
    pub at: SystemTime,
    pub bytes: Vec<u8>,
    /// the line of the step that it belongs to; none: no step has taken it
    pub taken: Option<usize>,
}

impl Frame {
    /// Now.
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            at: SystemTime::now(),
            bytes,
            taken: None,
        }
    }
}

/// Bytes of all.
fn len(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.bytes.len()).sum()
}

/// Frames leave a wire from the program.
fn release(from: &mut Way, now: Instant, came: &mut Vec<Frame>) {
    from.release(now, |bytes| {
        came.push(Frame::new(bytes.to_vec()));
        Outcome::Sent
    });
}

/// The tester's end of a port.
pub struct End {
    /// the port's name in the case
    pub name: String,
    /// the switch that it is on, if it is on one
    switch: Option<String>,
    port: Port,
    /// the bad wire: to the program, and from it
    ways: Option<[Way; 2]>,
    /// frames that steps have given it to send
    pub given: usize,
    /// on their way into the wire or the tx rings
    queue: VecDeque<Vec<u8>>,
    /// slots that may be sent before it is seen how many the program has read; none: the port itself keeps packets
    /// back
    pub credit: Option<u32>,
    /// slots sent
    pub slots_sent: u64,
    /// what is in the tx rings has not been sent yet
    is_dirty: bool,
    is_full: bool,
    /// what has left, in this order
    pub sent: Vec<Frame>,
    /// what has come, in this order
    pub came: Vec<Frame>,
    /// what other ends have sent on the same switch, which comes here, too, and is nobody's answer: how often
    echoes: BTreeMap<Vec<u8>, usize>,
    /// how much of that has come
    pub heard: usize,
    /// frames of `sent` that are among the echoes of other ends
    echoed: usize,
    /// bytes of both
    bytes: [usize; 2],
    /// how far steps have come with it
    pub passed: Passed,
}

impl End {
    /// Opens the port. `credit` begins at 0 if it is wanted at all.
    pub fn open(
        name: &str,
        switch: Option<&str>,
        opened: &str,
        [rings, slots]: [Option<u32>; 2],
        may_size: bool,
        ways: Option<[Way; 2]>,
        has_credit: bool,
    ) -> Result<Self, Error> {
        let mut open = Open::new();
        let mut opened = opened.to_owned();
        if may_size {
            if let Some(rings) = rings.and_then(|n| u16::try_from(n).ok()) {
                open = open.rings(rings);
            }
            match slots {
                Some(slots) => open = open.slots(slots),
                None => opened += &format!("@conf:rx-slots={RX_SLOTS}"),
            }
        }
        Ok(Self {
            name: name.to_owned(),
            switch: switch.map(str::to_owned),
            port: open.open(opened)?,
            ways,
            given: 0,
            queue: VecDeque::new(),
            credit: has_credit.then_some(0),
            slots_sent: 0,
            is_dirty: false,
            is_full: false,
            sent: Vec::new(),
            came: Vec::new(),
            echoes: BTreeMap::new(),
            heard: 0,
            echoed: 0,
            bytes: [0; 2],
            passed: Passed::default(),
        })
    }

    /// Sends them, as soon as there is room.
    pub fn send(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        let before = self.queue.len();
        self.queue.extend(frames);
        self.given += self.queue.len() - before;
    }

    /// Have all frames left, but for those that the wire keeps for a time?
    pub fn has_sent(&self) -> bool {
        let keeps = |way: &Way| way.takes_time() || way.waiting() <= 1;
        let wire = self.ways.as_ref().is_none_or(|[to, _]| keeps(to));
        self.queue.is_empty() && wire && !self.is_dirty
    }

    /// Is nothing on the wire, or on the way into it?
    pub fn is_idle(&self) -> bool {
        let waiting = self.ways.iter().flatten().any(|way| way.waiting() > 0);
        self.queue.is_empty() && !waiting && !self.is_dirty
    }

    /// Frames that have not left.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.ways.as_ref().map_or(0, |[to, _]| to.waiting())
    }

    /// Does the order of its frames say anything but within flows?
    pub fn has_one_ring(&mut self) -> bool {
        let (tx, rx) = self.port.rings();
        tx.len() <= 1 && rx.len() <= 1
    }

    /// Does it wait to see that the program has read?
    pub fn wants_credit(&self) -> bool {
        self.credit == Some(0) && self.is_full
    }

    /// Puts what there is room for into the tx rings.
    fn push(&mut self, now: Instant) -> Result<(), String> {
        self.is_full = false;
        let mut too_long = None;
        let before = self.sent.len();
        let Self {
            port,
            ways,
            queue,
            credit,
            sent,
            ..
        } = self;
        let mut out = Out {
            port,
            credit,
            sent,
            slots: 0,
        };
        match ways {
            None => {
                while let Some(frame) = queue.front() {
                    match out.put(frame) {
                        Outcome::Full => {
                            self.is_full = true;
                            break;
                        }
                        Outcome::TooLong => too_long = Some(frame.len()),
                        Outcome::Sent => {}
                    }
                    queue.pop_front();
                }
            }
            Some([to, _]) => loop {
                // What waits at a wire without delay is not on it; else a step's frames come to it at once.
                let before = queue.len();
                while to.takes_time() || to.waiting() < to.limit() {
                    let Some(frame) = queue.pop_front() else {
                        break;
                    };
                    to.accept(now, std::iter::once(&frame[..]));
                }
                self.is_full = to.release(now, |bytes| {
                    let outcome = out.put(bytes);
                    if outcome == Outcome::TooLong {
                        too_long = Some(bytes.len());
                    }
                    outcome
                });
                if self.is_full || queue.is_empty() || queue.len() == before {
                    break;
                }
            },
        }
        self.is_dirty |= out.slots > 0;
        self.slots_sent += u64::from(out.slots);
        self.bytes[0] += len(&self.sent[before..]);
        match too_long {
            None => Ok(()),
            Some(len) => Err(format!(
                "a frame of {len} bytes is longer than the rings of port {}",
                self.name
            )),
        }
    }

    /// Takes what has come.
    fn pull(&mut self, now: Instant) {
        let before = self.came.len();
        self.take(now);
        self.bytes[1] += len(&self.came[before..]);
        if self.echoes.is_empty() {
            return;
        }
        for frame in self.came.split_off(before) {
            match self.echoes.get_mut(&frame.bytes) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    self.heard += 1;
                }
                _ => self.came.push(frame),
            }
        }
    }

    fn take(&mut self, now: Instant) {
        let Self {
            port, ways, came, ..
        } = self;
        for mut rx in port.rx_rings() {
            for packet in rx.packets() {
                match ways {
                    None => {
                        let mut bytes = Vec::new();
                        packet.copy_to(&mut bytes);
                        came.push(Frame::new(bytes));
                    }
                    Some([_, from]) => {
                        from.accept(now, packet.fragments());
                        // Else a burst would be too much for a wire on which nothing waits.
                        if !from.takes_time() {
                            release(from, now, came);
                        }
                    }
                }
            }
        }
        if let Some([_, from]) = ways {
            release(from, now, came);
        }
    }

    /// For what comes, and for room if frames wait for it.
    fn watch(&mut self) -> Watch<'_> {
        self.port
            .watch(match self.is_full && self.credit != Some(0) {
                true => Interest::RX | Interest::TX,
                false => Interest::RX,
            })
    }

    /// When there is something to do here though nothing comes.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let room = self.port.tx_rings().any(|tx| tx.room() > 0);
        if self.is_full && (room || self.credit == Some(0)) {
            return Some(now + SOON);
        }
        let [to, from] = self.ways.as_ref()?;
        let to = to.next().filter(|_| !self.is_full);
        to.into_iter().chain(from.next()).min()
    }
}

/// Where frames leave.
struct Out<'e> {
    port: &'e mut Port,
    credit: &'e mut Option<u32>,
    sent: &'e mut Vec<Frame>,
    slots: u32,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Outcome {
        let ring = flow(bytes) as usize % self.port.tx_rings().len().max(1);
        let Some(mut tx) = self.port.tx(ring) else {
            return Outcome::TooLong;
        };
        let before = tx.room();
        let slots =
            u32::try_from(bytes.len().div_ceil(tx.buffer_size().max(1))).unwrap_or(u32::MAX);
        if self.credit.is_some_and(|credit| slots > credit) {
            // Of a program's ring with fewer slots than this frame there is never enough.
            *self.credit = Some(0);
            return Outcome::Full;
        }
        match tx.send(bytes) {
            Err(NotSent::Full) => return Outcome::Full,
            Err(NotSent::TooLong) => return Outcome::TooLong,
            Ok(()) => {}
        }
        let slots = before - tx.room();
        self.slots += slots;
        if let Some(credit) = self.credit {
            *credit = credit.saturating_sub(slots);
        }
        self.sent.push(Frame::new(bytes.to_vec()));
        Outcome::Sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_has_one_ring() {
        let mut frame = vec![0u8; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        let one = flow(&frame);
        // the number of the packet, its time to live, its checksum, what it carries
        for at in [18, 22, 24, 45] {
            frame[at] = 1;
        }
        assert_eq!(flow(&frame), one);
        frame[37] = 1;
        assert_ne!(flow(&frame), one);
        assert_eq!(flow(&frame[..0]), flow(&[]));
        assert!((0..38).all(|len| flow(&frame[..len]) != flow(&frame)));
    }
}
