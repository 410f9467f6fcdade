//! A guest's virtio-net driver and its front end in one: this test in the place of QEMU and of what runs in it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use compat_tests::wait::{deadline, until};
use qemu_glue::driver::{Buffer, Driver};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const RAM: usize = 32 << 20;
/// Each ring has so much, for itself, its tables and its buffers.
const AREA: u64 = 2 << 20;
const TABLES: u64 = 0x20_000;
const DATA: u64 = 0x40_000;

/// virtio 1, and that protocol features are spoken of.
const ALWAYS: u64 = 1 << 32 | 1 << 30;
pub const CSUM: u64 = 1 << 0;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const GUEST_TSO4: u64 = 1 << 7;
pub const HOST_TSO4: u64 = 1 << 11;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const INDIRECT: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;

/// What a guest chooses.
#[derive(Clone, Copy)]
pub struct Choice {
    pub features: u64,
    pub pairs: usize,
    /// entries of each ring
    pub size: u16,
    /// bytes of each buffer for what it receives
    pub room: u32,
}

impl Default for Choice {
    fn default() -> Self {
        Choice {
            features: MRG_RXBUF | EVENT_IDX | INDIRECT,
            pairs: 1,
            size: 64,
            room: 2048,
        }
    }
}

struct Ring {
    driver: Driver,
    base: u64,
    kick: EventFd,
    call: EventFd,
    /// by first descriptor: where the buffer is
    buffers: Vec<u64>,
    sent: u64,
}

/// A guest.
pub struct VirtioGuest {
    front: Option<Frontend>,
    pub file: File,
    memory: GuestMemoryMmap,
    choice: Choice,
    /// what was offered to it
    pub offered: u64,
    rings: Vec<Ring>,
}

impl VirtioGuest {
    /// Boots: RAM and rings, which nobody serves yet.
    pub fn new(choice: Choice) -> Self {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd"));
        ftruncate(&file, RAM as u64).expect("ftruncate");
        let offset = FileOffset::new(file.try_clone().expect("dup"), 0);
        let region = GuestRegionMmap::from_range(GuestAddress(0), RAM, Some(offset)).expect("map");
        let memory = GuestMemoryMmap::from_regions(vec![region]).expect("one region");
        let event_idx = choice.features & EVENT_IDX != 0;
        let event = || EventFd::new(EFD_NONBLOCK).expect("eventfd");
        let ring = |i: usize| {
            let base = AREA * i as u64;
            Ring {
                driver: Driver::new(&memory, base, choice.size, event_idx),
                base,
                kick: event(),
                call: event(),
                buffers: vec![0; choice.size.into()],
                sent: 0,
            }
        };
        let rings = (0..2 * choice.pairs).map(ring).collect();
        let mut guest = VirtioGuest {
            front: None,
            file,
            memory,
            choice,
            offered: 0,
            rings,
        };
        for pair in 0..choice.pairs {
            for i in 0..choice.size {
                guest.offer(
                    pair,
                    guest.rings[2 * pair].base + DATA + u64::from(i) * u64::from(choice.room),
                );
            }
        }
        guest
    }

    /// Boots and connects.
    pub fn on(socket: &Path, choice: Choice) -> Self {
        let mut guest = Self::new(choice);
        guest.connect(socket);
        guest
    }

    /// Connects, or comes back: each ring goes on behind what was used.
    pub fn connect(&mut self, socket: &Path) {
        let mut front =
            Frontend::connect(socket, 2 * self.choice.pairs as u64).expect("it listens");
        front.set_owner().expect("SET_OWNER");
        self.offered = front.get_features().expect("GET_FEATURES");
        let protocol = front
            .get_protocol_features()
            .expect("GET_PROTOCOL_FEATURES");
        let chosen = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK;
        assert!(protocol.contains(chosen), "{protocol:?}");
        front
            .set_protocol_features(chosen)
            .expect("SET_PROTOCOL_FEATURES");
        front.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        assert!(front.get_queue_num().expect("GET_QUEUE_NUM") >= 2 * self.choice.pairs as u64);
        let features = self.choice.features & self.offered | ALWAYS;
        front.set_features(features).expect("SET_FEATURES");
        let region = self.memory.iter().next().expect("one region");
        let region = VhostUserMemoryRegionInfo::from_guest_region(region).expect("it has a file");
        front.set_mem_table(&[region]).expect("SET_MEM_TABLE");
        for (i, ring) in self.rings.iter().enumerate() {
            let [desc, avail, used] = ring
                .driver
                .at
                .map(|at| self.memory.get_host_address(GuestAddress(at)).expect("RAM") as u64);
            let config = VringConfigData {
                queue_max_size: self.choice.size,
                queue_size: self.choice.size,
                flags: 0,
                desc_table_addr: desc,
                used_ring_addr: used,
                avail_ring_addr: avail,
                log_addr: None,
            };
            front
                .set_vring_num(i, self.choice.size)
                .expect("SET_VRING_NUM");
            front.set_vring_addr(i, &config).expect("SET_VRING_ADDR");
            let base: u16 = self
                .memory
                .read_obj(GuestAddress(ring.driver.at[2] + 2))
                .expect("RAM");
            front.set_vring_base(i, base).expect("SET_VRING_BASE");
            front.set_vring_call(i, &ring.call).expect("SET_VRING_CALL");
            front.set_vring_kick(i, &ring.kick).expect("SET_VRING_KICK");
            front.set_vring_enable(i, true).expect("SET_VRING_ENABLE");
        }
        self.front = Some(front);
    }

