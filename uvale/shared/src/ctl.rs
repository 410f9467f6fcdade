//! Control memory: the data path's state that programs must not touch.
//!
//! One sparse memfd per world, made by the daemon and mapped by every trusted process, holds
//! fixed-size tables: switches, ports, krings. References between them are table indices, never
//! pointers. A program maps only regions; nothing of this lies there.
//!
//! Who writes what:
//!
//! | field | writer |
//! |---|---|
//! | `Switch.*` except `fdb`, `Port.*` except `last_smac`, `Kring` configuration | the daemon |
//! | `Switch.fdb`, `Port.last_smac` | whoever sends, one atomic store per entry |
//! | `Kring.rhead`, `rcur`, `rtail`, `hwcur`, tx `hwtail` | the holder of `Kring.busy` |
//! | `Kring.sync` (counters) | the holder of `Kring.busy` |
//! | rx `Kring.hwtail`, `filled`, `produced` (counters) of a VALE port | the holder of `Kring.q_lock` |
//! | rx `Kring.hwtail` of a pipe | the holder of `Kring.busy` |
//! | the same of a monitor, and `exchange` | the holder of the monitor's `q_lock` |
//! | `produced` of a pipe's ring | the peer ring's syncer, under the peer's `busy` |
//! | `Kring.stuck_holder` | whoever waited for `q_lock` in vain; the next `Lease::take` that gets it clears it |
//! | `Kring.mon_tail` | the holder of `busy`; the daemon when the first monitor is opened |
//! | `Kring.frame`, `frame_user`, `swap`, `swapped` | the holder of `Kring.busy` |
//! | `Kring.joining` | the daemon and the peer ring's syncer set it, the holder of `Kring.busy` clears it |
//! | rx `Kring.hwtail` of a joined NIC port | the holder of `Kring.q_lock`; its own process holds that under `busy` |
//! | `Kring.pipe_tail` | the peer ring's syncer, under the peer's `busy` |
//! | `Kring.sleepers` | sleepers set and clear their own bit, wakers clear all |
//!
//! Lock order: `busy` of one's own ring, then `q_lock` of one receiver; never two of a kind. There are
//! two exceptions, neither of which waits. A sender that shows packets to a receiver's monitors tries
//! the receiver's `busy`. A sender that forwards through a port on two switches (bwrap) holds no
//! `q_lock`, tries the `busy` of the receiving ring, then that of the sending one, and sends from there.

mod epoch;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::lock::LockWord;
use crate::shm::{Indices, Memfd, Shared, Sparse};

/// Written at offset 0; changes with every change of the layout below.
pub const CTL_MAGIC: u64 = 0x7576_616c_6500_000b;
/// Entries of a switch's forwarding table (netmap's NM_BDG_HASH).
pub const FDB_SIZE: usize = 1024;
/// Port numbers of a switch (netmap's NM_BDG_MAXPORTS); two of them stay unused, as in netmap.
pub const SWITCH_PORTS: usize = 254;
/// Lookup result: every port but the sender's.
pub const BROADCAST: u32 = SWITCH_PORTS as u32;
/// Lookup result: no port, drop.
pub const NO_PORT: u32 = SWITCH_PORTS as u32 + 1;
/// Rings per direction of a VALE port (netmap's NM_BDG_MAXRINGS).
pub const MAX_RINGS: usize = 16;
/// Switches that fit into control memory; how many may exist is configuration.
pub const MAX_SWITCHES: usize = 256;
/// Port records.
pub const MAX_PORTS: usize = 32768;
/// Kring records.
pub const MAX_KRINGS: usize = 131_072;
/// Descriptors of one port that can be woken one by one.
pub const PORT_SLEEPERS: usize = 64;

/// Start of control memory.
#[repr(C, align(4096))]
pub struct Header {
    /// [`CTL_MAGIC`]
    pub magic: AtomicU64,
    /// random number of this world: tells a restarted daemon from the one before
    pub world: AtomicU64,
    /// counts the descriptors that were bound and the ports that came on a switch: when it has changed somebody new may
    /// be in a memory. Nobody may rely on the contrary, since each client can write it.
    pub arrivals: AtomicU64,
    /// module parameters
    pub tuning: Tuning,
}

/// Module parameters that the data path works by. Written by the daemon, rarely.
#[repr(C, align(128))]
pub struct Tuning {
    /// most slots that a switch takes at a time (bridge_batch); 0: nothing is forwarded
    pub batch: AtomicU32,
    /// not 0: each receiving sync sets its ring's time stamp (no_timestamp is 0)
    pub timestamps: AtomicU32,
}

