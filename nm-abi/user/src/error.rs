//! What can go wrong, in sentences.

use std::fmt;
use std::io;

use nm_abi::NETMAP_DEVICE_NAME;
use nm_abi::name::NameError;

/// Why a port cannot be opened or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The name is none that netmap's library would take.
    Name {
        /// the name
        name: String,
        /// what is wrong with it
        why: NameError,
    },
    /// The name has an option that this crate does not know.
    Option {
        /// the name
        name: String,
        /// the option
        option: String,
    },
    /// There is no netmap on this machine, or it cannot be opened.
    Device(io::Error),
    /// netmap refuses to open the port.
    Refused {
        /// its name
        name: String,
        /// netmap's errno
        why: io::Error,
    },
    /// The port's memory cannot be mapped.
    Memory {
        /// the port's name
        name: String,
        /// why
        why: io::Error,
    },
    /// What netmap wrote into the port's memory makes no sense.
    Layout {
        /// the port's name
        name: String,
        /// what does not
        what: &'static str,
    },
    /// A system call on an open port has failed.
    Sync {
        /// the port's name
        name: String,
        /// why
        why: io::Error,
    },
    /// The port has gone while it was open: its interface was deleted, or netmap has ended. Or netmap found nonsense in
    /// a ring, and has reset it.
    Gone {
        /// its name
        name: String,
    },
    /// Waiting has failed.
    Wait(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, why } => write!(out, "{name}: {why}"),
            Self::Option { name, option } => {
                write!(out, "{name}: the option {option} is not supported here")
            }
            Self::Device(why) if why.kind() == io::ErrorKind::NotFound => write!(
                out,
                "there is no {NETMAP_DEVICE_NAME}: load netmap's module, or start this program with \"uvale run\""
            ),
            Self::Device(why) => write!(out, "{NETMAP_DEVICE_NAME}: {why}"),
            Self::Refused { name, why } => {
                write!(out, "{name}: {why}")?;
                hint(why).map_or(Ok(()), |hint| write!(out, " ({hint})"))
            }
            Self::Memory { name, why } => write!(out, "{name}: its memory cannot be mapped: {why}"),
            Self::Layout { name, what } => {
                write!(out, "{name}: its memory makes no sense: {what}")
            }
            Self::Sync { name, why } => write!(out, "{name}: {why}"),
            Self::Gone { name } => write!(out, "{name}: the port is gone"),
            Self::Wait(why) => write!(out, "waiting for ports: {why}"),
        }
    }
}

/// What netmap means by an errno.
fn hint(why: &io::Error) -> Option<&'static str> {
    Some(match why.raw_os_error()? {
        libc::ENXIO => "there is no such interface",
        libc::EBUSY => "somebody else has it, or one of you wants it exclusively",
        libc::ENOMEM => "netmap's memory is used up, or the name is no port's",
        libc::EINVAL => "netmap does not accept this combination of name, rings and slots",
        libc::EPERM | libc::EACCES => "this needs more rights",
        _ => return None,
    })
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name { why, .. } => Some(why),
            Self::Device(why) | Self::Wait(why) => Some(why),
            Self::Refused { why, .. } | Self::Memory { why, .. } | Self::Sync { why, .. } => {
                Some(why)
            }
            Self::Option { .. } | Self::Layout { .. } | Self::Gone { .. } => None,
        }
    }
}
