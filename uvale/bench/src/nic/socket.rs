//! AF_PACKET as a program without netmap uses it: batches by sendmmsg, past the queueing discipline, and frames
//! that the kernel fills. Everything that is unsafe about it.

use core::sync::atomic::{
    AtomicU16, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use uvale_shared::shm::Shared;
use uvale_system::sys::set_option;

use crate::raw::Memory;

/// Numbers of `linux/if_packet.h` and `linux/if_ether.h`.
const SOL_PACKET: i32 = 263;
const PACKET_RX_RING: i32 = 5;
const PACKET_VERSION: i32 = 10;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const ETH_P_ALL: u16 = 3;

const KERNEL: u32 = 0;
const USER: u32 = 1;

/// A socket on `interface` for frames as they are; it receives if `receives`.
pub fn open(interface: &str, receives: bool) -> Result<OwnedFd, String> {
    let failed = |e: rustix::io::Errno| format!("AF_PACKET on {interface}: {e}");
    let (family, flags) = (AddressFamily::PACKET, SocketFlags::CLOEXEC);
    let fd = socket_with(family, SocketType::RAW, flags, None).map_err(failed)?;
    let index = name_to_index(&fd, interface).map_err(failed)?;
    let protocol = if receives { ETH_P_ALL } else { 0 };
    for option in [PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING] {
        set_option(&fd, SOL_PACKET, option, &1u32.to_ne_bytes()).map_err(failed)?;
    }
    bind(&fd, index, protocol).map_err(|e| format!("AF_PACKET on {interface}: {e}"))?;
    Ok(fd)
}

fn bind(fd: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as u32;
    // SAFETY: the kernel reads `len` bytes of `address`, which lives during the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A packet as senders over the wire write it, of which the first so many bytes are sent.
pub fn packet(dmac: u64, smac: u64) -> Vec<u8> {
    let addresses = [&dmac.to_le_bytes()[..6], &smac.to_le_bytes()[..6]].concat();
    let mut packet = [&addresses[..], &[8, 0]].concat();
    packet.resize(2048, 0);
    packet
}

/// Packets of one call.
const TOGETHER: usize = 64;
/// Buffers, of netmap's default number and size.
const BUFFERS: usize = 1024;

#[derive(Clone)]
#[repr(C, align(64))]
struct Buffer([u8; 2048]);

/// Sends batches.
pub struct Sender {
    fd: OwnedFd,
    /// what is sent first next time
    at: usize,
    /// one for each buffer, which it points to through its piece
    messages: Box<[libc::mmsghdr]>,
    pieces: Box<[libc::iovec]>,
    packet: Vec<u8>,
    _buffers: Box<[Buffer]>,
}

impl Sender {
    /// On `interface`, from `smac` to `dmac`.
    pub fn open(interface: &str, dmac: u64, smac: u64) -> Result<Self, String> {
        let fd = open(interface, false)?;
        let mut buffers = vec![Buffer([0; 2048]); BUFFERS].into_boxed_slice();
        let piece = |b: &mut Buffer| libc::iovec {
            iov_base: b.0.as_mut_ptr().cast(),
            iov_len: 60,
        };
        let mut pieces: Box<[_]> = buffers.iter_mut().map(piece).collect();
        let message = |piece: &mut libc::iovec| {
            // SAFETY: integers and pointers, all of which may be 0.
            let mut message: libc::mmsghdr = unsafe { core::mem::zeroed() };
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = pieces.iter_mut().map(message).collect();
        Ok(Self {
            fd,
            at: 0,
            messages,
            pieces,
            packet: packet(dmac, smac),
            _buffers: buffers,
        })
    }

    /// Writes `n` packets of `len` bytes and sends them, up to 64 by one call; how many the kernel took.
    #[inline(always)]
    pub fn send(&mut self, n: u32, len: u16) -> Result<u32, String> {
        let mut sent = 0;
        while sent < n {
            let end = BUFFERS.min(self.at + TOGETHER.min((n - sent) as usize));
            let bytes = self
                .packet
                .get(..usize::from(len))
                .ok_or("it is too long")?;
            for piece in &mut self.pieces[self.at..end] {
                piece.iov_len = bytes.len();
                // SAFETY: the piece points to one of our own buffers, which are as long as the longest packet.
                unsafe {
                    let to = piece.iov_base.cast::<u8>();
                    core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
            }
            let batch = &mut self.messages[self.at..end];
            let (first, count) = (batch.as_mut_ptr(), batch.len() as u32);
            // SAFETY: `count` messages, each with one piece, whose buffer is at least as long as it says: all of
            // them live as long as `self` and do not move, being behind boxes.
            let taken = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), first, count, 0) };
            let Ok(taken) = u32::try_from(taken) else {
                return match io::Error::last_os_error() {
                    e if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) => Ok(sent),
                    e => Err(format!("sendmmsg: {e}")),
                };
            };
            sent += taken;
            self.at = (self.at + taken as usize) % BUFFERS;
        }
        Ok(sent)
    }
}

