//! What the daemon tells `uvale` commands: the shapes of the JSON that `--json` prints.

use core::iter::Sum;
use core::ops::Add;

use serde::{Deserialize, Serialize};

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// name, as it was opened
    pub name: String,
    /// vale, persistent, pipe-base, pipe-master, pipe-slave, null, monitor, nic
    pub kind: String,
    /// switch it is on
    pub switch: Option<String>,
    /// number in the switch
    pub number: Option<u32>,
    /// nr_mem_id of its memory
    pub mem_id: u16,
    /// descriptors bound to it
    pub users: u32,
    /// who opened them
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// bytes of virtio-net header
    pub virt_hdr_len: u32,
    /// slots of a tx ring
    pub tx_slots: u32,
    /// slots of an rx ring
    pub rx_slots: u32,
    /// transmit rings
    pub tx: Vec<TxRing>,
    /// receive rings
    pub rx: Vec<RxRing>,
    /// what only a NIC port has
    #[serde(default)]
    pub nic: Option<Nic>,
}

/// What only a NIC port has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// cookie of the interface's network namespace; 0: the kernel does not tell
    pub netns: u64,
    /// number of the interface in there
    pub index: u32,
    /// number of that namespace as `lsns -t net` shows it; none if it is not known
    #[serde(default)]
    pub namespace: Option<u64>,
    /// how its packets travel now: joined, packet, tap, xdp-zerocopy, xdp-native, xdp-generic; opening: not known yet;
    /// nothing
    pub wire: String,
    /// the port at the other end of the veth pair, which it is joined with
    pub joined: Option<String>,
    /// why it is no better wire, and what does not work: a sentence each
    pub why: Vec<String>,
    /// its host rings carry packets
    pub host: bool,
    /// the host does not see what arrives
    pub stolen: bool,
    /// the interface does not exist there any more
    pub gone: bool,
    /// the interface is down
    #[serde(default)]
    pub down: bool,
    /// what each of the port's holders has opened, as a port's name says it
    #[serde(default)]
    pub opened: Vec<String>,
    /// name of the port that it is on a switch
    #[serde(default)]
    pub attached: Option<String>,
    /// who looks at its rings all the time; none: nobody
    #[serde(default)]
    pub polling: Option<Polling>,
    /// the host's rings: what programs send to the host
    pub host_tx: Vec<TxRing>,
    /// and what the host sends
    pub host_rx: Vec<RxRing>,
}

impl Nic {
    /// Its wire is not up yet.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.wire == "opening"
    }
}

/// Processors that look at the rx rings of a NIC on a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Polling {
    /// this one at all of them
    One(u32),
    /// each of so many, from `first` on, at the ring that has its number
    Each {
        /// first processor, and first ring
        first: u32,
        /// how many
        count: u32,
    },
}

/// A process that has something open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// name of its program, as it says; empty if it does not
    pub program: String,
    /// its number as the daemon sees it
    pub pid: i32,
    /// it is in a PID namespace that the daemon cannot see, and `pid` is its number there
    pub other_pid_namespace: bool,
    /// it has ended, and another process has inherited what it had open
    pub ended: bool,
    /// its user
    pub uid: u32,
    /// since when (RFC 3339)
    pub since: String,
    /// whom it serves its port to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
}

/// A virtual machine, or what else has a port by a socket of `uvale vm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// the sockets by which it gets its port
    pub sockets: Vec<String>,
    /// the process at their other end (QEMU), as the one that serves it sees it; none: nobody is there, or it is in
    /// another PID namespace
    pub pid: Option<i32>,
}

/// An interface of the system that is a NIC port, or can be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// its name
    pub name: String,
    /// cookie of its network namespace; 0: the kernel does not tell
    pub netns: u64,
    /// its number in there
    pub index: u32,
    /// number of that namespace as `lsns -t net` shows it; none if it is not known
    pub namespace: Option<u64>,
    /// `uvale nic add` has made it
    pub made: bool,
    /// of one that is made: its queues
    pub queues: Option<u16>,
    /// name of the port that it is on a switch
    pub attached: Option<String>,
    /// who has it open
    pub holders: Vec<Holder>,
    /// what each of them has opened, as a port's name says it
    pub opened: Vec<String>,
}

