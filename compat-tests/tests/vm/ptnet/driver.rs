//! A guest in this process: vfio-user's client in the place of QEMU, and what a ptnet driver does to its device. It
//! reads and writes its own RAM as a file, so that the file can be anything a test wants.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{Ordering::SeqCst, fence};

use compat_tests::place::Place;
use compat_tests::wait::deadline;
use compat_tests::world::Program;
use nm_abi::virt::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use uvale_shared::shm::{BufferPool, Mapping, Memfd, RingView, copy_in, copy_out};
use uvale_system::sys::Fd;
use vfio_user::Client;

use crate::ground::{text, vm};

/// Where the guest's RAM is, and how much of it there is.
pub const RAM: u64 = 0x10_0000;
pub const RAM_LEN: u64 = 1 << 20;
/// Where in it the CSB's arrays are.
pub const ATOK: u64 = 0x1_0000;
pub const KTOA: u64 = 0x1_1000;
const ENTRY: u64 = 64;
const BAR: u32 = PTNETMAP_IO_PCI_BAR;
const CONFIG: u32 = 7;
const MSIX: u32 = 2;
/// VFIO_IRQ_SET_DATA_EVENTFD and VFIO_IRQ_SET_ACTION_TRIGGER
const TRIGGER: u32 = 1 << 2 | 1 << 5;

/// `uvale vm ptnet ARGS...` for a port, ready for its guest.
pub fn ptnet(place: &Place, port: &str, name: &str, args: &[&str]) -> Program {
    let path = place.file(name);
    let all = [&["ptnet", "--port", port, "--socket", text(&path)], args].concat();
    let program = vm(place, &all);
    program.wait_text("-net.sock");
    program
}

/// A guest's RAM.
pub fn ram() -> OwnedFd {
    let ram = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&ram, RAM_LEN).expect("its length");
    ram
}

/// Frames of a test: a broadcast with a number.
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.resize(len.max(60), number as u8);
    frame
}

struct Ring {
    ofs: u64,
    slots: u32,
    head: u32,
}

/// A guest whose driver has found its devices.
pub struct Guest {
    pub net: Client,
    pub ram: OwnedFd,
    _mem: Client,
    region: Mapping,
    buffers: BufferPool,
    rings: Vec<Ring>,
    tx_rings: usize,
    pub interrupts: Vec<OwnedFd>,
}

fn socket(place: &Place, name: &str, which: &str) -> std::path::PathBuf {
    place.file(&format!("{name}-{which}.sock"))
}

/// Connects to one of the devices.
pub fn client(path: &Path) -> Client {
    Client::new(path).expect("it is served")
}

pub fn read(client: &mut Client, at: u32) -> u32 {
    let mut bytes = [0; 4];
    client
        .region_read(BAR, at.into(), &mut bytes)
        .expect("a register");
    u32::from_le_bytes(bytes)
}

