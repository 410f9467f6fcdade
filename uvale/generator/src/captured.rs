//! A packet of a capture file, and what can be wrong with the file.

use std::fmt;
use std::io;

use pcap_file::PcapError;

/// Link type of Ethernet in both formats.
pub const LINKTYPE_ETHERNET: u32 = 1;
/// Longest packet that is read or written, in bytes; more than netmap can carry in one chain.
pub const MAX_PACKET: usize = 262_144;

/// What is wrong with a capture file.
#[derive(Debug)]
pub enum CaptureError {
    /// It cannot be read or written.
    Io(io::Error),
    /// It is not what its format says.
    Format(String),
    /// It ends in the middle of a packet; everything before was delivered.
    Truncated,
    /// It holds packets of another link layer.
    LinkType(u32),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Io(error) => write!(f, "{}", uvale_tools::output::plain(error)),
            CaptureError::Format(what) => write!(f, "{what}"),
            CaptureError::Truncated => write!(f, "the file ends in the middle of a packet"),
            CaptureError::LinkType(number) => {
                write!(
                    f,
                    "its link type is {number}; only Ethernet (1) can be sent on a netmap port"
                )
            }
        }
    }
}

impl std::error::Error for CaptureError {}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            CaptureError::Truncated
        } else {
            CaptureError::Io(error)
        }
    }
}

impl From<PcapError> for CaptureError {
    fn from(error: PcapError) -> Self {
        match error {
            PcapError::IoError(error) => error.into(),
            other => CaptureError::Format(other.to_string()),
        }
    }
}

/// A packet read from a capture.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Captured {
    /// When it was captured, nanoseconds since the epoch of the capture's clock.
    pub nanos: u64,
    /// Its bytes, as many as were captured.
    pub data: Vec<u8>,
    /// Its length when it was captured, at least `data.len()`.
    pub original: u32,
}
