//! Packets taken out of a receiving socket.

use core::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags};
use uvale_system::sys::OwnFd;

use super::memory::{Header, Memory};
use super::{FrameShape, Packet, option};

/// Whose a frame is, and what the kernel says of its packet (`TP_STATUS_` of `linux/if_packet.h`).
mod status {
    pub const KERNEL: u32 = 0;
    pub const COPY: u32 = 1 << 1;
    pub const LOSING: u32 = 1 << 2;
    pub const VLAN_VALID: u32 = 1 << 4;
    pub const VLAN_TPID_VALID: u32 = 1 << 6;
}

/// `struct virtio_net_hdr` of `linux/virtio_net.h`: it lies before the packet.
const VNET: usize = 10;
const NEEDS_CSUM: u8 = 1;
/// Where in it `hdr_len` and `csum_start` are, which count from the packet's start.
const VNET_OFFSETS: [usize; 2] = [2, 6];
/// The addresses of an Ethernet header; a VLAN tag is behind them.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
const ETH_P_8021Q: u16 = 0x8100;
/// No packet is longer.
const LONGEST: usize = 1 << 20;
/// How often the kernel is given time to finish a frame before it is taken for one that stays empty.
const PATIENCE: usize = 64;

/// The receiving side of a socket, with its frames mapped.
#[derive(Debug)]
pub struct Frames {
    fd: OwnFd,
    memory: Memory,
    /// the kernel has said that it dropped packets
    losing: AtomicBool,
}

/// What is in a frame, as it was when it was looked at.
struct Content {
    len: usize,
    mac: usize,
    snaplen: usize,
    tag: Option<[u8; TAG]>,
}

impl Content {
    fn read(header: &Header, status: u32) -> Self {
        let tci = header.vlan_tci.load(Ordering::Relaxed);
        let tpid = match status & status::VLAN_TPID_VALID {
            0 => ETH_P_8021Q,
            _ => header.vlan_tpid.load(Ordering::Relaxed),
        };
        let [a, b] = tpid.to_be_bytes();
        let [c, d] = tci.to_be_bytes();
        Self {
            len: header.len.load(Ordering::Relaxed) as usize,
            mac: header.mac.load(Ordering::Relaxed).into(),
            snaplen: header.snaplen.load(Ordering::Relaxed) as usize,
            tag: (status & status::VLAN_VALID != 0).then_some([a, b, c, d]),
        }
    }
}

impl Frames {
    /// Maps the frames of socket `fd`. `EPROTO` if it is none of those that [`crate::open`] makes.
    pub fn new(fd: OwnFd, shape: &FrameShape) -> Result<Self, Errno> {
        // Only the memory of a packet socket is sure to stay as long as it is mapped.
        let is_packet = rustix::net::sockopt::socket_domain(&fd)? == AddressFamily::PACKET;
        if !is_packet
            || option::get(&fd, option::VERSION)? != [option::TPACKET_V2]
            || option::get(&fd, option::VNET_HDR)? != [1]
        {
            return Err(Errno::PROTO);
        }
        let memory = Memory::map(&fd, shape)?;
        Ok(Self {
            fd,
            memory,
            losing: AtomicBool::new(false),
        })
    }

    /// Becomes readable when a packet is there.
    pub fn fd(&self) -> &OwnFd {
        &self.fd
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.memory.count() as u32
    }

    /// Is there a packet in frame `at`? Costs one load. False for a number that is no frame's.
    #[inline]
    pub fn is_ready(&self, at: u32) -> bool {
        self.status(at as usize) != status::KERNEL
    }

    #[inline]
    fn status(&self, at: usize) -> u32 {
        // Pairs with the kernel's barrier before it gives a frame away.
        self.memory
            .header(at)
            .map_or(status::KERNEL, |h| h.status.load(Ordering::Acquire))
    }

