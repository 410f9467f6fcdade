//! What a request comes with besides its bytes: what only the process that makes it can know.

use rustix::io::Errno;

use uvale_request::{FileRange, Interface};
use uvale_shared::extra::Extra;
use uvale_shared::shm::Memfd;

/// The process that made a request.
#[derive(Debug, Default)]
pub struct Caller {
    /// its session, 0 if it has none
    pub session: u32,
    /// the memory that the EXTMEM option names
    pub extmem: Option<Offer>,
    /// what the system has under the [`interface_part`](uvale_request::interface_part) of the request's name
    pub interface: Option<Interface>,
    /// where it has nothing under that name: cookie of the process's network namespace; 0: not known
    pub netns: u64,
    /// Out: number of CSB entries that have to be set up in the program's memory before the
    /// request counts as served; 0 for none.
    pub csb_entries: u32,
    /// Out: extra buffers that have to be chained there, see [`World::extra_chained`].
    ///
    /// [`World::extra_chained`]: super::World::extra_chained
    pub extra: Extra,
}

/// Memory of a program for a region.
#[derive(Debug)]
pub enum Offer {
    /// it lies in this memfd
    Memory {
        /// sealed against shrinking
        memfd: Memfd,
        /// whole pages
        pages: u64,
        /// the file ranges that it was mapped from, by which it is recognised later
        known_as: Vec<FileRange>,
    },
    /// it is the region of that number
    Region(u32),
    /// it cannot be used
    Refused(Errno),
}
