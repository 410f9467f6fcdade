//! Atomics and blocking for the protocols of the data path, in one place: the processor's, or under
//! `cfg(loom)` those of `model`, which loom explores.

#[cfg(loom)]
pub mod model;
#[cfg(loom)]
pub use model::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};
#[cfg(loom)]
pub use model::{reads, spin_loop, wait, wake_all, writes};

#[cfg(not(loom))]
mod processor;
#[cfg(not(loom))]
pub use processor::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub use processor::{reads, spin_loop, wait, wake_all, writes};

pub use core::sync::atomic::Ordering;
