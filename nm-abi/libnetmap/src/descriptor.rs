//! A port as a program hands it over: its name, and refusals.

use nm_abi::name::field_name;

use crate::abi::nmport_d;
use crate::given::{Given, shown};

/// A port that a program hands over.
pub type Port = Given<nmport_d>;

impl Port {
    /// The port's name in its request.
    pub(crate) fn name(&self) -> &[u8] {
        field_name(&self.hdr.nr_name)
    }

    /// Says that something is wrong with the port.
    pub(crate) fn refuse(&self, why: &str) {
        let name = shown(self.name());
        self.ctx.fail(libc::EINVAL, format_args!("{name}: {why}"));
    }
}
