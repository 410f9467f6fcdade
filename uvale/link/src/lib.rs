//! What a process needs to talk to a daemon: messages, sessions, where a world lives, and how its daemon is found or
//! started.
#![forbid(unsafe_code)]

pub mod channel;
pub mod difference;
pub mod environment;
pub mod interfaces;
pub mod manner;
pub mod name;
pub mod nic_helper;
pub mod place;
pub mod plain;
pub mod proto;
pub mod report;
pub mod session;
pub mod silence;
pub mod start;
pub mod waiting;
pub mod wire;
