//! Robustness: programs and daemons killed, stopped, flooded and lied to, in every way to wait and with every call
//! that shares a descriptor. Others must not notice, nobody hangs, and nothing is left behind.

mod cases;
mod daemon;
mod input;
mod kill;
mod memory;
mod neighbours;
mod scale;
mod start;
mod syscalls;
mod traffic;
