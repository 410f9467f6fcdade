//! Ports in Tokio.
#![allow(unsafe_code)]

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
    port: AsyncFd<Port>,
}

impl AsyncPort {
    /// To be called in a runtime whose I/O is enabled.
    ///
    /// # Errors
    /// [`Error::Wait`] if the runtime cannot wait for it.
    pub fn new(port: Port) -> Result<Self, Error> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: a port answers with the same descriptor, and has it open, as long as it lives.
        let port = unsafe { AsyncFd::register_with_interest(port, interest) };
        let port = port.map_err(|e| Error::Wait(e.into()))?;
        Ok(Self { port })
    }

    /// The port, for whoever need not wait.
    pub fn port(&mut self) -> &mut Port {
        self.port.get_mut()
    }

    /// Gives received slots back, and waits until packets have arrived. Can be cancelled without losing any.
    ///
    /// # Errors
    /// [`Error::Sync`] and [`Error::Wait`].
    pub async fn received(&mut self) -> Result<&mut Port, Error> {
        loop {
            let port = self.port.get_mut();
            port.sync_rx()?;
            if port.rx_rings().any(|rx| !rx.is_empty()) {
                break;
            }
            let mut ready = self.port.readable_mut().await.map_err(Error::Wait)?;
            ready.clear_ready();
        }
        Ok(self.port.get_mut())
    }

    /// Sends what is in the tx rings, and waits until there is room in one of them. Can be cancelled without losing
    /// packets.
    ///
    /// # Errors
    /// [`Error::Sync`] and [`Error::Wait`].
    pub async fn room(&mut self) -> Result<&mut Port, Error> {
        loop {
            let port = self.port.get_mut();
            port.sync_tx()?;
            if port.tx_rings().any(|tx| tx.room() > 0) {
                break;
            }
            let mut ready = self.port.writable_mut().await.map_err(Error::Wait)?;
            ready.clear_ready();
        }
        Ok(self.port.get_mut())
    }
}
