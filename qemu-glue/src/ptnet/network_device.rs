//! `ptnet`: the network device, whose driver in the guest talks to the sync loops.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::sync::Arc;

use nm_abi::virt::*;
use vfio_bindings::bindings::vfio::*;

use super::RegisterBar;
use super::interrupts::Interrupts;
use super::registers::{BAR_LEN, Command, Facts, Registers};
use super::still::Kicked;
use super::sync_loop::{Loops, NoLoop};
use crate::guest_memory::GuestMemory;
use crate::pci::{Bar, ConfigSpace, Identity, Msix};
use crate::vfio::{Device, Layout, READ_WRITE, UNMAP_ALL, bad, put_register};

/// Ethernet controller.
const CLASS: u32 = 0x02_00_00;
/// Bytes of the BAR with MSI-X table and pending bits, and where the latter begin.
const MSIX_LEN: u32 = 4096;
const MSIX_PENDING: u32 = 2048;

/// Sets the header length of the port; answers with what it is then.
pub type SetHeader = Box<dyn Fn(u32) -> u32 + Send>;
/// Tells a person something.
pub type Say = Box<dyn Fn(&str) + Send>;

/// Sentences for each QEMU: a guest decides how often there is a reason for one.
const MOST_SENTENCES: u32 = 20;

/// The device.
pub struct NetworkDevice {
    config: ConfigSpace,
    registers: Registers,
    vectors: u32,
    memory: GuestMemory,
    loops: Arc<Loops>,
    interrupts: Arc<Interrupts>,
    set_header: SetHeader,
    say: Say,
    sentences: u32,
    has_said_unshared: bool,
}

/// What it works with.
pub struct Parts {
    /// of the port
    pub facts: Facts,
    /// kind of BAR 0
    pub bar: RegisterBar,
    /// they sync
    pub loops: Arc<Loops>,
    /// one for each ring
    pub interrupts: Arc<Interrupts>,
    /// see there
    pub set_header: SetHeader,
    /// see there
    pub say: Say,
}

impl NetworkDevice {
    /// Makes it.
    pub fn new(parts: Parts) -> Self {
        let identity = Identity {
            vendor: PTNETMAP_PCI_VENDOR_ID,
            device: PTNETMAP_PCI_NETIF_ID,
            class: CLASS,
        };
        let bars = [
            (PTNETMAP_IO_PCI_BAR as usize, parts.bar.bar(BAR_LEN)),
            (PTNETMAP_MSIX_PCI_BAR as usize, Bar::Memory(MSIX_LEN)),
        ];
        let vectors = parts.facts.tx_rings + parts.facts.rx_rings;
        let msix = Msix {
            vectors: vectors as u16,
            bar: PTNETMAP_MSIX_PCI_BAR as u8,
            pending: MSIX_PENDING,
        };
        Self {
            config: ConfigSpace::new(identity, &bars, Some(msix)),
            registers: Registers::new(parts.facts),
            vectors,
            memory: GuestMemory::default(),
            loops: parts.loops,
            interrupts: parts.interrupts,
            set_header: parts.set_header,
            say: parts.say,
            sentences: 0,
            has_said_unshared: false,
        }
    }

    /// What QEMU is told of it.
    pub fn layout(&self) -> Layout {
        Layout {
            regions: vec![
                (PTNETMAP_IO_PCI_BAR, u64::from(BAR_LEN), None),
                (PTNETMAP_MSIX_PCI_BAR, u64::from(MSIX_LEN), None),
            ],
            vectors: self.vectors,
        }
    }

    fn say(&mut self, what: &str) {
        self.sentences = self.sentences.saturating_add(1);
        match self.sentences.cmp(&MOST_SENTENCES) {
            Ordering::Less => (self.say)(what),
            Ordering::Equal => (self.say)("further messages about this guest are left out"),
            Ordering::Greater => {}
        }
    }

