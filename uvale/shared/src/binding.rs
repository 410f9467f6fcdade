//! What REGISTER gave to a descriptor: made by the control plane, sent to the process, used by the data path.

use serde::{Deserialize, Serialize};

/// A port, a range of its rings, and the region they lie in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// name of the port, for messages
    pub name: String,
    /// index of the port record in control memory
    pub port: u32,
    /// its generation
    pub generation: u32,
    /// number of the region
    pub region: u32,
    /// bytes of the region that a program may map
    pub mem_size: u64,
    /// first selected ring by direction (0: rx, 1: tx)
    pub first: [u32; 2],
    /// one past the last selected ring by direction
    pub last: [u32; 2],
    /// poll sends what waits in tx rings even if nobody waits for room (no NR_NO_TX_POLL)
    pub tx_poll: bool,
    /// bit in the port's sleeper table; `None`: there was none left
    pub sleeper: Option<u8>,
    /// a null port: nothing is behind its rings and a sync changes nothing
    pub is_null: bool,
    /// a monitor: it receives only, from the syncs of the port it monitors
    pub is_monitor: bool,
    /// a NIC port: what is behind its rings is a wire
    pub is_nic: bool,
    /// addresses of the CSB's two arrays in the program, once it is in CSB mode
    pub csb: Option<(u64, u64)>,
}

impl Binding {
    /// The selected rings of a direction.
    pub fn rings(&self, dir: usize) -> core::ops::Range<u32> {
        self.first[dir]..self.last[dir]
    }
}
