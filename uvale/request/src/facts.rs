//! What a request comes with besides its bytes: what only the process that makes it can know.

use serde::{Deserialize, Serialize};

/// Pages of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// number of the device
    pub dev: u64,
    /// number of the inode
    pub ino: u64,
    /// first byte
    pub offset: u64,
    /// pages
    pub pages: u64,
}

/// A network interface of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// cookie of its network namespace; 0: the kernel does not tell
    pub netns: u64,
    /// its number in there
    pub index: u32,
    /// its MTU in bytes
    pub mtu: u32,
    /// its queues
    pub tx_queues: u16,
    /// its queues
    pub rx_queues: u16,
    /// slots of its rings as ethtool shows them; 0: it does not say
    pub tx_slots: u32,
    /// slots of its rings as ethtool shows them; 0: it does not say
    pub rx_slots: u32,
    /// its MAC address
    pub address: [u8; 6],
    /// it is up (IFF_UP)
    pub is_up: bool,
    /// packets begin with an Ethernet header
    pub is_ethernet: bool,
    /// it is a port of a bridge, a bond or their like
    pub has_master: bool,
    /// of a veth: its other end
    pub peer: Option<Peer>,
    /// what packets would bypass if they did not pass through the kernel here, for people: `qdisc netem`,
    /// `an XDP program`
    pub in_the_way: Vec<String>,
}

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// its number
    pub index: u32,
    /// the id that its network namespace has in this one; `None`: it is this one
    pub nsid: Option<i32>,
}

/// netmap compares one character less than the prefix has.
const PREFIX: &[u8] = b"val";

/// Does netmap take `name` for a port of a switch?
pub fn has_prefix(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// The part of a request's name that may be the name of an interface: the whole, or what stands behind
/// the name of a switch, without the ends of pipes. (A pipe can be on the end of a pipe; on a switch that is
/// looked up by its whole name.)
pub fn interface_part(name: &[u8]) -> &[u8] {
    match name.iter().position(|c| *c == b':') {
        Some(colon) if has_prefix(name) => {
            let port = &name[colon + 1..];
            let brace = |open| port.iter().rposition(|c| *c == open);
            let end = brace(b'{').or_else(|| brace(b'}')).unwrap_or(port.len());
            &port[..end]
        }
        _ => {
            let end = name.iter().position(|c| matches!(c, b'{' | b'}'));
            &name[..end.unwrap_or(name.len())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interface_part;

    #[test]
    fn where_an_interface_may_be_named() {
        for (name, part) in [
            ("eth0", "eth0"),
            ("eth0{1", "eth0"),
            ("eth0}1", "eth0"),
            ("eth0}1{2", "eth0"),
            ("{1", ""),
            ("a:b}1", "a:b"),
            ("vale0:eth0", "eth0"),
            ("vale0:eth0{1", "eth0"),
            ("vale0:eth0}{1", "eth0}"),
            ("vale0:eth0:1", "eth0:1"),
            ("vale0:", ""),
            ("vale0", "vale0"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(interface_part(name.as_bytes()), part.as_bytes(), "{name}");
        }
    }
}