    /// Hangs up, as QEMU does when it dies.
    pub fn hang_up(&mut self) {
        self.front = None;
    }

    /// The front end.
    pub fn front(&mut self) -> &mut Frontend {
        self.front.as_mut().expect("it is connected")
    }

    /// Makes a buffer at `at` available to pair `pair`.
    fn offer(&mut self, pair: usize, at: u64) {
        let room = self.choice.room;
        let ring = &mut self.rings[2 * pair];
        // In two pieces, as drivers do that have the header apart.
        let half: [Buffer; 2] = [(at, 12, true), (at + 12, room - 12, true)];
        let indirect = self.choice.features & INDIRECT != 0;
        let table = ring.base + TABLES + 32 * ((at - ring.base - DATA) / u64::from(room));
        let buffers: &[Buffer] = if indirect { &half } else { &[(at, room, true)] };
        let head = ring.driver.add(buffers, indirect.then_some(table));
        ring.buffers[usize::from(head)] = at;
        if ring.driver.publish() {
            ring.kick.write(1).expect("kick");
        }
    }

    /// Sends `frame` behind `header`, in pieces of `cut` bytes, and waits until it was taken.
    pub fn send(&mut self, pair: usize, header: [u8; 12], frame: &[u8], cut: usize) {
        self.begin(pair, header, frame, cut);
        self.wait_sent(pair);
    }

    /// Makes a packet available and kicks if that is wanted.
    pub fn begin(&mut self, pair: usize, header: [u8; 12], frame: &[u8], cut: usize) {
        let indirect = self.choice.features & INDIRECT != 0;
        let ring = &mut self.rings[2 * pair + 1];
        let whole = [&header[..], frame].concat();
        // Eight packets of the longest length, one behind the other.
        let at = ring.base + DATA + (ring.sent % 8) * 0x11_000;
        self.memory
            .write_slice(&whole, GuestAddress(at))
            .expect("RAM");
        let pieces: Vec<Buffer> = (0..whole.len())
            .step_by(cut)
            .map(|ofs| (at + ofs as u64, cut.min(whole.len() - ofs) as u32, false))
            .collect();
        let table = ring.base + TABLES + (ring.sent % 8) * 0x1000;
        ring.driver.add(&pieces, indirect.then_some(table));
        ring.sent += 1;
        if ring.driver.publish() {
            ring.kick.write(1).expect("kick");
        }
    }

    /// Waits until all was taken that was sent.
    pub fn wait_sent(&mut self, pair: usize) {
        let ring = &mut self.rings[2 * pair + 1];
        let all = usize::from(self.choice.size);
        while ring.driver.room() < all {
            if ring.driver.used().is_none() {
                wait(ring);
            }
        }
    }

    /// The next packet that has arrived: its header, its frame, and in how many buffers it was.
    pub fn receive(&mut self, pair: usize) -> ([u8; 12], Vec<u8>, u16) {
        let (mut whole, mut n, mut left) = (Vec::new(), 0, 1u16);
        while left > 0 {
            let ring = &mut self.rings[2 * pair];
            let Some((head, len)) = ring.driver.used() else {
                assert_eq!(n, 0, "all buffers of a packet are published at once");
                wait(ring);
                continue;
            };
            let at = ring.buffers[usize::from(head)];
            let mut bytes = vec![0; len as usize];
            self.memory
                .read_slice(&mut bytes, GuestAddress(at))
                .expect("RAM");
            whole.extend(bytes);
            if n == 0 {
                left = u16::from_le_bytes([whole[10], whole[11]]);
            }
            (n, left) = (n + 1, left - 1);
            self.offer(pair, at);
        }
        let frame = whole.split_off(12);
        (whole.try_into().expect("a header"), frame, n)
    }

    /// Is there nothing that has arrived?
    pub fn is_idle(&self, pair: usize) -> bool {
        self.rings[2 * pair].driver.unseen() == 0
    }

    /// Writes a descriptor that no driver would, and makes it available on ring `ring`.
    pub fn misbehave(&mut self, ring: usize, addr: u64, len: u32) {
        let ring = &mut self.rings[ring];
        ring.driver.describe(ring.driver.at[0], 0, addr, len, 0, 0);
        ring.driver.offer(0);
        ring.driver.publish();
        ring.kick.write(1).expect("kick");
    }
}

/// Waits for an interrupt, having asked for one.
fn wait(ring: &mut Ring) {
    ring.driver.ask_for_interrupt(Some(1));
    if ring.driver.unseen() > 0 {
        return;
    }
    let came = until(deadline(), || {
        let call = ring.call.as_raw_fd();
        let mut fds = [PollFd::from_borrowed_fd(
            uvale_system::sys::borrow(&call),
            PollFlags::IN,
        )];
        let time: Timespec = Duration::from_secs(1).try_into().expect("a second");
        poll(&mut fds, Some(&time)).expect("poll");
        ring.call.read().ok()
    });
    assert!(came.is_some(), "no interrupt came");
    ring.driver.ask_for_interrupt(None);
}
