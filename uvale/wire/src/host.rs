//! The host's side of a NIC port: what arrives is kept from its stack, what it sends comes to the port, and
//! what the port sends to it arrives there.

use uvale_system::refusal::Refusal;

use crate::{Opened, Wanted};

/// Adds to a wire of packet sockets what of this the rights allow, and says what they do not.
pub(crate) fn add(_wanted: &Wanted<'_>, _opened: &mut Opened) -> Result<(), Refusal> {
    Ok(())
}
