//! A process and the kernel around it: descriptors and system calls, limits, clocks, memory, and who is at the other
//! end of a socket.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod clock;
pub mod device;
pub mod footprint;
pub mod limits;
#[allow(unsafe_code)]
pub mod peer;
#[allow(unsafe_code)]
pub mod raw;
pub mod refusal;
pub mod sockets;
#[allow(unsafe_code)]
pub mod sys;
pub mod who;
