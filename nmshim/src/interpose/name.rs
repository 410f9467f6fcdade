//! What exists only here, as files: the device node, and the module's directory with its parameters.

use crate::device::Parameter;
use crate::driver;
use crate::ground::guarded::guarded;

/// What one of our paths names.
#[derive(Clone)]
pub enum Name {
    Device,
    Directory(Dir),
    Parameter(File),
    /// The link to a network interface's directory; only where links are not followed.
    Link(String),
}

/// A directory of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dir {
    Module,
    Parameters,
    /// That of all network interfaces: the kernel's, with ours in it.
    Interfaces,
    /// A network interface, or a directory in it, by its path in the one of all interfaces.
    Interface(String),
}

/// A parameter's file, or another one that is a line of text, as it is at the moment of opening.
#[derive(Clone)]
pub struct File {
    pub name: String,
    pub parameter: Parameter,
}

impl File {
    /// The file of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        let parameter = guarded(None, || driver().parameter(name))?;
        let name = name.to_owned();
        Some(Self { name, parameter })
    }
}
