//! A port that is open.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nm_abi::{NIOCRXSYNC, NIOCTXSYNC};

use crate::device;
use crate::error::Error;
use crate::memory::{Memory, Ring};
use crate::rx::Rx;
use crate::tx::Tx;

/// The rings of a direction.
pub(crate) type Side = Vec<Ring>;

/// A port that is open, with the rings that its name asks for. It is closed when it is dropped.
pub struct Port {
    name: String,
    device: File,
    memory: Arc<Memory>,
    tx: Side,
    rx: Side,
}

impl Port {
    pub(crate) fn new(name: String, device: File, memory: Arc<Memory>, tx: Side, rx: Side) -> Self {
        Self {
            name,
            device,
            memory,
            tx,
            rx,
        }
    }

    /// The name that it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// netmap's number of the memory that its rings and buffers lie in.
    #[must_use]
    pub fn memory_id(&self) -> u16 {
        self.memory.id()
    }

    /// Can packets move from one of the two ports to the other without being copied?
    #[must_use]
    pub fn shares_memory_with(&self, other: &Port) -> bool {
        self.memory.id() == other.memory.id()
    }

    /// Its tx rings.
    pub fn tx_rings(&mut self) -> impl ExactSizeIterator<Item = Tx<'_>> {
        self.tx.iter_mut().map(Tx::new)
    }

    /// Its rx rings.
    pub fn rx_rings(&mut self) -> impl ExactSizeIterator<Item = Rx<'_>> {
        self.rx.iter_mut().map(Rx::new)
    }

    /// Tx rings and rx rings, to answer with the same port.
    pub fn rings(
        &mut self,
    ) -> (
        impl ExactSizeIterator<Item = Tx<'_>>,
        impl ExactSizeIterator<Item = Rx<'_>>,
    ) {
        (
            self.tx.iter_mut().map(Tx::new),
            self.rx.iter_mut().map(Rx::new),
        )
    }

    /// Its `i`th tx ring.
    pub fn tx(&mut self, i: usize) -> Option<Tx<'_>> {
        self.tx.get_mut(i).map(Tx::new)
    }

    /// Its `i`th rx ring.
    pub fn rx(&mut self, i: usize) -> Option<Rx<'_>> {
        self.rx.get_mut(i).map(Rx::new)
    }

    /// Sends what is in the tx rings, and takes slots back that netmap is done with (NIOCTXSYNC).
    ///
    /// # Errors
    /// [`Error::Sync`] with netmap's errno.
    pub fn sync_tx(&mut self) -> Result<(), Error> {
        self.sync(NIOCTXSYNC)
    }

    /// Gives received slots back, and takes in what has arrived (NIOCRXSYNC).
    ///
    /// # Errors
    /// [`Error::Sync`] with netmap's errno.
    pub fn sync_rx(&mut self) -> Result<(), Error> {
        self.sync(NIOCRXSYNC)
    }

    fn sync(&mut self, request: u32) -> Result<(), Error> {
        device::sync(&self.device, request).map_err(|why| Error::Sync {
            name: self.name.clone(),
            why,
        })
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Port")
            .field("name", &self.name)
            .field("memory_id", &self.memory.id())
            .field("tx_rings", &self.tx.len())
            .field("rx_rings", &self.rx.len())
            .finish_non_exhaustive()
    }
}
