//! uvale: netmap's VALE switches and pipes in userspace.
// Under loom only the protocols of `tests/protocols.rs` are built, with loom's atomics.
#![cfg(not(loom))]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod shm;
#[allow(unsafe_code)]
pub mod sys;

#[cfg(feature = "tools")]
pub mod bench;
pub mod channel;
pub mod clock;
pub mod ctl;
#[cfg(feature = "tools")]
pub mod daemon;
pub mod difference;
#[cfg(feature = "tools")]
pub mod elf;
pub mod engine;
pub mod environment;
pub mod extra;
#[cfg(feature = "tools")]
pub mod generator;
pub mod legacy;
pub mod limits;
pub mod local;
pub mod lock;
pub mod model;
#[cfg(feature = "tools")]
pub mod nearest;
#[cfg(feature = "tools")]
pub mod output;
#[allow(unsafe_code)]
pub mod peer;
pub mod place;
pub mod plain;
pub mod proto;
pub mod report;
pub mod request;
pub mod session;
pub mod silence;
pub mod sleepers;
pub mod start;
#[cfg(feature = "tools")]
pub mod surroundings;
pub mod sync;
pub mod waiting;
pub mod watch;
pub mod who;
