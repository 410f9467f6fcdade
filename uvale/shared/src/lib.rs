//! Memory that processes share: regions with rings and buffers, control memory with the state of every ring, and the
//! protocols by which processes meet there: the lock that names its owner, sleeping and waking, who monitors a ring.
//!
//! All `unsafe` of the data path is in this crate. It is built whole under `cfg(loom)` too, where its
//! atomics are loom's (`atomics/model.rs`).

pub mod atomics;
pub mod binding;
pub mod ctl;
mod exchange;
pub mod extra;
pub mod held;
pub mod lock;
pub mod shm;
pub mod sleepers;
pub mod trace;
pub mod watch;
