//! The suites, in the order in which they run, and what they share.
//!
//! | file | suites |
//! |---|---|
//! | `plain.rs` | `vale`, `pipe`, `sizes` |
//! | `many.rs` | `mixed`, `senders`, `flood`, `ports`, `rings` |
//! | `chain.rs` | `chain` |
//! | `extras.rs` | `monitored`, `vnet` |
//! | `latency.rs` | `latency`, `wakeup` |
//! | `peers.rs` | `memif`, `peers` |
//! | `kernel.rs` | `nic`, `reach`, `preload` |
//! | `memory.rs` | `memory` |

mod chain;
mod extras;
mod kernel;
mod latency;
mod many;
mod memory;
mod peers;
mod plain;

use super::contest::Bench;
use super::options::Suite;
use super::run::Run;

/// A suite, and what measures it.
type Measure = (Suite, fn(&mut Run, &Bench));

/// All of them.
pub const SUITES: &[Measure] = &[
    (Suite::Vale, plain::vale),
    (Suite::Pipe, plain::pipe),
    (Suite::Sizes, plain::sizes),
    (Suite::Mixed, many::mixed),
    (Suite::Senders, many::senders),
    (Suite::Flood, many::flood),
    (Suite::Ports, many::ports),
    (Suite::Rings, many::rings),
    (Suite::Chain, chain::run),
    (Suite::Monitored, extras::monitored),
    (Suite::Vnet, extras::vnet),
    (Suite::Latency, latency::latency),
    (Suite::Wakeup, latency::wakeup),
    (Suite::Nic, kernel::nic),
    (Suite::Reach, kernel::reach),
    (Suite::Memif, peers::memif),
    (Suite::Peers, peers::peers),
    (Suite::Preload, kernel::preload),
    (Suite::Memory, memory::memory),
];
