//! The data path: what kernel netmap does inside NIOCTXSYNC, NIOCRXSYNC and poll, executed by the
//! thread that calls.
//!
//! | file | what |
//! |---|---|
//! | `attachment.rs` | a bound descriptor: its rings; poll and sleep over them |
//! | `sync.rs` | a sync of a ring, with what is behind it: VALE, a pipe, monitors |
//! | `synced.rs` | a ring under its lock, and what is known of it; netmap's prologue, finalizer and re-initialisation |
//! | `vale.rs` | tx of a VALE port: a run in one pass, all else in batches |
//! | `lease.rs` | the receiving side: a ring of another port under its lock, filled and published |
//! | `fdb.rs` | the learning table |
//! | `pipe.rs` | tx and rx of a pipe |
//! | `nic.rs` | a NIC port: its wire, and the other end of a veth pair |
//! | `monitor.rs` | monitors: who else sees what passes through a ring |
//! | `bwrap.rs` | from one switch into another through a port that is on both; to and from a NIC on a switch |
//! | `brought.rs` | what arrives at a NIC on a switch is taken in and sent on |
//! | `vnet.rs` | packets between ports whose virtio-net headers differ |
//! | `offsets.rs` | packets that begin inside their buffers |
//! | `csb.rs` | a descriptor in CSB mode: one pass of a sync loop over a ring |
//! | `trace.rs` | what happens to packets, for `uvale trace` |
//! | `sleep.rs` | who sleeps on a ring and how it is woken |
//!
//! It runs in the process that calls, in the shim; all it knows about that process is [`Host`].
#![forbid(unsafe_code)]

mod attachment;
mod brought;
mod bwrap;
pub mod csb;
mod fdb;
mod lease;
mod monitor;
mod nic;
mod offsets;
mod pipe;
mod sleep;
mod sync;
mod synced;
pub mod trace;
mod vale;

pub mod vnet;

use std::sync::Arc;

use uvale_shared::ctl::{Ctl, Kring};
use uvale_shared::lock::Owner;
pub use uvale_shared::shm::RegionMap;

pub use attachment::{Attachment, Events};
pub use brought::Brought;
pub use lease::{Refused, Tally};
pub use sleep::RX;
pub use sleep::TX;
pub use vale::BATCH;

/// What the engine needs from the process it runs in.
pub trait Host: Send + Sync {
    /// Control memory.
    fn ctl(&self) -> &Arc<Ctl>;
    /// The session that owns the locks taken here.
    fn session(&self) -> u32;
    /// This thread of the session.
    #[inline]
    fn owner(&self) -> Owner {
        Owner::new(self.session(), uvale_system::sys::thread_number())
    }
    /// Region `number`, mapped; `None` if it is gone. May ask the daemon.
    fn region(&self, number: u32) -> Option<Arc<RegionMap>>;
    /// Makes the descriptor with wake-up number `client` readable.
    fn wake(&self, client: u32);
    /// The wire of the NIC port with record `port`; `None` if it has none. May ask the daemon.
    fn wire(&self, port: u32) -> Option<Arc<uvale_wire::Wire>> {
        let _ = port;
        None
    }
    /// Where records of trace `number` go; `None`: it is over. May ask the daemon.
    fn trace(&self, number: u32) -> Option<Arc<trace::Tracing>> {
        let _ = number;
        None
    }
    /// Something has happened that a trace tells. It is to return soon.
    fn noted(&self, what: Note<'_>) {
        let _ = what;
    }
}

/// What the engine says beside what it does, where it is not at its fastest anyway.
#[derive(Clone, Copy)]
pub enum Note<'a> {
    /// a sleeper of a ring was woken
    Woke {
        /// the ring
        kring: &'a Kring,
        /// the description that slept
        client: u32,
    },
    /// a switch has looked a packet's destination up
    Classified {
        /// it goes to all other ports
        is_flooded: bool,
        /// how many receivers there are
        receivers: usize,
        /// number of the first one on the switch
        first: Option<u32>,
    },
    /// a switch is about to show a receiver what it has put into its ring, or has dropped for it
    Delivered {
        /// its kring
        rx: u32,
        /// the first slot that was filled, and how many
        slots: (u32, u32),
        /// for the ring's counters
        tally: Tally,
        /// slots that arrive empty
        bad_copy: u64,
        /// with another virtio-net header
        converted: bool,
    },
    /// a receiver cannot be given its packets
    Refused {
        /// record of its port
        port: u32,
        /// number of the ring
        ring: u32,
        /// why
        why: Refused,
    },
    /// slots are shown to a monitor
    Shown {
        /// its ring
        kring: &'a Kring,
        /// the first slot there
        slot: u32,
        /// how many
        slots: u32,
        /// packets before them for which there was no room
        missed: u64,
    },
    /// a monitor misses packets, for the lock of its ring is not released
    Stuck {
        /// its ring
        kring: &'a Kring,
        /// how many
        missed: u64,
    },
}
