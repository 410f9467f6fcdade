//! uvale: netmap's VALE switches and pipes in userspace.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod shm;
#[allow(unsafe_code)]
pub mod sys;

pub mod channel;
pub mod ctl;
pub mod engine;
pub mod lock;
pub mod place;
pub mod proto;
pub mod session;
pub mod start;
