//! A guest and a client that do whatever the input says: messages, registers, maps of memory, interrupts, and any words
//! in the CSB. Without a port: what syncs do with the indices is the engine's (`rings`).

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nm_abi::virt::PTNET_IO_CSB_GH_BAL;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use uvale_engine::csb::Csb;

use super::RegisterBar;
use super::csb::{ENTRY, Entry, GuestCsb};
use super::interrupts::Interrupts;
use super::network_device::{NetworkDevice, Parts};
use super::registers::Facts;
use super::still::Still;
use super::sync_loop::Loops;
use crate::guest_memory::GuestMemory;
use crate::vfio::{Device, serve_one};

/// The guest's RAM: its address, and bytes.
const RAM: u64 = 0x10_0000;
const RAM_LEN: u64 = 0x1_0000;

/// The input, taken apart.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(n.min(self.0.len()));
        self.0 = later;
        now.to_vec()
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u32 {
        self.bytes(4)
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte))
    }

    /// An address that is often in RAM, or anything.
    fn address(&mut self) -> u64 {
        let word = u64::from(self.word());
        match word % 4 {
            0 => word << 32 | u64::from(self.word()),
            1 => RAM + (word >> 2) % (2 * RAM_LEN),
            _ => RAM + (((word >> 2) % RAM_LEN) & !4095),
        }
    }
}

struct Guest {
    device: NetworkDevice,
    ram: OwnedFd,
    event: OwnedFd,
    memory: GuestMemory,
}

impl Guest {
    fn new() -> Option<Self> {
        // Sealed as QEMU's is: what happens to another one is the end of the process.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let ram = memfd_create("ram", flags).ok()?;
        ftruncate(&ram, RAM_LEN).ok()?;
        let mut memory = GuestMemory::default();
        let file = File::from(ram.try_clone().ok()?);
        memory.map(RAM, RAM_LEN, Some(file), 0).ok()?;
        let interrupts = Arc::new(Interrupts::new(2));
        let loops = Loops::new(Vec::new(), [1, 1], interrupts.clone(), Duration::ZERO);
        let device = NetworkDevice::new(Parts {
            facts: Facts {
                features: u32::MAX,
                tx_rings: 1,
                rx_rings: 1,
                tx_slots: 64,
                rx_slots: 64,
                ..Facts::default()
            },
            bar: RegisterBar::Mem,
            loops: Arc::new(loops.ok()?),
            interrupts,
            set_header: Box::new(|len| len),
            say: Box::new(|_| ()),
        });
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        Some(Self {
            device,
            ram,
            event,
            memory,
        })
    }

    fn file(&self, which: u8) -> Option<File> {
        let fd = match which % 4 {
            0 => return None,
            1 => self.event.as_fd(),
            _ => self.ram.as_fd(),
        };
        fd.try_clone_to_owned().ok().map(File::from)
    }

    fn step(&mut self, source: &mut Source<'_>) -> std::io::Result<()> {
        match source.byte() % 9 {
            0 => {
                let at = u64::from(source.byte() % 66) * 4;
                let value = source.word().to_le_bytes();
                self.device.region_write(0, at, &value)
            }
            1 => {
                let at = u64::from(PTNET_IO_CSB_GH_BAL) + 8 * u64::from(source.byte() % 2);
                let value = source.address() as u32;
                self.device.region_write(0, at, &value.to_le_bytes())
            }
            2 => {
                let (region, at) = (u32::from(source.byte() % 9), source.address());
                let len = usize::from(source.byte() % 16);
                let bytes = source.bytes(len);
                self.device.region_write(region, at, &bytes)?;
                self.device.region_read(region, at, &mut vec![0; len])
            }
            3 => {
                let (flags, file) = (source.byte().into(), self.file(source.byte()));
                let offset = u64::from(source.byte()) << 12;
                let (guest, len) = (source.address(), u64::from(source.word() % 0x2_0000));
                self.device.dma_map(flags, offset, guest, len, file)
            }
            4 => {
                let file = self.file(2);
                self.device.dma_map(3, 0, RAM, RAM_LEN, file)
            }
            5 => {
                let flags = source.byte().into();
                let (guest, len) = (source.address(), source.address());
                self.device.dma_unmap(flags, guest, len)
            }
            6 => {
                let [index, flags, start, count] = [0; 4].map(|_| u32::from(source.byte()));
                let count = count % 8;
                let files = (0..count).filter_map(|_| self.file(source.byte()));
                let files = files.collect();
                self.device
                    .set_irqs(index % 4, flags, start % 4, count, files)
            }
            7 => {
                self.pass(source);
                Ok(())
            }
            _ => self.talk(source),
        }
    }

    /// What a loop does with a CSB in which anything is.
    fn pass(&mut self, source: &mut Source<'_>) {
        let mut array = || self.memory.words(source.address(), 2 * ENTRY);
        let (Some(atok), Some(ktoa)) = (array(), array()) else {
            return;
        };
        let entries = [false, true].map(|is_rx| Entry {
            number: usize::from(is_rx),
            slots: 64,
            is_rx,
        });
        let csb = GuestCsb::new(atok.clone(), ktoa, &entries);
        let mut still = Still::new(&atok);
        for _ in 0..source.byte() % 32 {
            let i = usize::from(source.byte() % 3);
            let at = u64::from(source.word()) % (RAM_LEN - 4);
            let _ = rustix::io::pwrite(&self.ram, &source.word().to_ne_bytes(), at);
            csb.begin_pass(i, std::time::Instant::now());
            let wanted = csb.read(i);
            if source.byte().is_multiple_of(2) {
                csb.show(i, wanted.head, source.word() % 64);
                assert!(!csb.has_failed(i));
            }
            csb.ask_for_kicks(std::time::Instant::now());
            let _ = (csb.has_news(), csb.is_incomplete(), csb.has_moved());
            still.kick(&atok);
        }
    }

    /// Messages over a socket.
    fn talk(&mut self, source: &mut Source<'_>) -> std::io::Result<()> {
        let (own, mut peer) = UnixStream::pair()?;
        for _ in 0..source.byte() % 4 {
            let (command, len) = (u16::from(source.byte() % 16), source.byte());
            let body = source.bytes(len.into());
            let says = match source.byte() {
                0 => source.word(),
                _ => 16 + body.len() as u32,
            };
            let flags = u32::from(source.byte() & 16);
            let header = [u32::from(command) << 16, says, flags, 0].map(u32::to_le_bytes);
            peer.write_all(header.as_flattened())?;
            peer.write_all(&body)?;
        }
        peer.shutdown(std::net::Shutdown::Write)?;
        let layout = self.device.layout();
        serve_one(own, self.event.as_fd(), &layout, &mut self.device, &|| ())
    }
}

/// Runs an input.
pub fn ptnet(input: &[u8]) {
    let mut source = Source(input);
    let Some(mut guest) = Guest::new() else {
        return;
    };
    while !source.0.is_empty() {
        let _ = guest.step(&mut source);
    }
    guest.device.left();
}

#[cfg(test)]
proptest::proptest! {
    #[test]
    fn whatever_a_guest_does_the_device_answers(
        input in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)
    ) {
        ptnet(&input);
    }
}
