//! Messages between processes and the daemon.
//!
//! A connection is an `AF_UNIX` `SOCK_SEQPACKET` socket, one message a packet. Every request
//! carries the socket for its reply (SCM_RIGHTS), because the program's end of a device
//! connection must never have anything to read but wake-up tokens.
//!
//! Two kinds of connection exist, told apart by their first message: a *session* for each process
//! ([`Call::Attach`]) and a *device* for each open file description of `/dev/netmap`
//! ([`Call::Open`]). The hang-up of a session tells the daemon that the process is gone, the
//! hang-up of a device that the last descriptor is closed.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::report::Guest;
use crate::report::Parameter;
use uvale_request::{FileRange, Interface};
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;
use uvale_shared::shm::Pages;
use uvale_system::refusal::{Refusal, number};
use uvale_system::who::Who;
use uvale_wire::Shape;

/// Changes with every incompatible change of the messages or of control memory.
pub const PROTOCOL: u32 = 17;

/// Largest message in bytes. A netmap request with its options is at most 4096 bytes, netmap's
/// own limit, plus our framing.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// A byte on the program's end of a device connection: look at your rings.
pub const TOKEN: &[u8] = b"w";

/// Requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// First on a session: here is a process. On a device: a process that got this description from
    /// elsewhere sends the socket of its new session with the call. Answer: [`Reply::Attached`] and
    /// control memory.
    Attach {
        /// [`PROTOCOL`] of the caller
        protocol: u32,
        /// the process
        who: Who,
    },
    /// First on a device: `/dev/netmap` was opened. Answer: [`Reply::Opened`].
    Open {
        /// [`PROTOCOL`] of the caller
        protocol: u32,
        /// flags of open(2)
        flags: i32,
        /// the process
        who: Who,
    },
    /// On a device: what is this? Answer: [`Reply::Opened`].
    Whois,
    /// On a device: NIOCCTRL. With it comes the memfd of [`Memory::Pages`]. Answer:
    /// [`Reply::Done`].
    Request {
        /// an encoded [`uvale_request::Request`]
        request: Vec<u8>,
        /// what goes with it
        facts: Facts,
    },
    /// On a device: the CSB is set up in the program's memory. Answer: [`Reply::Ok`].
    SetCsb {
        /// address of the program's array
        atok: u64,
        /// address of the loop's array
        ktoa: u64,
    },
    /// On a device: the extra buffers are chained. There is no answer.
    Chained,
    /// On a device: REGISTER has failed after all. Answer: [`Reply::Ok`].
    Unbind,
    /// On a device: the sync loop is over. Answer: [`Reply::Ok`].
    KloopEnd,
    /// On a session: is there a region with that file range? Answer: [`Reply::Found`].
    FindMemory(FileRange),
    /// On a session: memory region `0`. Answer: [`Reply::Region`] and its memfd.
    Region(u32),
    /// On a session: the wire of the NIC port with record `0`. Answer: [`Reply::Wire`] and its descriptors, as
    /// [`Shape`] says; `ENODATA` if nobody has opened it yet.
    Wire(u32),
    /// On a session: here is the wire of a NIC port, with its descriptors and those that are the daemon's to
    /// keep. Answer: [`Reply::Wire`] as above, with this one, or the one that another process has given before.
    GiveWire {
        /// record of the port
        port: u32,
        /// what it is
        shape: Shape,
        /// behind its own descriptors come a netlink socket that hears of the interface, and its network
        /// namespace; behind those what is to be kept
        watched: bool,
        /// whether it is to be joined with its peer
        join: Join,
    },
    /// On a session: here is an interface just made, a TAP device, to be kept until [`Call::DropTap`] or the daemon's
    /// end. With it come a descriptor for each of its queues, and those of its watch. Answer: [`Reply::Ok`].
    KeepTap {
        /// its name
        name: String,
        /// its number
        index: u32,
        /// how many queues it has
        queues: u16,
    },
    /// On a session: that interface is to go. Answer: [`Reply::Ok`]; `ENXIO` if there is none such here.
    DropTap {
        /// cookie of its network namespace
        netns: u64,
        /// its number in there
        index: u32,
    },
    /// On a session: the process serves a port to this guest, as reports are to show from now on. There is no answer.
    Guest(Guest),
    /// On a session: here is a ptnet device that this process drives, to be kept until [`Call::DropPtnet`], or either's
    /// end. With it come the descriptors of its shape, and a socket whose other end is that process's: what is closed
    /// there ends it here, and the other way round. Answer: [`Reply::Ok`].
    KeepPtnet {
        /// the name that programs open it by
        name: String,
        /// what it is
        shape: uvale_wire::ptnet::Shape,
    },
    /// On a session: the device of that name is to go. Answer: [`Reply::Ok`]; `ENXIO` if there is none such here.
    DropPtnet(String),
    /// On a session: trace the packets of a port, or of all ports of a switch, until the session ends or says
    /// [`Call::EndTrace`]. Answer: [`Reply::Trace`] and the memory of the trace.
    BeginTrace {
        /// name of the port or the switch
        name: String,
        /// bytes of each packet to record
        snaplen: u32,
    },
    /// On a session: its traces are over. Answer: [`Reply::Untraced`].
    EndTrace,
    /// On a session: where the records of trace `0` go. Answer: [`Reply::Trace`] and the memory of the trace; `ENXIO`
    /// if it is over.
    Trace(u32),
    /// On a session: a descriptor to wake client `0` with. Answer: [`Reply::Waker`] and the descriptor.
    Waker(u32),
    /// On a session: wake client `0`, without an answer. For callers that have no descriptor left.
    Wake(u32),
    /// On a session: clean up after the descriptor of client `0`, if it was closed before this. Answer:
    /// [`Reply::Ok`].
    Settle(u32),
    /// On a session: a report. Answer: [`Reply::Report`] and a memfd with JSON in it.
    Report(Report),
    /// On a session: the module parameter of this name. Answer: [`Reply::Parameter`].
    Parameter(String),
    /// On a session: the names of all module parameters. Answer: [`Reply::ParameterNames`].
    ParameterNames,
    /// On a session: write a module parameter. Answer: [`Reply::Written`].
    SetParameter {
        /// its name
        name: String,
        /// what is written to its file
        text: String,
    },
    /// First on a connection: here is a module parameter's file, opened for writing. Answer:
    /// [`Reply::Ok`]. From then on each packet without a reply socket is what is written to it.
    OpenParameter {
        /// [`PROTOCOL`] of the caller
        protocol: u32,
        /// its name
        name: String,
    },
    /// First on a connection: the interfaces of persistent ports. Answer: [`Reply::Report`] and a memfd with an
    /// encoded list of [`PortInterface`].
    Interfaces {
        /// [`PROTOCOL`] of the caller
        protocol: u32,
    },
    /// First on a connection: change the interface of a persistent port. Answer: [`Reply::Ok`].
    ChangeInterface {
        /// [`PROTOCOL`] of the caller
        protocol: u32,
        /// its number
        index: u32,
        /// what is to change
        change: Change,
    },
}