/// A VALE switch.
#[repr(C, align(4096))]
pub struct Switch {
    /// changes with every attach and detach, when a port gets another virtio-net header, and with bridge_batch
    pub generation: AtomicU32,
    /// reserved
    pad0: AtomicU32,
    /// the port numbers in use, one bit each: the receivers of a broadcast. A port keeps its number
    /// while it is on the switch, so a sender that walks the bits while other ports come and go
    /// finds each port once.
    pub members: [AtomicU64; SWITCH_PORTS.div_ceil(64)],
    /// by port number: index of the port record plus one, 0 for none
    pub ports: [AtomicU32; SWITCH_PORTS],
    /// forwarding table: MAC address in bits 0 to 47 (first byte lowest), port number above
    pub fdb: [AtomicU64; FDB_SIZE],
    /// pad to whole pages
    pad1: [AtomicU64; 380],
}

impl Switch {
    /// The numbers of its ports.
    #[inline]
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let words = (0..).step_by(64).zip(&self.members);
        words.flat_map(|(first, members)| {
            let mut left = members.load(Ordering::Acquire);
            core::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
            })
        })
    }
}

/// Port is in netmap mode: at least one descriptor is registered.
pub const PORT_ON: u32 = 1;
/// Its interface is gone: deleted, or moved to another network namespace.
pub const PORT_GONE: u32 = 2;
/// Its interface is down or has no carrier: what is sent to it is lost.
pub const PORT_DOWN: u32 = 4;

/// A port.
#[repr(C, align(128))]
pub struct Port {
    /// changes whenever the record is given to another port; odd while in use
    pub generation: AtomicU32,
    /// PORT_*
    pub flags: AtomicU32,
    /// index of the switch plus one, 0 for none
    pub switch: AtomicU32,
    /// port number in the switch
    pub bdg_port: AtomicU32,
    /// region number
    pub region: AtomicU32,
    /// virtio-net header length: 0, 10 or 12
    pub virt_hdr_len: AtomicU32,
    /// tx rings, host rings not counted
    pub num_tx_rings: AtomicU32,
    /// rx rings, host rings not counted
    pub num_rx_rings: AtomicU32,
    /// index of the first tx kring; the krings of a port are consecutive
    pub tx_kring: AtomicU32,
    /// index of the first rx kring
    pub rx_kring: AtomicU32,
    /// maximum frame size, for the path between ports with different headers
    pub mfs: AtomicU32,
    /// of a NIC port: changes whenever the port gets another wire
    pub wires: AtomicU32,
    /// by sleeper bit: the client's number plus one (see `engine::Host::wake`), 0 for none
    pub sleepers: [AtomicU32; PORT_SLEEPERS],
    /// its name, first byte lowest, zeroes behind it: for people who trace
    name: [AtomicU64; 8],
    pad1: [AtomicU64; 17],
    /// source address learned last from this port (netmap's last_smac); all ones at first. In a line of its own: it
    /// changes with the port's traffic, and what is above is read by everybody who sends to the port
    pub last_smac: AtomicU64,
}

