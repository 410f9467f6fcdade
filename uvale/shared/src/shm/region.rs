//! A region as a process has mapped it.

use super::{BufferPool, Mapping};

/// A memory region mapped into this process.
#[derive(Debug)]
pub struct RegionMap {
    /// number of the region, unique for the life of the daemon
    pub number: u32,
    /// its memory
    pub map: Mapping,
    /// its buffers
    pub pool: BufferPool,
}