/// An attached process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// who it is
    #[serde(flatten)]
    pub who: Holder,
    /// names of the ports that it has opened
    pub ports: Vec<String>,
    /// it is the one that asks for this report
    pub asks: bool,
}

/// An open description of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// the number that it is woken by, which no other one gets
    pub client: u32,
    /// who has opened it, if that is known
    pub who: Option<Holder>,
    /// name of the port that it is bound to
    pub port: Option<String>,
}

/// A module parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// its name
    pub name: String,
    /// its value, as its file under /sys/module/netmap/parameters reads
    pub value: String,
    /// the value it starts with in netmap
    pub default: String,
    /// may it be written while the daemon runs?
    pub writable: bool,
    /// what it does here: yes (as in netmap), stored (nothing), shown (it tells what is)
    pub effect: String,
    /// what it is about
    pub what: String,
}

/// Counters of a tx ring since the port was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxRing {
    /// packets taken from the ring
    pub packets: u64,
    /// their bytes
    pub bytes: u64,
    /// packets that went nowhere
    pub drops: TxDrops,
    /// calls with head or cur out of range
    pub reinit: u64,
    /// chains that were cut off at the end of a call
    pub truncated: u64,
}

/// Why packets of a tx ring went nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxDrops {
    /// length beyond the buffer, or a null NS_INDIRECT pointer
    pub bad_slot: u64,
    /// shorter than an Ethernet header
    pub short: u64,
    /// for the port it came from, or for a port that is gone
    pub no_destination: u64,
    /// for a port whose ring is not open for receiving, or whose lock a stopped process holds
    #[serde(default)]
    pub no_receiver: u64,
}

/// Counters of an rx ring since the port was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RxRing {
    /// packets delivered into the ring
    pub packets: u64,
    /// their bytes
    pub bytes: u64,
    /// packets that found no place
    pub drops: RxDrops,
    /// wake-ups sent to sleepers
    pub wakeups: u64,
    /// slots that hold packets now
    pub pending: u32,
}

/// Why packets for an rx ring were lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RxDrops {
    /// the ring was full
    pub full: u64,
    /// fragments that could not be copied: bad NS_INDIRECT address, smaller buffers here
    pub bad_copy: u64,
    /// packets whose virtio-net header could not be turned into what this port expects
    pub unconvertible: u64,
    /// packets for a monitor whose lock a stopped process holds, or whose memory cannot be mapped
    #[serde(default)]
    pub stuck: u64,
}

/// Makes counters add up, field by field.
macro_rules! add_up {
    ($ty:ident: $($field:ident)*) => {
        impl Add for $ty {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field),* }
            }
        }

        impl Sum for $ty {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), Add::add)
            }
        }
    };
}

add_up!(TxRing: packets bytes drops reinit truncated);
add_up!(TxDrops: bad_slot short no_destination no_receiver);
add_up!(RxRing: packets bytes drops wakeups pending);
add_up!(RxDrops: full bad_copy unconvertible stuck);

/// A switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// name without the colon
    pub name: String,
    /// nr_bridge_idx
    pub index: u32,
    /// addresses learned
    pub learned: u32,
    /// ports: number and name
    pub ports: Vec<(u32, String)>,
}

/// An entry of a forwarding table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// address, colon-separated
    pub mac: String,
    /// port number
    pub number: u32,
    /// name of the port that has the number now
    pub port: Option<String>,
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// version
    pub version: String,
    /// process number in its own namespace
    pub pid: i32,
    /// seconds since the start
    pub uptime: u64,
    /// attached processes
    pub processes: usize,
    /// and who they are
    #[serde(default)]
    pub attached: Vec<Process>,
    /// open descriptions of /dev/netmap
    pub descriptors: usize,
    /// switches that may exist
    pub max_switches: u32,
    /// memory allocators
    pub memories: Vec<Memory>,
}

/// A memory allocator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// nr_mem_id
    pub mem_id: u16,
    /// bytes a program maps
    pub size: u64,
    /// users
    pub users: u32,
    /// netmap_ifs, rings, buffers in use
    pub used: [u32; 3],
    /// netmap_ifs, rings, buffers in all
    pub total: [u32; 3],
}