    /// No guest uses the registers any more.
    fn begin_anew(&mut self) {
        self.loops.stop();
        self.obey(Command::Header(0));
        self.loops.forget();
        self.registers.reset();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Nothing => {}
            Command::Kick(ring) => {
                if self.loops.kick(ring) == Kicked::ForNothing {
                    self.say_unshared();
                }
            }
            Command::Start => {
                let status = self.start();
                self.registers.answer(status as u32);
            }
            Command::Stop => {
                self.loops.stop();
                self.registers.answer(0);
            }
            Command::NewCsb => self.loops.stop(),
            Command::Header(len) => {
                if self.registers.may_have_header(len) {
                    let len = (self.set_header)(len);
                    self.registers.set_header(len);
                }
            }
        }
    }

    fn say_unshared(&mut self) {
        if !std::mem::replace(&mut self.has_said_unshared, true) {
            self.say(concat!(
                "nothing that the guest writes arrives here, so its network card cannot work: its RAM is probably \
                 not shared. Give QEMU ",
                shared_ram!("...")
            ));
        }
    }

    /// The guest's answer to CREATE: an errno, or 0.
    fn start(&mut self) -> i32 {
        if self.memory.is_untouched() {
            self.say_unshared();
        }
        match self.loops.start(&self.memory, self.registers.csb()) {
            Ok(()) => 0,
            Err(NoLoop::NoCsb) if self.memory.is_unshared() => {
                self.say(concat!(
                    "the guest's RAM is not shared with this process, so its network card cannot work: give QEMU ",
                    shared_ram!("...")
                ));
                libc::ENXIO
            }
            Err(NoLoop::NoCsb) => {
                self.say("the guest's driver has not given a valid address of the CSB");
                libc::ENXIO
            }
            Err(NoLoop::NoThread) => {
                self.say("cannot start a thread for the sync loop: raise ulimit -u");
                libc::EAGAIN
            }
            Err(NoLoop::Over) => libc::ENXIO,
        }
    }
}

impl Device for NetworkDevice {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn left(&mut self) {
        self.begin_anew();
        self.interrupts.clear();
        self.memory.clear();
        self.sentences = 0;
        self.has_said_unshared = false;
    }

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if self.read_config(region, offset, data) {
            return Ok(());
        }
        match region {
            PTNETMAP_IO_PCI_BAR => put_register(data, offset, self.registers.read(offset & !3)),
            _ => data.fill(0),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.write_config(region, offset, data) || region != PTNETMAP_IO_PCI_BAR {
            return Ok(());
        }
        // Drivers write whole registers.
        if let (Ok(value), 0) = (data.try_into(), offset % 4) {
            let command = self.registers.write(offset, u32::from_le_bytes(value));
            self.obey(command);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: u32,
        offset: u64,
        guest: u64,
        len: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        if flags & READ_WRITE == READ_WRITE {
            let has_file = file.is_some();
            match self.memory.map(guest, len, file, offset) {
                Ok(()) if has_file => self.loops.resume(&self.memory, self.registers.csb()),
                Ok(()) => {}
                Err(why) => self.say(&format!(
                    "{len} bytes of the guest's RAM at {guest:#x} cannot be used: {why}"
                )),
            }
        }
        Ok(())
    }

    fn dma_unmap(&mut self, flags: u32, guest: u64, len: u64) -> io::Result<()> {
        let (guest, len) = match flags & UNMAP_ALL != 0 {
            true => (0, u64::MAX),
            false => (guest, len),
        };
        self.loops.suspend(guest, len);
        self.memory.unmap(guest, len);
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.begin_anew();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        events: Vec<File>,
    ) -> io::Result<()> {
        if index != VFIO_PCI_MSIX_IRQ_INDEX {
            return Ok(());
        }
        let is_trigger = flags & VFIO_IRQ_SET_ACTION_TYPE_MASK == VFIO_IRQ_SET_ACTION_TRIGGER;
        let outcome = match flags & VFIO_IRQ_SET_DATA_TYPE_MASK {
            _ if !is_trigger => Ok(()),
            VFIO_IRQ_SET_DATA_EVENTFD if !events.is_empty() => {
                self.interrupts.set(start as usize, events)
            }
            VFIO_IRQ_SET_DATA_EVENTFD => self.interrupts.unset(start as usize, count as usize),
            VFIO_IRQ_SET_DATA_NONE if count == 0 => {
                self.interrupts.clear();
                Ok(())
            }
            _ => Ok(()),
        };
        outcome.map_err(|why| bad(&why))
    }
}