/// What the kernel fills: frames one by one (TPACKET_V2), or blocks of them (TPACKET_V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Version {
    V2,
    V3,
}

/// Frames or blocks: 8 MB of each.
const BLOCK: usize = 1 << 17;
const BLOCKS: usize = 64;
const FRAME: usize = 2048;

/// `struct tpacket2_hdr`, as far as it is read.
#[repr(C)]
struct Frame {
    status: AtomicU32,
    len: AtomicU32,
    snaplen: AtomicU32,
    mac: AtomicU16,
}

/// `struct tpacket_block_desc` with `struct tpacket_hdr_v1`, as far as it is read.
#[repr(C)]
struct Block {
    version: AtomicU32,
    offset_to_priv: AtomicU32,
    status: AtomicU32,
    packets: AtomicU32,
    first: AtomicU32,
}

/// `struct tpacket3_hdr`, as far as it is read.
#[repr(C)]
struct Packet {
    next: AtomicU32,
    sec: AtomicU32,
    nsec: AtomicU32,
    snaplen: AtomicU32,
    len: AtomicU32,
    status: AtomicU32,
    mac: AtomicU16,
}

// SAFETY: repr(C), integer atomics only.
unsafe impl Shared for Frame {}
// SAFETY: as above.
unsafe impl Shared for Block {}
// SAFETY: as above.
unsafe impl Shared for Packet {}

/// Receives.
pub struct Receiver {
    memory: Memory,
    version: Version,
    /// the frame or block that is filled next
    at: usize,
    _fd: OwnedFd,
}

impl Receiver {
    /// All that comes in on `interface`.
    pub fn open(interface: &str, version: Version) -> Result<Self, String> {
        let fd = open(interface, true)?;
        // What has come so far has no place in the ring, and is behind it.
        let number: u32 = match version {
            Version::V2 => 1,
            Version::V3 => 2,
        };
        let frames = (BLOCK * BLOCKS / FRAME) as u32;
        // struct tpacket_req3: block size and number, frame size and number, milliseconds until a block that is
        // not full is given out. struct tpacket_req is the first four.
        let wanted = [BLOCK as u32, BLOCKS as u32, FRAME as u32, frames, 1, 0, 0];
        let words = if version == Version::V2 { 4 } else { 7 };
        let wanted: Vec<u8> = wanted[..words]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        set_option(&fd, SOL_PACKET, PACKET_VERSION, &number.to_ne_bytes())
            .and_then(|()| set_option(&fd, SOL_PACKET, PACKET_RX_RING, &wanted))
            .map_err(|e| format!("a ring of frames on {interface}: {e}"))?;
        let memory = Memory::map(&fd, BLOCK * BLOCKS).map_err(|e| format!("mmap: {e}"))?;
        Ok(Self {
            memory,
            version,
            at: 0,
            _fd: fd,
        })
    }

    /// Reads every packet that is there, of a block at most, and gives the frames back: packets and bytes.
    #[inline(always)]
    pub fn drain(&mut self) -> (u32, u64) {
        let drained = match self.version {
            Version::V2 => self.drain_frames(),
            Version::V3 => self.drain_block(),
        };
        drained.unwrap_or_default()
    }

    #[inline(always)]
    fn drain_frames(&mut self) -> Option<(u32, u64)> {
        let (mut packets, mut bytes) = (0, 0);
        while packets < BUFFERS as u32 {
            let frame = self.memory.at::<Frame>(self.at * FRAME)?;
            // The kernel writes the status last, and reads it first.
            if frame.status.load(Acquire) & USER == 0 {
                break;
            }
            let (mac, len) = (frame.mac.load(Relaxed), frame.snaplen.load(Relaxed));
            let start = self.at * FRAME + usize::from(mac);
            self.memory.take(start, len as usize)?;
            bytes += u64::from(len);
            packets += 1;
            frame.status.store(KERNEL, Release);
            self.at = (self.at + 1) % (BLOCK * BLOCKS / FRAME);
        }
        Some((packets, bytes))
    }

    #[inline(always)]
    fn drain_block(&mut self) -> Option<(u32, u64)> {
        let start = self.at * BLOCK;
        let block = self.memory.at::<Block>(start)?;
        if block.status.load(Acquire) & USER == 0 {
            return None;
        }
        let packets = block.packets.load(Relaxed);
        let mut at = start + block.first.load(Relaxed) as usize;
        let mut bytes = 0;
        for _ in 0..packets {
            let packet = self.memory.at::<Packet>(at)?;
            let (mac, len) = (packet.mac.load(Relaxed), packet.snaplen.load(Relaxed));
            self.memory.take(at + usize::from(mac), len as usize)?;
            bytes += u64::from(len);
            at += packet.next.load(Relaxed) as usize;
        }
        block.status.store(KERNEL, Release);
        self.at = (self.at + 1) % BLOCKS;
        Some((packets, bytes))
    }
}
