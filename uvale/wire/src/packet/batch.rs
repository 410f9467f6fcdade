//! Packets sent, straight from the buffers of a region, many by one system call.

use core::sync::atomic::AtomicU32;

use rustix::fd::AsRawFd;
use rustix::io::Errno;
use uvale_shared::shm::{Mapping, copy_exact, copy_out_to};
use uvale_system::raw::{call, check};
use uvale_system::sys::OwnFd;

/// `struct iovec`, its address a number.
#[derive(Debug)]
#[repr(C)]
struct Piece {
    base: usize,
    len: usize,
}

/// `struct msghdr`, its addresses numbers.
#[derive(Debug, Default)]
#[repr(C)]
struct Header {
    name: usize,
    name_len: u32,
    pieces: usize,
    count: usize,
    control: usize,
    control_len: usize,
    flags: i32,
}

/// `struct mmsghdr`.
#[derive(Debug, Default)]
#[repr(C)]
struct Message {
    header: Header,
    /// the kernel writes it
    sent: AtomicU32,
}

const _: () = assert!(size_of::<Piece>() == size_of::<libc::iovec>());
const _: () = assert!(size_of::<Message>() == size_of::<libc::mmsghdr>());
const _: () = assert!(
    core::mem::offset_of!(Header, pieces) == core::mem::offset_of!(libc::msghdr, msg_iov)
        && core::mem::offset_of!(Header, count) == core::mem::offset_of!(libc::msghdr, msg_iovlen)
        && core::mem::offset_of!(Message, sent) == core::mem::offset_of!(libc::mmsghdr, msg_len)
);

/// Pieces of all packets of a batch at most.
const MOST_PIECES: usize = 512;

/// Memory for a batch: kept between syncs.
#[derive(Debug, Default)]
pub struct Space {
    /// never more than it has room for from the start: messages point into it
    pieces: Vec<Piece>,
    messages: Vec<Message>,
}

impl Space {
    /// An empty batch of packets in `memory`.
    pub fn batch<'a>(&'a mut self, memory: &'a Mapping) -> Batch<'a> {
        self.pieces.clear();
        self.messages.clear();
        self.pieces.reserve_exact(MOST_PIECES);
        self.messages.reserve_exact(Batch::MOST);
        Batch {
            space: self,
            memory,
        }
    }
}

/// Packets to be sent: ranges of a region.
#[derive(Debug)]
pub struct Batch<'a> {
    space: &'a mut Space,
    memory: &'a Mapping,
}

impl Batch<'_> {
    /// Packets of one call at most.
    pub const MOST: usize = 128;

    /// Adds `len` bytes at byte `ofs` of the memory. They continue the packet that the last piece began if
    /// `goes_on`. False if the range leaves the memory, or there is no room for another piece.
    #[inline]
    pub fn push(&mut self, ofs: usize, len: usize, goes_on: bool) -> bool {
        let Space { pieces, messages } = &mut *self.space;
        let Some(address) = self.memory.range(ofs, len) else {
            return false;
        };
        if pieces.len() == MOST_PIECES {
            return false;
        }
        if goes_on {
            let Some(last) = messages.last_mut() else {
                return false;
            };
            last.header.count += 1;
        } else {
            if messages.len() == Self::MOST {
                return false;
            }
            let header = Header {
                pieces: pieces.as_ptr().expose_provenance() + pieces.len() * size_of::<Piece>(),
                count: 1,
                ..Header::default()
            };
            messages.push(Message {
                header,
                ..Message::default()
            });
        }
        pieces.push(Piece {
            base: address.expose_provenance(),
            len,
        });
        true
    }

    /// The pieces of packet `at`, each a byte of the memory and a length; `None` if it does not exist.
    #[inline]
    fn pieces(&self, at: usize) -> Option<impl Iterator<Item = (usize, usize)>> {
        let header = &self.space.messages.get(at)?.header;
        let start = self.memory.range(0, 0)?.expose_provenance();
        let first = self.space.pieces.as_ptr().expose_provenance();
        let first = (header.pieces - first) / size_of::<Piece>();
        let pieces = self.space.pieces.get(first..)?.get(..header.count)?;
        Some(pieces.iter().map(move |p| (p.base - start, p.len)))
    }

    /// Copies packet `at` to byte `to` of `memory`. Its length; `None` if it has more than `room` bytes, or does not
    /// exist.
    #[inline]
    pub(crate) fn copy(
        &self,
        at: usize,
        memory: &Mapping,
        to: usize,
        room: usize,
    ) -> Option<usize> {
        let mut len = 0;
        for (ofs, piece) in self.pieces(at)? {
            if piece > room - len {
                return None;
            }
            if !copy_exact(self.memory, ofs, memory, to + len, piece) {
                return None;
            }
            len += piece;
        }
        Some(len)
    }

    /// Copies packet `at` in place of what `packet` holds; false if it does not exist.
    pub(crate) fn copy_out(&self, at: usize, packet: &mut Vec<u8>) -> bool {
        packet.clear();
        let Some(pieces) = self.pieces(at) else {
            return false;
        };
        for (ofs, len) in pieces {
            let from = packet.len();
            packet.resize(from + len, 0);
            if !copy_out_to(self.memory, ofs, &mut packet[from..]) {
                return false;
            }
        }
        true
    }

    /// Writes packet `at` to a TAP device, in one call. `ENODATA` if it does not exist.
    pub(crate) fn write(&self, at: usize, fd: &OwnFd) -> Result<(), Errno> {
        let header = &self.space.messages.get(at).ok_or(Errno::NODATA)?.header;
        let fd = fd.as_raw_fd() as usize;
        let words = [fd, header.pieces, header.count, 0, 0, 0];
        // SAFETY: as for `Transmitter::send`; nothing is written.
        check(unsafe { call(libc::SYS_writev, words) }).map(drop)
    }

    /// How many pieces more it takes.
    pub fn room(&self) -> usize {
        MOST_PIECES - self.space.pieces.len()
    }

    /// Packets.
    pub fn len(&self) -> usize {
        self.space.messages.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sending side.
#[derive(Debug)]
pub struct Transmitter {
    fd: OwnFd,
}

impl Transmitter {
    /// Sends by socket `fd`.
    pub fn new(fd: OwnFd) -> Self {
        Self { fd }
    }

    /// Is writable when there is room.
    pub fn fd(&self) -> &OwnFd {
        &self.fd
    }

    /// Sends packets `from..` of the batch, without waiting. How many the kernel took; an error if it did not
    /// take the first: `EAGAIN` and `ENOBUFS` mean no room now, `ENETDOWN` an interface that is down, `ENXIO`
    /// and `ENODEV` one that is gone, any other one that this packet is not to be sent (`EMSGSIZE`: too long).
    pub fn send(&self, batch: &Batch<'_>, from: usize) -> Result<usize, Errno> {
        let messages = batch.space.messages.get(from..).unwrap_or(&[]);
        if messages.is_empty() {
            return Ok(0);
        }
        let words = [
            self.fd.as_raw_fd() as usize,
            messages.as_ptr().expose_provenance(),
            messages.len(),
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize,
            0,
            0,
        ];
        // SAFETY: the kernel reads `messages` and their pieces, which are in `space` and borrowed: `pieces` was
        // never moved since the first was pushed, because it had room for all. Each lies in `memory`, which the
        // batch borrows, too (`Mapping::range`). Programs may write there meanwhile: then other bytes are sent.
        // The kernel writes nothing but `sent`, an atomic.
        let sent = check(unsafe { call(libc::SYS_sendmmsg, words) })?;
        Ok(sent as usize)
    }
}
