//! From a port's ring into a guest's: every packet is copied once, in as many of the guest's buffers as it takes.

use std::collections::VecDeque;

use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use vm_memory::VolatileSlice;

use super::bytes::Cursor;
use super::header::{self, Header, Towards};
use super::port_ring::PortRing;
use super::ring::{Batch, Broken, Way};
use super::transmit::{Shape, Stop, Tally};

/// Frames that were made of a packet which the guest could not have taken, and wait for its buffers.
pub type Waiting = VecDeque<Vec<u8>>;

/// Moves what has arrived, as long as the guest has buffers.
pub fn receive(
    port: &mut PortRing<'_>,
    waiting: &mut Waiting,
    guest: &mut Batch<'_, '_>,
    shape: &Shape,
    tally: &mut Tally,
) -> Result<Stop, Broken> {
    let mut places = Vec::new();
    let mut into = Into {
        guest,
        shape,
        parts: Vec::new(),
        chains: Vec::new(),
    };
    loop {
        while let Some(frame) = waiting.front_mut() {
            let frame = [VolatileSlice::from(&mut frame[..])];
            match into.put(Header::default(), &mut Cursor::new(&frame))? {
                Put::Done => tally.packets += 1,
                Put::TooLong => tally.lost += 1,
                Put::NoRoom => return Ok(Stop::Full),
            }
            waiting.pop_front();
        }
        if !port.packet(&mut places) {
            return Ok(Stop::Empty);
        }
        let mut from = Cursor::new(&places);
        let mut header = Header::default();
        let is_whole = from.read(&mut header.0[..shape.port_header]) == shape.port_header;
        let put = match header.towards(shape.features) {
            _ if !is_whole => Put::TooLong,
            Towards::AsItIs(header) => into.put(header, &mut from)?,
            Towards::Done => {
                waiting.extend(header::finish(&copies(&places), shape.longest));
                tally.lost += u64::from(waiting.is_empty());
                port.pass(places.len());
                continue;
            }
        };
        match put {
            Put::Done => tally.packets += 1,
            Put::TooLong => tally.lost += 1,
            Put::NoRoom => return Ok(Stop::Full),
        }
        port.pass(places.len());
    }
}

fn copies(places: &[VolatileSlice<'_>]) -> Vec<Vec<u8>> {
    let copy = |place: &VolatileSlice<'_>| {
        let mut bytes = vec![0; place.len()];
        Cursor::new(core::slice::from_ref(place)).read(&mut bytes);
        bytes
    };
    places.iter().map(copy).collect()
}

enum Put {
    Done,
    /// it does not fit into any buffer of this guest
    TooLong,
    NoRoom,
}

/// The guest's buffers.
struct Into<'b, 'q, 'm, 's> {
    guest: &'b mut Batch<'q, 'm>,
    shape: &'s Shape,
    parts: Vec<VolatileSlice<'m>>,
    /// first descriptor and bytes of each chain that is to be filled
    chains: Vec<(u16, usize)>,
}

impl Into<'_, '_, '_, '_> {
    /// Puts a packet behind `header` into the next buffers.
    fn put(&mut self, header: Header, frame: &mut Cursor<'_, '_>) -> Result<Put, Broken> {
        let header_len = self.shape.features.header_len();
        let mut left = header_len + frame.left();
        if let Some(put) = self.gather(left, header_len)? {
            return Ok(put);
        }
        let mut to = Cursor::new(&self.parts);
        let header = header.in_buffers(self.chains.len() as u16);
        to.write(&header.0[..header_len]);
        frame.copy_to(&mut to);
        for &(head, room) in &self.chains {
            let here = left.min(room);
            self.guest.put(head, here as u32)?;
            left -= here;
        }
        Ok(Put::Done)
    }

    /// Finds buffers for `len` bytes. Something if there are none.
    fn gather(&mut self, len: usize, header_len: usize) -> Result<Option<Put>, Broken> {
        self.parts.clear();
        self.chains.clear();
        let mut room = 0;
        while room < len {
            let n = self.chains.len() as u16;
            let may_be_several = self.shape.features.has(VIRTIO_NET_F_MRG_RXBUF);
            if n == self.guest.size() || n == 1 && !may_be_several {
                return Ok(Some(Put::TooLong));
            }
            let begin = self.parts.len();
            let Some(head) = self.guest.chain(n, Way::ToGuest, &mut self.parts)? else {
                return Ok(Some(Put::NoRoom));
            };
            let here: usize = self.parts[begin..].iter().map(VolatileSlice::len).sum();
            if n == 0 && here < header_len {
                return Err(Broken::NoHeader);
            }
            self.chains.push((head, here));
            room += here;
        }
        Ok(None)
    }
}