/// The interface of a persistent port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInterface {
    /// its name
    pub name: Vec<u8>,
    /// its number, which no interface of the system has
    pub index: u32,
    /// its MAC address
    pub address: [u8; 6],
    /// its MTU in bytes
    pub mtu: u32,
    /// its flags (`IFF_UP` and so on)
    pub flags: u32,
    /// its IPv4 address
    pub inet: Option<Inet>,
}

/// An IPv4 address, as bytes go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inet {
    /// of the interface
    pub address: [u8; 4],
    /// which bits of it are the network
    pub netmask: [u8; 4],
    /// everybody in it
    pub broadcast: [u8; 4],
}

/// What a program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// the flags
    Flags(u32),
    /// the MTU
    Mtu(u32),
    /// the MAC address
    Address([u8; 6]),
    /// the IPv4 address, or none
    Inet(Option<Inet>),
}

/// Whether a NIC port is to be joined with its peer when that is open, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Join {
    /// if nothing would be bypassed
    #[default]
    Auto,
    /// never
    Never,
    /// whatever is bypassed
    Always,
}

/// What a request comes with besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// session of the process
    pub session: u32,
    /// the memory that the EXTMEM option names
    pub memory: Option<Memory>,
    /// what the system has under [`interface_part`](uvale_request::interface_part) of the request's name
    pub interface: Option<Interface>,
    /// where it has nothing under that name: cookie of the process's network namespace; 0: not known, or no matter
    pub netns: u64,
}

/// A NIC that has been attached to a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedNic {
    /// record of the NIC port
    pub port: u32,
    /// name of its interface
    pub name: String,
}

/// Memory of a program for a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// the memfd that comes with the call
    Pages {
        /// how many, from the start of the memfd
        pages: u64,
        /// the file ranges that they were mapped from
        known_as: Vec<FileRange>,
    },
    /// a region that exists
    Region(u32),
    /// it cannot be used
    Refused(#[serde(with = "number")] Errno),
}