    /// Takes packets in order, from frame `at` on, until `take` says that it has no room for one, which then
    /// stays, and gives their frames back to the kernel. `next` is told the number of the frame after each,
    /// before that frame is given back: who finds `at` after a death gets one packet a second time at most, and
    /// misses none. A frame whose packet is not whole, or makes no sense, is given back untaken.
    pub fn take_in(
        &self,
        at: u32,
        next: impl Fn(u32),
        mut take: impl FnMut(Packet<'_>) -> bool,
    ) -> u32 {
        let mut at = at as usize;
        let mut whole = Vec::new();
        while let Some(header) = self.memory.header(at) {
            let status = header.status.load(Ordering::Acquire);
            if status == status::KERNEL {
                break;
            }
            let after = (at + 1) % self.memory.count();
            if self.status(after) != status::KERNEL {
                self.memory.ask_for(after);
            }
            if status & status::LOSING != 0 {
                self.losing.store(true, Ordering::Relaxed);
            }
            let content = Content::read(header, status);
            let is_taken = if content.snaplen >= content.len {
                self.in_frame(at, &content, &mut take)
            } else if status & status::COPY != 0 && self.fetch(at, &content, &mut whole) {
                beside(&whole, &content, &mut take)
            } else {
                true
            };
            if !is_taken {
                break;
            }
            next(after as u32);
            if !whole.is_empty() {
                self.discard();
                whole.clear();
            }
            // Pairs with the kernel's look at the status: what was read of the frame was read before.
            header.status.store(status::KERNEL, Ordering::Release);
            at = after;
        }
        at as u32
    }

    /// Offers the packet in frame `at`. False: there is no room for it.
    #[inline]
    fn in_frame(
        &self,
        at: usize,
        content: &Content,
        take: &mut impl FnMut(Packet<'_>) -> bool,
    ) -> bool {
        let bytes = self.memory.bytes(at, content.mac, content.len);
        let vnet = content.mac.checked_sub(VNET);
        let (Some(bytes), Some(vnet)) = (bytes, vnet) else {
            return true;
        };
        let header = self.memory.copy(at, vnet).filter(needs_work);
        offer(bytes, header, content.tag, take)
    }

    /// Fetches a packet that is longer than its frame from the socket, which keeps it until [`Self::discard`].
    /// Packets that belong to no frame (somebody died after a frame was given back) are thrown away.
    #[cold]
    fn fetch(&self, at: usize, content: &Content, whole: &mut Vec<u8>) -> bool {
        let begin = self.memory.bytes(at, content.mac, content.snaplen);
        let Some(begin) = begin.filter(|_| content.len <= LONGEST) else {
            return false;
        };
        whole.resize(VNET + content.len, 0);
        loop {
            let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            match rustix::net::recv(&self.fd, &mut whole[..], flags) {
                Ok((_, len)) => {
                    if len == whole.len() && whole[VNET..].starts_with(begin) {
                        return true;
                    }
                    self.discard();
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    whole.clear();
                    return false;
                }
            }
        }
    }

    /// Throws away the first packet that waits beside the frames. False: there is none.
    fn discard(&self) -> bool {
        let mut header = [0u8; VNET];
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        rustix::net::recv(&self.fd, &mut header[..], flags).is_ok()
    }

    /// The frame that is really next, for whoever takes over from a process that may have died half-way.
    pub fn find(&self, at: u32) -> u32 {
        let count = self.memory.count();
        let at = if (at as usize) < count {
            at as usize
        } else {
            0
        };
        let is_ready = |i: &usize| self.status(*i) != status::KERNEL;
        // All frames, this one first and the one before it last.
        let all = || (at..at + count).map(|i| i % count);
        let before = (at + count - 1) % count;
        if is_ready(&before) && !all().all(|i| is_ready(&i)) {
            // It was not given back, and the kernel would stop there.
            return before as u32;
        }
        if !is_ready(&at) && self.is_readable() {
            // The kernel may be filling this one while the next is full already.
            for _ in 0..PATIENCE {
                rustix::thread::sched_yield();
                if is_ready(&at) {
                    return at as u32;
                }
            }
            match all().find(is_ready) {
                Some(full) => return full as u32,
                // What waits beside the frames belongs to none.
                None => while self.discard() {},
            }
        }
        at as u32
    }

    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::IN)
    }

    /// Packets that the kernel dropped, for want of a frame, since somebody asked last, in this process or
    /// another: who asks adds them up. `None` if a packet taken in has not said since that there are such;
    /// this costs no system call.
    pub fn dropped(&self) -> Option<u32> {
        if !self.losing.load(Ordering::Relaxed) {
            return None;
        }
        self.losing.store(false, Ordering::Relaxed);
        // `struct tpacket_stats`: all, and those dropped.
        let [_, dropped] = option::get(self.fd.as_fd(), option::STATISTICS).ok()?;
        Some(dropped)
    }

    /// Why the socket polls as broken, if it does, and that it does so no longer: `ENETDOWN` after the interface
    /// has gone down. It goes on by itself when the interface is up.
    pub fn take_error(&self) -> Option<Errno> {
        rustix::net::sockopt::socket_error(&self.fd).ok()?.err()
    }
}

/// Offers a packet that was fetched from the socket.
fn beside(whole: &[u8], content: &Content, take: &mut impl FnMut(Packet<'_>) -> bool) -> bool {
    let Some((header, bytes)) = whole.split_first_chunk::<VNET>() else {
        return true;
    };
    offer(bytes, Some(*header).filter(needs_work), content.tag, take)
}

/// Do flags and `gso_type` of a header say that something is left to do?
fn needs_work([flags, gso_type, ..]: &[u8; VNET]) -> bool {
    flags & NEEDS_CSUM != 0 || *gso_type != 0
}

/// Offers a packet with its VLAN tag where it belongs.
#[inline]
fn offer(
    bytes: &[u8],
    header: Option<[u8; VNET]>,
    tag: Option<[u8; TAG]>,
    take: &mut impl FnMut(Packet<'_>) -> bool,
) -> bool {
    match (tag, bytes.split_at_checked(ADDRESSES)) {
        (Some(tag), Some((addresses, rest))) => take(Packet {
            pieces: [addresses, &tag, rest],
            header: header.map(moved_by_tag),
        }),
        _ => take(Packet {
            pieces: [bytes, &[], &[]],
            header,
        }),
    }
}

/// A header for the packet with its tag.
fn moved_by_tag(mut header: [u8; VNET]) -> [u8; VNET] {
    for at in VNET_OFFSETS {
        let moved = u16::from_ne_bytes([header[at], header[at + 1]]).saturating_add(TAG as u16);
        header[at..at + 2].copy_from_slice(&moved.to_ne_bytes());
    }
    header
}
