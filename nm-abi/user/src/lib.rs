//! netmap ports for Rust programs.
//!
//! A [`Port`] is opened by its name: a port of a VALE switch (`vale0:a`), an end of a pipe (`netmap:p{1`), a network
//! interface (`netmap:eth0`, its host rings with `netmap:eth0^`), with the suffixes that netmap's libraries know
//! ([`nm_abi::name`]). It has rings: packets that have arrived are in [`Rx`] rings, packets to send go into [`Tx`]
//! rings. [`wait`], [`Port::sync_rx`] and [`Port::sync_tx`] exchange slots with netmap; in between the slots, and the
//! buffers that they name, are the program's. What a ring lends (packets, buffers) borrows the port, so nothing of it
//! can be held over the next exchange.
//!
//! The program runs on a machine with netmap's kernel module, and on any other under `uvale run`, unchanged.
//!
//! A bridge, which moves packets between two ports without copying them if they share their memory:
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/bridge.rs")]
#![doc = "```"]
//!
//! # What a ring lends
//!
//! What is lent is given back before the next exchange, which the compiler sees to. This is fine:
//!
//! ```no_run
//! # fn example(port: &mut nm_user::Port) -> Result<(), nm_user::Error> {
//! let mut rx = port.rx(0).expect("a ring");
//! let packet = rx.next_packet().expect("a packet");
//! println!("{} bytes", packet.len());
//! drop(rx);
//! port.sync_rx()?;
//! # Ok(())
//! # }
//! ```
//!
//! And this is not ("cannot borrow `*port` as mutable more than once at a time"):
//!
//! ```compile_fail,E0499
//! # fn example(port: &mut nm_user::Port) -> Result<(), nm_user::Error> {
//! let mut rx = port.rx(0).expect("a ring");
//! let packet = rx.next_packet().expect("a packet");
//! port.sync_rx()?;
//! println!("{} bytes", packet.len());
//! drop(rx);
//! # Ok(())
//! # }
//! ```
//!
//! # What is trusted
//!
//! Indices and offsets that netmap writes into the shared memory are checked before they are used: none of them leads
//! outside of the mapping. Packets are shown where they lie, as `&[u8]` and `&mut [u8]`. By netmap's protocol they are
//! this program's until the next exchange; a process that has mapped the same memory and breaks the protocol can
//! change them all the same. Rust takes them for unchanging, and makes no promise of what the program then does. A
//! program whose peers may do that looks at copies ([`Packet::copy_to`]), or has its port on a switch, where it has a
//! memory of its own.
//!
//! A process has a ring once: opening it again is [`Error::Layout`].
#![deny(unsafe_code)]

mod device;
mod error;
mod memory;
mod open;
mod port;
mod rx;
#[cfg(feature = "tokio")]
mod tokio;
mod tx;
mod wait;

pub use crate::error::Error;
pub use crate::open::Open;
pub use crate::port::Port;
pub use crate::rx::{Packet, Packets, Received, Rx};
#[cfg(feature = "tokio")]
pub use crate::tokio::AsyncPort;
pub use crate::tx::{NotSent, Tx, TxSlot};
pub use crate::wait::{Interest, Watch, wait};