impl Port {
    /// Its name; of a port that has just gone, perhaps that of another one.
    pub fn name(&self) -> String {
        let words = self.name.iter().map(|w| w.load(Ordering::Relaxed));
        let bytes = words.flat_map(u64::to_le_bytes).take_while(|b| *b != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }

    /// Names it (daemon only). What is longer than 64 bytes is cut off.
    pub fn set_name(&self, name: &[u8]) {
        for (i, word) in self.name.iter().enumerate() {
            let mut eight = [0; 8];
            let part = name.get(i * 8..).unwrap_or_default();
            let n = part.len().min(8);
            eight[..n].copy_from_slice(&part[..n]);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
    }
}

/// nr_mode: ring not in use by the program.
pub const RING_OFF: u32 = 0;
/// nr_mode: ring in netmap mode.
pub const RING_ON: u32 = 1;

/// [`Kring::wire`]: it is a host ring.
pub const WIRE_HOST: u32 = 1 << 31;

/// The descriptor that owns the ring is in CSB mode.
pub const KLOOP_CSB: u32 = 1;
/// A sync loop runs on the descriptor.
pub const KLOOP_RUNNING: u32 = 2;
/// The loop is to end.
pub const KLOOP_STOPPING: u32 = 4;

/// A kring: the private state of one netmap ring.
#[repr(C, align(128))]
pub struct Kring {
    // -- configuration, constant while the ring exists --
    /// RING_OFF or RING_ON
    pub mode: AtomicU32,
    /// slots
    pub num_slots: AtomicU32,
    /// byte offset of the netmap_ring in the port's region; 0: the ring does not exist
    pub ring_ofs: AtomicU64,
    /// index of the port record
    pub port: AtomicU32,
    /// index of the peer kring plus one for pipes, 0 otherwise
    pub pipe: AtomicU32,
    /// ring number within its direction
    pub ring_id: AtomicU32,
    /// 1: tx, 0: rx
    pub dir: AtomicU32,
    /// region number of the port
    pub region: AtomicU32,
    /// generation of the port record this kring belongs to
    pub generation: AtomicU32,
    /// who monitors this ring: the rx krings of its monitors (see [`crate::watch`])
    pub watch: AtomicU64,
    /// rx of a monitor, by direction of the ring it monitors: the next copy monitor of that ring,
    /// index plus one; two links, of which one is in use
    pub mon_next: [[AtomicU32; 2]; 2],
    /// rx of a monitor, by direction: the ring that feeds it, index plus one
    pub mon_parent: [AtomicU32; 2],
    /// monitor: 1 once the monitored port has left netmap mode
    pub orphan: AtomicU32,
    /// rx of a port on two switches (bwrap): the tx kring over the same ring, which belongs to the
    /// port on the other switch, index plus one; 0 otherwise (see `engine::bwrap`)
    pub bwrap: AtomicU32,
    /// bits of slot.ptr that are an offset; 0: packets start where their buffers do
    pub offset_mask: AtomicU64,
    /// largest offset in bytes; larger ones count as this
    pub offset_max: AtomicU32,
    /// of the first ring of a descriptor in CSB mode: KLOOP_*
    pub kloop: AtomicU32,
    /// of a NIC port: number of the ring within its direction plus one, with [`WIRE_HOST`] for a host ring;
    /// 0 otherwise
    pub wire: AtomicU32,
    /// of a NIC port whose peer is open here, too (joined): the peer's ring at the other end, index plus
    /// one; 0 otherwise
    pub joined: AtomicU32,
    /// rx of a joined NIC port: from this time on (monotonic, nanoseconds) its own process may take what its peer
    /// sends, when what was on the wire before is taken in; 0: it does
    pub joining: AtomicU64,
    /// number of the trace of its packets, 0 for none (see `engine::trace`); the daemon writes it at any time
    pub trace: AtomicU32,
    /// counts the daemon's changes of what is above (see [`Kring::changed`])
    pub epoch: AtomicU32,
    /// packets of that trace that have left no record, because a process could not get it
    pub untraced: AtomicU64,

    // -- the syncing side's own --
    /// held during a sync of this ring (netmap's nr_busy)
    pub busy: LockWord,
    /// head, as of the last sync
    pub rhead: AtomicU32,
    /// cur, as of the last sync
    pub rcur: AtomicU32,
    /// tail, as of the last sync
    pub rtail: AtomicU32,
    /// rx with a monitor: first slot that copy monitors have not seen
    pub mon_tail: AtomicU32,
    /// counters of the syncing side
    pub sync: SyncCounters,
    /// rx of a NIC port: the frame of the wire that is next
    pub frame: AtomicU32,
    /// rx of a NIC port: the session that took the last one in
    pub frame_user: AtomicU32,
    /// tx of a joined NIC port: the exchange of buffers under way
    pub swap: Swap,

    // -- published by the syncing side: a pair of lines, because processors fetch them in pairs --
    /// tx: next slot to send; rx: first slot not yet released
    pub hwcur: AtomicU32,
    pad_hwcur: [AtomicU32; 31],

    // -- the producing side's own --
    /// held while a sender fills this rx ring
    pub q_lock: LockWord,
    /// counters of the producing side
    pub produced: ProduceCounters,
    /// rx of a VALE port: hwcur as last seen by a sender
    pub hwcur_seen: AtomicU32,
    /// rx of a VALE port: the senders' copy of hwtail, so that they need not share the receiver's
    /// cache line; written before hwtail
    pub filled: AtomicU32,
    /// bit mask of the port's descriptors that sleep on this ring
    pub sleepers: AtomicU64,
    /// the holder of `q_lock` that was waited for in vain (see `LockWord::holder`)
    pub stuck_holder: AtomicU64,
    /// rx of a monitor: packets dropped because `q_lock` was not released; written without it
    pub stuck: AtomicU64,
    /// rx of a zero-copy monitor: the exchange of two buffers under way, for whoever has to undo
    /// it (see `engine::monitor`)
    pub exchange: Exchange,
    pad_produce: AtomicU64,

    // -- what the syncing side polls: a pair of lines each --
    /// tx: last slot free to the program; rx: first slot not yet filled
    pub hwtail: AtomicU32,
    pad_hwtail: [AtomicU32; 31],
    /// what the peer has published (pipes)
    pub pipe_tail: AtomicU32,
    pad_pipe_tail: [AtomicU32; 31],

    /// tx of a joined NIC port: the buffers that the slots of the receiving ring had before [`Kring::swap`]
    pub swapped: [AtomicU32; SWAPS],
}

/// Exchanges of buffers between consecutive slots of two joined rings, written down before they are made.
#[repr(C)]
pub struct Swap {
    /// index of the receiving kring plus one while an exchange is under way, else 0
    pub with: AtomicU64,
    /// the first slots: the sending ring's in the lower half, the receiving ring's in the upper half
    pub slots: AtomicU64,
    /// how many
    pub count: AtomicU64,
}

/// How long what is on the wire comes first when two ports have been joined, in nanoseconds.
pub const SETTLING: u64 = 2_000_000;
/// Slots that exchange their buffers in one go.
pub const SWAPS: usize = 32;

/// An exchange of buffers between two slots, written down before it is made.
#[repr(C)]
pub struct Exchange {
    /// the two buffers: the monitored ring's in the lower half, the monitor's in the upper half
    pub buffers: AtomicU64,
    /// the two slots, likewise
    pub slots: AtomicU64,
    /// index of the monitored kring plus one while the exchange is under way, else 0
    pub with: AtomicU64,
}

impl Kring {
    /// The indices of a ring that senders fill.
    #[inline(always)]
    pub fn indices(&self) -> Indices<'_> {
        Indices {
            hwcur: &self.hwcur,
            hwtail: &self.hwtail,
            filled: &self.filled,
            hwcur_seen: &self.hwcur_seen,
        }
    }

    /// What the other side has published: of pipes, hwtail follows only with a sync.
    #[inline(always)]
    pub fn published(&self) -> &AtomicU32 {
        if self.pipe.load(Ordering::Relaxed) == 0 {
            &self.hwtail
        } else {
            &self.pipe_tail
        }
    }

    /// Is what arrives in this ring forwarded into another switch?
    #[inline(always)]
    pub fn has_bwrap(&self) -> bool {
        self.bwrap.load(Ordering::Relaxed) != 0
    }

    /// Does anybody trace its packets?
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        self.trace.load(Ordering::Relaxed) != 0
    }

