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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// its MTU in bytes
    pub mtu: u32,
    /// its queues
    pub tx_queues: u16,
    /// its queues
    pub rx_queues: u16,
}

/// netmap compares one character less than the prefix has.
const PREFIX: &[u8] = b"val";

/// Does netmap take `name` for a port of a switch?
pub fn has_prefix(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// The part of a request's name that may be the name of an interface: the whole, or what stands behind
/// the name of a switch, without the end of a pipe.
pub fn interface_part(name: &[u8]) -> &[u8] {
    match name.iter().position(|c| *c == b':') {
        Some(colon) if has_prefix(name) => {
            let port = &name[colon + 1..];
            let brace = |open| port.iter().rposition(|c| *c == open);
            let end = brace(b'{').or_else(|| brace(b'}')).unwrap_or(port.len());
            &port[..end]
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::interface_part;

    #[test]
    fn where_an_interface_may_be_named() {
        for (name, part) in [
            ("eth0", "eth0"),
            ("eth0{1", "eth0{1"),
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
