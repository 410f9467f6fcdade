//! All access to memory that another process can write.
//!
//! | file | what |
//! |---|---|
//! | `mapping.rs` | a memfd and its mapping; typed views of records made of atomics |
//! | `pages.rs` | kinds of pages that a memory lies on |
//! | `made.rs` | a region's memory: on small pages or huge ones, and of which NUMA node |
//! | `sparse.rs` | a memfd of tables, mapped as far as they are used |
//! | `own.rs` | how these are mapped, and which they are |
//! | `region.rs` | a region as a process has mapped it |
//! | `ring.rs` | a `netmap_ring` inside a region: indices and slots |
//! | `buffers.rs` | the buffers of a region: bytes, looked at and copied |
//! | `held_ring.rs` | a ring and its buffers, looked at once |
//! | `room.rs` | the indices of a ring that others fill: whose which slot is |
//! | `slots.rs` | packets into the slots of a ring, and out of them |
//! | `copy.rs` | the one payload copy |
//!
//! Nearly all `unsafe` of this crate is here, and no crate of the data path above has any. What it hands out are
//! references to atomics and copies of values, bounds-checked against the private length of the
//! mapping, never against anything stored in the mapping itself. A peer that scribbles over the
//! memory can therefore make values wrong, but not accesses.

mod buffers;
mod copy;
mod held_ring;
mod made;
mod mapping;
mod own;
mod pages;
mod region;
mod ring;
mod room;
mod slots;
mod sparse;
#[cfg(test)]
mod tests;

pub use buffers::{Buffer, Buffers};
pub use copy::{copy_exact, copy_from_address, copy_in, copy_out, copy_out_to, copy_packet};
pub use held_ring::HeldRing;
pub use made::{Made, make, nodes};
pub use mapping::{MOST_PARTS, Mapping, Memfd, Shared, prefetch, prefetch_to_write};
pub use own::{own_mappings, unlock_own_mappings};
pub use pages::{Huge, Pages, Wanted};
pub use region::RegionMap;
pub use ring::{BufferPool, RingHeader, RingPlace, RingView, Slot, SlotView, rfrags};
pub use room::{Indices, Room, distance};
pub use slots::Slots;
pub use sparse::Sparse;
