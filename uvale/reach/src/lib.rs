//! Programs that no preloaded library reaches find `/dev/netmap`: those that are statically linked, and those of Go.
//!
//! `uvale run` starts such a program under a filter of seccomp that hands the system calls which may be netmap's over
//! to it (user notification, seccomp_unotify(2)). For each `open("/dev/netmap")` it opens a description of its own, and
//! serves the program's calls by it. Everything else is the kernel's, which also waits in poll, select and epoll: by a
//! socket whose other end is here (`line.rs`).
//!
//! | file | what |
//! |---|---|
//! | `filter.rs`, `install.rs` | which calls are handed over; how a program comes to be under the filter |
//! | `kernel.rs` | notifications, descriptors and memory of programs: the `unsafe` part |
//! | `serve.rs`, `supervisor.rs` | the threads that answer; what they share |
//! | `calls.rs`, `calls/` | one match over the calls |
//! | `description.rs` | an open description |
//! | `waits.rs`, `line.rs` | who waits for one; the program's end of it |
//! | `requests.rs` | NIOCCTRL and the legacy requests |
//! | `namespace.rs` | network namespaces of programs |
//! | `process.rs`, `processes.rs` | who is served, and what their descriptors mean |
//! | `swapped.rs` | numbers that stand for memory for a moment |
//! | `watch.rs` | tokens, last closes, ends of processes |
//! | `locks.rs` | locks |
//! | `say.rs` | lines for the person |
//!
//! Locks are taken in this order: a process's, a description's, the watch's. Nothing that a program writes is trusted:
//! it is read once, checked, and the copy is used.

mod calls;
mod description;
mod filter;
mod install;
mod kernel;
mod line;
mod locks;
mod namespace;
mod process;
mod processes;
mod requests;
mod say;
mod serve;
mod supervisor;
mod swapped;
mod waits;
mod watch;

pub use install::{Reached, reach};
pub use kernel::{Answer, Listener};
pub use supervisor::World;