impl Guest {
    /// QEMU has started: memory and interrupts are there, and the driver knows its device.
    pub fn new(place: &Place, name: &str) -> Guest {
        let mut mem = client(&socket(place, name, "mem"));
        let mut net = client(&socket(place, name, "net"));
        for (client, device) in [
            (&mut mem, PTNETMAP_PCI_DEVICE_ID),
            (&mut net, PTNETMAP_PCI_NETIF_ID),
        ] {
            let mut id = [0; 4];
            client.region_read(CONFIG, 0, &mut id).expect("what it is");
            let [a, b] = [PTNETMAP_PCI_VENDOR_ID, device].map(u16::to_le_bytes);
            assert_eq!(id, [a[0], a[1], b[0], b[1]]);
        }
        let ram = ram();
        // As every firmware does.
        rustix::io::pwrite(&ram, b"up", 0).expect("RAM");
        net.dma_map(0, RAM, RAM_LEN, ram.as_raw_fd()).expect("map");
        let shown = mem.region(PTNETMAP_MEM_PCI_BAR).expect("a BAR");
        assert!(shown.size.is_power_of_two());
        let file = shown.file_offset.as_ref().expect("it can be mapped");
        let file = file.file().try_clone().expect("dup");
        let memfd = Memfd::from_peer(Fd::from(OwnedFd::from(file))).expect("sealed");
        let region = Mapping::new(&memfd).expect("map");
        let word = |at| read(&mut mem, at);
        let [lo, hi, ofs, count, size] = [0, 4, 88, 92, 96].map(word);
        assert_eq!(u64::from(lo) | u64::from(hi) << 32, region.len() as u64);
        let buffers = BufferPool::new(&region, ofs.into(), size, count).expect("buffers");
        assert_eq!(
            read(&mut mem, PTNET_MDEV_IO_MEMID),
            read(&mut net, PTNET_IO_HOSTMEMID)
        );
        let registers = [
            PTNET_IO_NUM_TX_RINGS,
            PTNET_IO_NUM_RX_RINGS,
            PTNET_IO_NUM_TX_SLOTS,
            PTNET_IO_NUM_RX_SLOTS,
            PTNET_IO_NIFP_OFS,
        ];
        let [tx, rx, tx_slots, rx_slots, nifp] = registers.map(|at| read(&mut net, at));
        // As netmap_mem_pt_guest_rings_create: entries of the host rings lie between.
        let entries = (0..tx).map(|i| (i, tx_slots));
        let entries = entries.chain((0..rx).map(|i| (tx + 1 + i, rx_slots)));
        let ring = |(entry, slots): (u32, u32)| {
            let at = nifp as usize + nm_abi::netmap_if::bytes_for(0) + 8 * entry as usize;
            let ofs = copy_out(&region, at, 8).expect("ring_ofs");
            let ofs = u64::from_le_bytes(ofs.try_into().expect("eight"));
            assert_ne!(ofs, 0, "ring {entry} is there");
            Ring {
                ofs: u64::from(nifp) + ofs,
                slots,
                head: 0,
            }
        };
        let rings: Vec<Ring> = entries.map(ring).collect();
        let event =
            |_: &Ring| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd");
        let interrupts: Vec<OwnedFd> = rings.iter().map(event).collect();
        let fds: Vec<i32> = interrupts.iter().map(AsRawFd::as_raw_fd).collect();
        let n = fds.len() as u32;
        assert_eq!(net.get_irq_info(MSIX).expect("interrupts").count, n);
        net.set_irqs(MSIX, TRIGGER, 0, n, &fds).expect("set");
        Guest {
            net,
            ram,
            _mem: mem,
            region,
            buffers,
            rings,
            tx_rings: tx as usize,
            interrupts,
        }
    }

    pub fn write(&mut self, at: u32, value: u32) {
        self.net
            .region_write(BAR, at.into(), &value.to_le_bytes())
            .expect("a register");
    }

    pub fn read(&mut self, at: u32) -> u32 {
        read(&mut self.net, at)
    }

    /// Tells where the CSB is.
    pub fn set_csb(&mut self, atok: u64, ktoa: u64) {
        for (register, address) in [(PTNET_IO_CSB_GH_BAH, atok), (PTNET_IO_CSB_HG_BAH, ktoa)] {
            self.write(register, (address >> 32) as u32);
            self.write(register + 4, address as u32);
        }
    }

    /// PTCTL; answers with what it says.
    pub fn command(&mut self, command: u32) -> u32 {
        self.write(PTNET_IO_PTCTL, command);
        self.read(PTNET_IO_PTCTL)
    }

    /// The interface is up: as ptnet_nm_register.
    pub fn up(&mut self) {
        self.set_csb(RAM + ATOK, RAM + KTOA);
        assert_eq!(self.command(PTNETMAP_PTCTL_CREATE), 0);
        for i in 0..self.rings.len() {
            self.rings[i].head = self.atok(i, 0);
        }
    }

    fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        rustix::io::pread(&self.ram, &mut bytes, at).expect("RAM");
        u32::from_ne_bytes(bytes)
    }

    pub fn set_word(&self, at: u64, value: u32) {
        rustix::io::pwrite(&self.ram, &value.to_ne_bytes(), at).expect("RAM");
    }

    pub fn atok(&self, ring: usize, field: u64) -> u32 {
        self.word(ATOK + ENTRY * ring as u64 + 4 * field)
    }

    pub fn set_atok(&self, ring: usize, field: u64, value: u32) {
        self.set_word(ATOK + ENTRY * ring as u64 + 4 * field, value);
    }

    /// hwcur, hwtail, kern_need_kick by 0, 1, 2.
    pub fn ktoa(&self, ring: usize, field: u64) -> u32 {
        self.word(KTOA + ENTRY * ring as u64 + 4 * field)
    }

    /// Publishes a ring's head, and kicks if that is wanted.
    fn publish(&mut self, ring: usize) {
        let head = self.rings[ring].head;
        self.set_atok(ring, 1, head);
        self.set_atok(ring, 0, head);
        fence(SeqCst);
        if self.ktoa(ring, 2) != 0 {
            self.write(PTNET_IO_KICK_BASE + 4 * ring as u32, 0);
        }
    }

    /// Asks for an interrupt and waits for it, unless hwtail of `ring` has moved from `seen`.
    fn sleep(&mut self, ring: usize, seen: u32) {
        self.set_atok(ring, 2, 1);
        fence(SeqCst);
        if self.ktoa(ring, 1) == seen {
            let longest = Timespec::try_from(deadline()).expect("short");
            let mut fds = [PollFd::new(&self.interrupts[ring], PollFlags::IN)];
            let n = poll(&mut fds, Some(&longest)).expect("poll");
            assert_eq!(n, 1, "an interrupt of ring {ring} comes");
        }
        let _ = rustix::io::read(&self.interrupts[ring], &mut [0; 8]);
        self.set_atok(ring, 2, 0);
    }

    fn view(&self, ring: usize) -> RingView<'_> {
        RingView::new(&self.region, self.rings[ring].ofs, self.rings[ring].slots).expect("a ring")
    }

    /// Sends frames on tx ring `queue`, and waits for room when there is none.
    pub fn send(&mut self, queue: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
        let mut tail = self.ktoa(queue, 1);
        let mut unpublished = 0;
        for frame in frames {
            while self.rings[queue].head == tail {
                self.publish(queue);
                self.sleep(queue, tail);
                tail = self.ktoa(queue, 1);
            }
            let head = self.rings[queue].head;
            let view = self.view(queue);
            let slot = view.slots()[head as usize].load();
            assert!(self.buffers.is_valid(slot.buf_idx));
            assert!(copy_in(
                &frame,
                &self.region,
                self.buffers.offset(slot.buf_idx)
            ));
            view.slots()[head as usize].store_len_flags(frame.len() as u16, 0);
            self.rings[queue].head = view.next(head);
            unpublished += 1;
            if unpublished % 64 == 0 {
                self.publish(queue);
            }
        }
        self.publish(queue);
    }

    /// Receives a frame on rx ring `queue`, waiting for it.
    pub fn receive(&mut self, queue: usize) -> Vec<u8> {
        let ring = self.tx_rings + queue;
        loop {
            if let Some(frame) = self.try_receive(queue) {
                return frame;
            }
            let seen = self.rings[ring].head;
            self.publish(ring);
            self.sleep(ring, seen);
        }
    }

    /// The next frame of rx ring `queue`, if there is one.
    pub fn try_receive(&mut self, queue: usize) -> Option<Vec<u8>> {
        let ring = self.tx_rings + queue;
        let head = self.rings[ring].head;
        if self.ktoa(ring, 1) == head {
            return None;
        }
        fence(SeqCst);
        let view = self.view(ring);
        let slot = view.slots()[head as usize].load();
        let frame = copy_out(
            &self.region,
            self.buffers.offset(slot.buf_idx),
            slot.len.into(),
        );
        self.rings[ring].head = view.next(head);
        if self.rings[ring].head.is_multiple_of(64) {
            self.publish(ring);
        }
        frame
    }

    /// Gives back what was received on rx ring `queue`, and wakes nobody.
    pub fn give_back(&mut self, queue: usize) {
        let ring = self.tx_rings + queue;
        let head = self.rings[ring].head;
        self.set_atok(ring, 1, head);
        self.set_atok(ring, 0, head);
    }

    /// Receives `n` frames whose numbers go up from `first`.
    pub fn receive_numbers(&mut self, queue: usize, first: u32, n: u32) {
        for number in first..first + n {
            let got = self.receive(queue);
            assert_eq!(got[14..18], number.to_be_bytes(), "frame {number}");
            assert_eq!(got, frame(number, got.len()));
        }
    }

    /// Writes a word of a ring, its slots included.
    pub fn spoil(&self, ring: usize, at: u64, value: u32) {
        let ring = &self.rings[ring % self.rings.len()];
        let len = nm_abi::netmap_ring::bytes_for(ring.slots) as u64;
        let at = ring.ofs + ((at % len) & !3);
        assert!(copy_in(&value.to_ne_bytes(), &self.region, at as usize));
    }

    /// Gives eventfds to `n` vectors from `start` on, which may not be there.
    pub fn hear_of(&mut self, start: u32, n: usize) {
        let fds: Vec<i32> = self
            .interrupts
            .iter()
            .map(AsRawFd::as_raw_fd)
            .cycle()
            .take(n)
            .collect();
        self.net
            .set_irqs(MSIX, TRIGGER, start, n as u32, &fds)
            .expect("an answer");
    }

    /// Another file, or none that can be mapped, in the place of RAM.
    pub fn map(&mut self, guest: u64, len: u64, file: impl AsFd) {
        self.net
            .dma_map(0, guest, len, file.as_fd().as_raw_fd())
            .expect("map");
    }
}

/// A descriptor that is no memory.
pub fn no_memory() -> File {
    File::open("/dev/null").expect("it is there")
}

/// Waits until the process has ended; what it said.
pub fn ended(mut program: Program) -> String {
    program.wait();
    program.said()
}
