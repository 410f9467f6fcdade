//! Ports in Tokio.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Error;
use crate::port::Port;

/// A port that is waited for in a Tokio runtime.
///
/// ```no_run
/// # async fn example() -> Result<(), nm_user::Error> {
/// use nm_user::{AsyncPort, Port};
///
/// let mut port = AsyncPort::new(Port::open("vale0:a")?)?;
/// loop {
///     let port = port.received().await?;
///     for mut rx in port.rx_rings() {
///         rx.packets().for_each(|packet| println!("{} bytes", packet.len()));
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncPort {
    /// a duplicate of the port's descriptor, which is lent to nobody
    ready: AsyncFd<OwnedFd>,
    port: Port,
}

impl AsyncPort {
    /// To be called in a runtime whose I/O is enabled.
    ///
    /// # Errors
    /// [`Error::Wait`] if the runtime cannot wait for it.
    pub fn new(port: Port) -> Result<Self, Error> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let own = port.as_fd().try_clone_to_owned().map_err(Error::Wait)?;
        // SAFETY: it stays the same descriptor, and open, until the `AsyncFd` is dropped: nobody else gets it.
        let ready = unsafe { AsyncFd::register_with_interest(own, interest) };
        let ready = ready.map_err(|e| Error::Wait(e.into()))?;
        Ok(Self { ready, port })
    }

    /// The port, for whoever need not wait.
    pub fn port(&mut self) -> &mut Port {
        &mut self.port
    }

    /// Gives received slots back, and waits until packets have arrived. Can be cancelled without losing any.
    ///
    /// # Errors
    /// [`Error::Sync`] and [`Error::Wait`].
    pub async fn received(&mut self) -> Result<&mut Port, Error> {
        loop {
            self.port.sync_rx()?;
            if self.port.rx_rings().any(|rx| !rx.is_empty()) {
                return Ok(&mut self.port);
            }
            let mut ready = self.ready.readable_mut().await.map_err(Error::Wait)?;
            ready.clear_ready();
        }
    }

    /// Sends what is in the tx rings, and waits until one of them has `slots` free ones, or all that it can have. Can
    /// be cancelled without losing packets.
    ///
    /// # Errors
    /// [`Error::Sync`] and [`Error::Wait`].
    pub async fn room(&mut self, slots: u32) -> Result<&mut Port, Error> {
        loop {
            self.port.sync_tx()?;
            let mut rings = self.port.tx_rings();
            if rings.any(|tx| tx.room() >= slots.clamp(1, tx.slots())) {
                drop(rings);
                return Ok(&mut self.port);
            }
            drop(rings);
            let mut ready = self.ready.writable_mut().await.map_err(Error::Wait)?;
            ready.clear_ready();
        }
    }
}