    /// Does anybody monitor this ring?
    #[inline(always)]
    pub fn is_monitored(&self) -> bool {
        crate::watch::is_any(self.watch.load(Ordering::Relaxed))
    }
}

/// What a tx ring sent, and why it dropped. Written under `busy`.
#[repr(C)]
pub struct SyncCounters {
    /// packets taken from the ring
    pub packets: AtomicU64,
    /// bytes of those
    pub bytes: AtomicU64,
    /// slots with a length beyond the buffer or an NS_INDIRECT null pointer
    pub bad_slot: AtomicU64,
    /// frames shorter than an Ethernet header
    pub short: AtomicU64,
    /// frames for the port they came from, or for a port that is gone
    pub no_dest: AtomicU64,
    /// packets for a port whose ring is not open for receiving, or whose lock was not released
    pub no_receiver: AtomicU64,
    /// chains cut off at the end of the batch
    pub truncated: AtomicU64,
    /// calls with head or cur out of range
    pub reinit: AtomicU64,
    /// slots released or sent, for edge-triggered waiters
    pub progress: AtomicU64,
}

/// What reached a ring, and what did not. Written under `q_lock` (VALE) or the peer's `busy`
/// (pipes).
#[repr(C)]
pub struct ProduceCounters {
    /// packets delivered into the ring
    pub packets: AtomicU64,
    /// bytes of those
    pub bytes: AtomicU64,
    /// packets dropped because the ring was full
    pub full: AtomicU64,
    /// packets whose copy failed: bad NS_INDIRECT address, no room behind the offset
    pub bad_copy: AtomicU64,
    /// packets whose virtio-net header could not be turned into what this port expects
    pub unconvertible: AtomicU64,
    /// wake-ups sent
    pub wakeups: AtomicU64,
    /// slots published, for edge-triggered waiters
    pub progress: AtomicU64,
}

