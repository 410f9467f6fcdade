//! A guest and a front end that do whatever the input says: requests with any body and descriptors, any bytes in the
//! RAM, at any time.

use std::io::Read;
use std::os::unix::net::UnixStream;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::FrontendReq;

use super::features::Features;
use super::fixture::Port;
use super::front::{Front, Offer};
use super::receive::{Waiting, receive};
use super::transmit::{Shape, Tally, transmit};

const RAM: usize = 0x10_000;
/// Where the front end has the guest's RAM.
const USER: u64 = 0x7000_0000;
/// Slots of the port's ring.
const SLOTS: u32 = 64;

/// The input, taken apart.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(n.min(self.0.len()));
        self.0 = later;
        now.to_vec()
    }
}

struct Guest {
    front: Front,
    peer: UnixStream,
    ram: OwnedFd,
    others: [OwnedFd; 2],
}

impl Guest {
    /// One whose two rings, of eight entries, are started.
    fn new() -> Option<Self> {
        let (own, peer) = UnixStream::pair().ok()?;
        peer.set_nonblocking(true).ok()?;
        let kicks = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let offer = Offer {
            features: Features::offer(true, false),
            pairs: 1,
            longest_frame: 65535,
            mac: None,
        };
        // Sealed as QEMU's is: what happens to another one is the end of the process.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let ram = memfd_create("ram", flags).ok()?;
        ftruncate(&ram, RAM as u64).ok()?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let short = memfd_create("short", flags).ok()?;
        let front = Front::new(own.into(), kicks, offer);
        let others = [event, short];
        let mut guest = Self {
            front,
            peer,
            ram,
            others,
        };
        guest.begin();
        Some(guest)
    }

    fn begin(&mut self) {
        let table = [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &longs(&[0, RAM as u64, USER, 0]),
        ]
        .concat();
        self.ask(
            FrontendReq::SET_PROTOCOL_FEATURES.into(),
            1,
            &longs(&[8]),
            &[],
        );
        self.ask(FrontendReq::SET_MEM_TABLE.into(), 9, &table, &[0]);
        for ring in 0..2u64 {
            let at = USER + 0x1000 * ring;
            let state = |n: u64| longs(&[ring | n << 32]);
            let place = longs(&[ring, at, at + 0x200, at + 0x100, 0]);
            self.ask(FrontendReq::SET_VRING_NUM.into(), 9, &state(8), &[]);
            self.ask(FrontendReq::SET_VRING_ADDR.into(), 9, &place, &[]);
            self.ask(FrontendReq::SET_VRING_KICK.into(), 9, &longs(&[ring]), &[1]);
            self.ask(FrontendReq::SET_VRING_CALL.into(), 9, &longs(&[ring]), &[1]);
            self.ask(FrontendReq::SET_VRING_ENABLE.into(), 9, &state(1), &[]);
        }
    }

    /// Sends a request and has it served. False if the connection is over.
    fn ask(&mut self, request: u32, flags: u32, body: &[u8], fds: &[u8]) -> bool {
        let head = [request, flags, body.len() as u32].map(u32::to_ne_bytes);
        let bytes = [head.as_flattened(), body].concat();
        let fds: Vec<BorrowedFd<'_>> = fds
            .iter()
            .map(|i| match i % 3 {
                0 => self.ram.as_fd(),
                i => self.others[usize::from(i) - 1].as_fd(),
            })
            .collect();
        let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let slices = [std::io::IoSlice::new(&bytes)];
        let _ = sendmsg(&self.peer, &slices, &mut control, SendFlags::NOSIGNAL);
        let alive = loop {
            match self.front.serve(&|_| ()) {
                Ok(true) => {}
                Ok(false) => break true,
                Err(_) => break false,
            }
        };
        let _ = self.peer.read_to_end(&mut Vec::new());
        alive
    }

    /// A turn of the loop.
    fn turn(&mut self, port: &Port, waiting: &mut Waiting, tally: &mut Tally) {
        let shape = Shape {
            features: self.front.features,
            port_header: 12,
            longest: 1514,
        };
        let event_idx = self.front.event_idx();
        for (i, ring) in self.front.rings.iter_mut().enumerate() {
            if !ring.is_live() {
                continue;
            }
            let _ = ring.batch(&self.front.ram, event_idx, |batch| {
                batch.refuse_kicks()?;
                let mut slots = port.ring();
                let stop = match i % 2 {
                    0 => receive(&mut slots, waiting, batch, &shape, tally),
                    _ => transmit(batch, &mut slots, &shape, tally),
                };
                slots.finish();
                batch.ask_for_kicks()?;
                stop
            });
        }
    }
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().copied().flat_map(u64::to_ne_bytes).collect()
}

/// Runs an input.
pub fn vhost(input: &[u8]) {
    let mut source = Source(input);
    let Some(mut guest) = Guest::new() else {
        return;
    };
    let port = Port::new(SLOTS);
    let (mut waiting, mut tally) = (Waiting::new(), Tally::default());
    while !source.0.is_empty() {
        match source.byte() % 4 {
            0 => {
                let (request, flags) = (source.byte() % 48, source.byte());
                let fds = source.bytes(usize::from(flags >> 6));
                let len = source.byte() % 96;
                let body = source.bytes(len.into());
                if !guest.ask(request.into(), 1 | u32::from(flags & 8), &body, &fds) {
                    return;
                }
            }
            1 => {
                let at = u64::from(source.word());
                let len = source.byte() % 64;
                let bytes = source.bytes(len.into());
                // Beyond its end it would grow.
                let fits = at as usize + bytes.len() <= RAM;
                let _ = fits.then(|| rustix::io::pwrite(&guest.ram, &bytes, at));
            }
            2 => {
                // Some packets have arrived, of the bytes that are in the slots already.
                let head = port.head();
                let len = usize::from(source.word()) % 4000 + 1;
                let packet: Vec<u8> = source.bytes(16).into_iter().cycle().take(len).collect();
                let end = port.arrive(head, &packet, 1000);
                port.set(head, end);
                guest.turn(&port, &mut waiting, &mut tally);
            }
            _ => {
                let head = port.head();
                port.set(head, head + SLOTS - 1);
                guest.turn(&port, &mut waiting, &mut tally);
                port.set(port.head(), port.head());
            }
        }
    }
}