/// What `uvale` commands ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// ports with their rings and counters
    Ports,
    /// switches with their ports
    Switches,
    /// forwarding table of a switch, by name without the colon
    Fdb(String),
    /// the daemon itself
    Daemon,
    /// module parameters
    Parameters,
    /// interfaces that uvale has made, and others that are open or on a switch
    Interfaces,
    /// open descriptions, by the numbers that they are woken by
    Descriptions,
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// the session's number; with control memory
    Attached {
        /// owner number for locks
        session: u32,
    },
    /// an open description
    Opened {
        /// random number of the world
        world: u64,
        /// its wake-up number
        client: u32,
        /// flags of open(2)
        flags: i32,
        /// what it is bound to
        bound: Option<Box<Binding>>,
    },
    /// an answer to a netmap request
    Done {
        /// it was served, or refused by netmap's rules
        served: Result<(), Refusal>,
        /// the request with its results
        request: Vec<u8>,
        /// after a successful REGISTER
        bound: Option<Box<Binding>>,
        /// extra buffers that the caller has to chain then; a list that is too long for a message comes
        /// encoded in a memfd
        extra: Extra,
        /// entries of the CSB option that have to be set up in the program's memory now; 0 for none
        csb_entries: u32,
        /// a NIC is on a switch now: its wire has to be opened, if nobody has done so
        attached: Option<AttachedNic>,
    },
    /// it is done
    Ok,
    /// number of a region, if there is one
    Found(Option<u32>),
    /// shape of a region; with its memfd
    Region {
        /// byte offset of buffer 0
        pool_ofs: u64,
        /// bytes per buffer
        buf_size: u32,
        /// number of buffers
        buf_count: u32,
        /// bytes of the region that a program may map
        mem_size: u64,
        /// what it lies on
        pages: Pages,
    },
    /// a wire, with its descriptors
    Wire(Shape),
    /// a trace, with its memory
    Trace {
        /// its number
        number: u32,
        /// bytes of each packet to record
        snaplen: u32,
    },
    /// packets of a trace that have left no record, because a process could not get its memory
    Untraced(u64),
    /// with the descriptor
    Waker,
    /// with a memfd
    Report,
    /// a parameter, if there is one of that name
    Parameter(Option<Parameter>),
    /// the names of all
    ParameterNames(Vec<String>),
    /// it is written
    Written {
        /// no port will be opened with this value: why
        warning: Option<String>,
    },
    /// the call itself makes no sense or is not allowed
    Refused(Refusal),
}

/// The refusal that an answer is, or that it deserves because it does not fit the call.
pub fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        _ => Refusal::new(Errno::PROTO, "the uvale daemon gave an unexpected answer"),
    }
}

/// Encodes a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Writing into a Vec cannot fail for these types.
    postcard::to_stdvec(message).unwrap_or_default()
}

/// [`PROTOCOL`] of whoever sent a first message, which begins alike in all versions: with the number
/// of [`Call::Attach`] or [`Call::Open`], and the protocol.
pub fn protocol_of(first: &[u8]) -> Option<u32> {
    match beginning(first) {
        Some((0u32..=1, protocol)) => Some(protocol),
        _ => None,
    }
}

/// What a message begins with, whatever follows.
pub fn beginning<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(bytes)
        .ok()
        .map(|(beginning, _)| beginning)
}

/// Encodes a small message into `space`, without allocating.
pub fn encode_into<'a, T: Serialize>(message: &T, space: &'a mut [u8]) -> &'a [u8] {
    postcard::to_slice(message, space).map_or(&[], |bytes| bytes)
}

/// Decodes a message; `None` for anything that is not exactly one.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = decode::<Call>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }

        #[test]
        fn round_trip(number: u32, text: String, bytes: Vec<u8>) {
            let request = Call::Request { request: bytes.clone(), facts: Facts::default() };
            for call in [Call::Region(number), Call::Parameter(text.clone()), request] {
                prop_assert_eq!(decode::<Call>(&encode(&call)), Some(call));
            }
        }
    }

    /// Every version can tell which protocol a first message is of.
    #[test]
    fn first_messages_begin_alike() {
        let (protocol, who) = (300, Who::default());
        let attach = encode(&Call::Attach {
            protocol,
            who: who.clone(),
        });
        let open = encode(&Call::Open {
            protocol,
            flags: 2,
            who,
        });
        assert_eq!(attach[..3], [0, 0xac, 2]);
        assert_eq!(open[..3], [1, 0xac, 2]);
        assert_eq!(protocol_of(&attach), Some(300));
        assert_eq!(protocol_of(&open), Some(300));
        // What protocol 7 sent.
        assert_eq!(protocol_of(&[0, 7]), Some(7));
        assert_eq!(protocol_of(&[1, 7, 4]), Some(7));
        assert_eq!(protocol_of(&encode(&Call::Whois)), None);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Call::Whois);
        bytes.push(0);
        assert_eq!(decode::<Call>(&bytes), None);
    }
}