// SAFETY of all below: repr(C), integer atomics and such structs only.
#[allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
mod shared {
    use super::*;
    unsafe impl Shared for Header {}
    unsafe impl Shared for Tuning {}
    unsafe impl Shared for Switch {}
    unsafe impl Shared for Port {}
    unsafe impl Shared for Kring {}
}

/// Bytes of its parts, in the order in which they lie: header, switches, ports, krings.
const PARTS: [usize; 4] = [
    size_of::<Header>(),
    MAX_SWITCHES * size_of::<Switch>(),
    MAX_PORTS * size_of::<Port>(),
    MAX_KRINGS * size_of::<Kring>(),
];
const HEADER: usize = 0;
const SWITCHES: usize = 1;
const PORTS: usize = 2;
const KRINGS: usize = 3;
/// Length of control memory in bytes; sparse.
pub const CTL_LEN: usize = PARTS[0] + PARTS[1] + PARTS[2] + PARTS[3];

const _: () = {
    assert!(MAX_KRINGS < crate::watch::MOST as usize);
    assert!(size_of::<Port>() == 512);
    assert!(core::mem::offset_of!(Port, last_smac) >= 384);
    assert!(size_of::<Kring>() == 896);
    assert!(size_of::<Switch>().is_multiple_of(4096));
    assert!(PARTS[PORTS].is_multiple_of(4096) && PARTS[KRINGS].is_multiple_of(4096));
    assert!(core::mem::offset_of!(Kring, busy) == 128);
    assert!(core::mem::offset_of!(Kring, hwcur) == 256);
    assert!(core::mem::offset_of!(Kring, q_lock) == 384);
    assert!(core::mem::offset_of!(Kring, hwtail) == 512);
    assert!(core::mem::offset_of!(Kring, pipe_tail) == 640);
};

/// Control memory, mapped.
#[derive(Debug)]
pub struct Ctl {
    parts: Sparse<4>,
}

impl Ctl {
    /// Maps the beginnings of control memory's tables; `None` if it is too short or of another
    /// layout.
    pub fn open(memfd: &Memfd) -> Option<Self> {
        let parts = Sparse::beginnings(memfd, PARTS).ok()?;
        let magic = parts
            .record::<Header>(HEADER, 0)?
            .magic
            .load(Ordering::Acquire);
        (magic == CTL_MAGIC).then_some(Self { parts })
    }

    /// Makes control memory of a fresh memfd (daemon only).
    pub fn format(memfd: &Memfd) -> Option<Self> {
        let parts = Sparse::whole(memfd, PARTS).ok()?;
        let header = parts.record::<Header>(HEADER, 0)?;
        header.magic.store(CTL_MAGIC, Ordering::Release);
        Some(Self { parts })
    }

    #[inline]
    fn header(&self) -> Option<&Header> {
        self.parts.record(HEADER, 0)
    }

    /// Random number of this world.
    pub fn world(&self) -> u64 {
        self.header().map_or(0, |h| h.world.load(Ordering::Relaxed))
    }

    /// Names the world (daemon only).
    pub fn set_world(&self, number: u64) {
        if let Some(header) = self.header() {
            header.world.store(number, Ordering::Relaxed);
        }
    }

    /// How often a memory got somebody who uses it: a descriptor was bound, or a port came on a switch.
    pub fn arrivals(&self) -> u64 {
        // SYNC POINT: Acquire pairs with the Release of `count_arrival`; who asks the daemon afterwards hears of them.
        self.header()
            .map_or(0, |h| h.arrivals.load(Ordering::Acquire))
    }

    /// One more of those (daemon only).
    pub fn count_arrival(&self) {
        if let Some(header) = self.header() {
            header.arrivals.fetch_add(1, Ordering::Release);
        }
    }

    /// Module parameters that the data path uses; `None` only if control memory is too short.
    #[inline]
    pub fn tuning(&self) -> Option<&Tuning> {
        self.header().map(|header| &header.tuning)
    }

    /// Switch record `i`; `None` out of range.
    #[inline]
    pub fn switch(&self, i: u32) -> Option<&Switch> {
        self.parts.record(SWITCHES, i)
    }

    /// Port record `i`; `None` out of range.
    #[inline]
    pub fn port(&self, i: u32) -> Option<&Port> {
        self.parts.record(PORTS, i)
    }

    /// Kring record `i`; `None` out of range.
    #[inline]
    pub fn kring(&self, i: u32) -> Option<&Kring> {
        self.parts.record(KRINGS, i)
    }
}

/// Adds to a counter that only the caller writes: no read-modify-write cycle is needed.
#[inline]
pub fn count(counter: &AtomicU64, n: u64) {
    if n != 0 {
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }
}
