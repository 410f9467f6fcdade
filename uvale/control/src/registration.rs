//! What a descriptor is bound to, as REGISTER leaves it.

use super::adapter::AdapterId;
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;

/// A descriptor's registration.
#[derive(Debug)]
pub(super) struct Bound {
    pub id: AdapterId,
    pub binding: Binding,
    /// nr_mem_id of the region
    pub mem_id: u16,
    /// object number of its `netmap_if`
    pub netmap_if: u32,
    /// where that is in the region (nr_offset)
    pub offset: u64,
    /// NR_EXCLUSIVE
    pub exclusive: bool,
    pub kloop: Kloop,
    /// its extra buffers until they are chained; then they are in the region's list alone
    pub extra: Extra,
}

/// The rings that a request selects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    pub first: [u32; 2],
    pub last: [u32; 2],
    pub exclusive: bool,
}

impl Selection {
    /// The selected rings of a direction.
    pub fn range(&self, dir: usize) -> core::ops::Range<u32> {
        self.first[dir]..self.last[dir]
    }
}

/// The state of a descriptor's sync loop, netmap's np_kloop_state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kloop {
    /// the session whose thread runs the loop
    pub running: Option<u32>,
    pub stopping: bool,
}
