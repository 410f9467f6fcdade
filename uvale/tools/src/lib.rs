//! What the commands share: words on a terminal, names that are nearly right, patterns for names, what a program's file
//! says of how it is started, and how a program finds the device, MAC addresses, signals that end a command.
#![forbid(unsafe_code)]

pub mod elf;
pub mod mac;
pub mod nearest;
pub mod output;
pub mod pattern;
pub mod rate;
pub mod reach;
pub mod signals;
