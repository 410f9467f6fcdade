//! From a guest's ring into a port's: every packet is copied once, in as many slots as it takes.

use vm_memory::VolatileSlice;

use super::bytes::Cursor;
use super::features::Features;
use super::header::{self, Header};
use super::port_ring::PortRing;
use super::ring::{Batch, Broken, Way};

/// The shortest frame: an Ethernet header.
const SHORTEST: usize = 14;
/// The longest: an IP packet with its Ethernet header and a VLAN tag.
const LONGEST: usize = 65535 + 18;

/// What both directions need to know.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// what the guest has chosen
    pub features: Features,
    /// bytes of the virtio-net header before the packets of the port: 0 or 12
    pub port_header: usize,
    /// bytes of the longest frame that is not to be cut into segments
    pub longest: usize,
}

/// Packets of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// passed on
    pub packets: u64,
    /// not passed on: too long, too short, or with a header that asks for what was not agreed on
    pub lost: u64,
}

/// Why a direction has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// nothing is left where packets come from
    Empty,
    /// there is no room where they go
    Full,
}

/// Moves what the guest has to send, as long as there is room.
pub fn transmit(
    guest: &mut Batch<'_, '_>,
    port: &mut PortRing<'_>,
    shape: &Shape,
    tally: &mut Tally,
) -> Result<Stop, Broken> {
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    loop {
        parts.clear();
        let Some(head) = guest.chain(0, Way::FromGuest, &mut parts)? else {
            return Ok(Stop::Empty);
        };
        match send(&parts, port, shape, &mut places) {
            Fate::NoRoom => return Ok(Stop::Full),
            Fate::Sent => tally.packets += 1,
            Fate::Lost => tally.lost += 1,
        }
        guest.put(head, 0)?;
    }
}

/// Takes what the guest has to send, and sends it nowhere.
pub fn discard(guest: &mut Batch<'_, '_>, tally: &mut Tally) -> Result<(), Broken> {
    let mut parts = Vec::new();
    while let Some(head) = guest.chain(0, Way::FromGuest, &mut parts)? {
        parts.clear();
        guest.put(head, 0)?;
        tally.lost += 1;
    }
    Ok(())
}

enum Fate {
    Sent,
    Lost,
    NoRoom,
}

/// One packet: `parts` are the buffers of its chain.
fn send<'p>(
    parts: &[VolatileSlice<'_>],
    port: &mut PortRing<'p>,
    shape: &Shape,
    places: &mut Vec<VolatileSlice<'p>>,
) -> Fate {
    let mut from = Cursor::new(parts);
    let mut header = Header::default();
    let expected = shape.features.header_len();
    if from.read(&mut header.0[..expected]) < expected {
        return Fate::Lost;
    }
    let header = header.as_sent();
    let frame = from.left();
    let len = shape.port_header + frame;
    let slots = port.slots_for(len);
    // Without a header a packet is a frame, and has to fit into a slot as everywhere.
    let most = if shape.port_header == 0 {
        1
    } else {
        port.most()
    };
    let is_good = (SHORTEST..=LONGEST).contains(&frame)
        && slots <= most
        && header.may_come_from(shape.features);
    if !is_good {
        return Fate::Lost;
    }
    if slots > port.left() {
        return Fate::NoRoom;
    }
    port.lay_out(len, places);
    let mut to = Cursor::new(places);
    let header = header.in_buffers(0);
    to.write(&header.0[..shape.port_header.min(header::LEN)]);
    from.copy_to(&mut to);
    port.pass(slots);
    Fate::Sent
}
