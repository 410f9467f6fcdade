//! The ground that interposition and the driver stand on: nothing here knows a descriptor of ours.
//!
//! - `raw`: the kernel, past libc. `memory`: the program's pointers, which may be bad.
//! - `symbols`: the one list of what is interposed. `next`, `single`, `types`: the functions behind ours, what stands
//!   for them while they are not known, and their C types.
//! - `readers`: who looks at what others may be taking away, and who waits for them.
//! - `section`, `served`, `mask`, `signals`: our code as a system call: no handler in the middle of it, no
//!   cancellation.
//! - `trapped`: are the program's own system calls trapped? `guarded`: a call of the driver. `vfork`: a child on its
//!   parent's memory. `timeout`: when a wait ends.
//! - `lock`, `heap`, `ranges`: a lock, memory and stretches of addresses, none of which calls libc.

pub mod guarded;
pub mod heap;
pub mod lock;
pub mod mask;
pub mod memory;
pub mod next;
pub mod ranges;
pub mod raw;
pub mod readers;
pub mod section;
pub mod served;
pub mod signals;
pub mod single;
pub mod symbols;
pub mod timeout;
pub mod trapped;
pub mod types;
pub mod vfork;
