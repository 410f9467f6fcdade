//! netmap's ptnet device from within a guest, in user space: no kernel module.
//!
//! A guest sees two PCI devices: *memdev*, whose memory BAR is the region of a netmap port of the host, and *ptnet*
//! with the port's registers. This crate finds them in sysfs, maps the region, gives the host two pages for the CSB,
//! and moves packets as netmap's own guest driver does: it writes head and cur of a ring into the CSB, reads hwcur and
//! hwtail from it, and kicks if the host has said that it sleeps.
//!
//! | file | what |
//! |---|---|
//! | `pci.rs` | PCI devices in sysfs: finding, enabling, BARs, the MSI-X table |
//! | `registers.rs` | 32-bit registers in a memory BAR or an I/O BAR |
//! | `pinned.rs` | pages of which the guest-physical address is known, and stays |
//! | `memdev.rs`, `device.rs` | the two devices |
//! | `naps.rs` | waiting |
//! | `numbered.rs` | packets with a number and known content |
//! | `signals.rs` | signals that end the program |
//! | `kicks.rs` | what a kick costs |
//! | `moves.rs` | what the program does with rings: send, receive, send back, forward |
//!
//! **Waiting.** User space has no interrupts of a device whose only ones are MSI-X: `uio_pci_generic` gives the INTx
//! line only, and vfio wants an IOMMU (its mode without one is not built into distributions' kernels). So who waits
//! looks again after short naps ([`naps::Naps`]).
//!
//! **Trust.** The host can read and write the guest's memory anyhow. What it writes is checked nevertheless: nonsense
//! in a register or in the CSB is an error with a sentence, and nothing leads to an access outside of the mapping.
#![deny(unsafe_code)]

pub mod device;
pub mod kicks;
mod memdev;
pub mod moves;
pub mod naps;
pub mod numbered;
pub mod pci;
#[allow(unsafe_code)]
mod pinned;
#[allow(unsafe_code)]
mod registers;
pub mod signals;
#[cfg(test)]
mod tests;

pub use device::{Device, Wanted};
pub use registers::Registers;
