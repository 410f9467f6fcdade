//! Interposition: the C library's calls on descriptors that are ours.
//!
//! From the roof down
//! - `exports`, `syscall`, `sanitizer`: what a program calls by name (the list is `ground::symbols`) and by number,
//!   and what AddressSanitizer's runtime asks for. `process`: start-up and fork.
//! - `exec`, `image`: programs that are executed, some of them served from beside.
//! - `trap`: the program's own system calls, which no library makes for it.
//! - `poll`, `select`, `epoll`, `wait`, `armed`: waiting, mixed with ordinary descriptors, in one real system call.
//!   `rings`: io_uring, which programs do without.
//! - `file`, `fds`, `arrivals`, `locked`: descriptors and their lives; mlockall.
//! - `open`, `stat`, `attributes`, `listing`, `parameter`, `paths`, `name`: what exists only here, as files.
//! - `interfaces`: network interfaces that exist only here.
//! - `entries`, `lookup`: from a number to the description behind it. `mapped`: mappings, which keep it open.
//! - `slot`, `gate`, `table`: the descriptions, who sleeps on them, and which numbers are ours (one load).
//! - `handlers`, `masks`: the program's signal handlers, behind one of ours, and its signal masks.
//!
//! `slot` and `epoll/set` know each other: a set holds descriptions, and a description may be a set. All other files
//! use only what stands below them.
//!
//! Every entry point asks the table and either does the work or calls the next library's function.
//! On ordinary descriptors there is no allocation, no lock, no thread-local data. Nothing here needs the constructor
//! to have run. A vfork child never changes the table (`ground::vfork`). Threads may
//! close a description while others use it: users hold counted references.
//!
//! Lock order: an epoll set's lock before those of sets nested in it; the driver is called with them held. That of
//! `mapped` comes last.

mod armed;
mod arrivals;
mod attributes;
mod entries;
mod epoll;
mod exec;
mod exports;
mod fds;
mod file;
mod gate;
mod handlers;
mod image;
mod interfaces;
mod listing;
mod locked;
mod lookup;
mod mapped;
mod masks;
mod name;
mod open;
mod parameter;
mod paths;
mod poll;
mod process;
mod rings;
mod sanitizer;
mod select;
mod slot;
mod stat;
mod syscall;
mod table;
mod trap;
mod wait;
