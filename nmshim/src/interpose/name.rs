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
}

/// A directory of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    Module,
    Parameters,
}

/// A parameter's file with its text at the moment of opening.
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
