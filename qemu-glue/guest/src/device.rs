//! The device `ptnet`: a port of the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nm_abi::netmap_if;
use nm_abi::virt::*;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use uvale_shared::shm::RingView;
use uvale_wire::ptnet::ring::{Csb, Kick, MOST_RINGS, PAGES, Ring};
use uvale_wire::ptnet::{self, Direction, places};

use crate::memdev::{Memdev, read};
use crate::pci::{self, PciDevice, Use};
use crate::pinned::Pinned;
use crate::{Registers, pci::DEVICES};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which of the guest's ptnet devices, in the order of their bus addresses.
    pub number: usize,
    /// Bytes of the virtio-net header in front of each packet: 0, 10 or 12.
    pub header: u32,
    /// Where PCI devices are shown.
    pub devices: PathBuf,
    /// Where files in memory are.
    pub run: PathBuf,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            number: 0,
            header: 0,
            devices: DEVICES.into(),
            run: "/run".into(),
        }
    }
}

/// What its registers tell of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Rings of each direction.
    pub tx_rings: u32,
    /// As above.
    pub rx_rings: u32,
    /// Slots of each ring.
    pub tx_slots: u32,
    /// As above.
    pub rx_slots: u32,
    /// Memory id in the host.
    pub memory: u32,
    /// Where in the region its `netmap_if` is.
    pub nifp: u32,
    /// Bytes of the virtio-net header.
    pub header: u32,
}

/// The kick register of a ring.
struct ByRegister {
    registers: Arc<Registers>,
    at: u32,
}

impl Kick for ByRegister {
    fn kick(&self) -> Result<(), Errno> {
        self.registers.write(self.at, 0)
    }
}

/// A port of the host, with the host's sync loop running over its rings.
pub struct Device {
    pci: PciDevice,
    registers: Arc<Registers>,
    /// of all tx rings, then of all rx rings
    kicks: Vec<ByRegister>,
    shape: Shape,
    memdev: Memdev,
    csb: Pinned,
    nifp: netmap_if,
    /// where in the region the rings are: tx, rx
    places: [Vec<u64>; 2],
}

impl Device {
    /// Takes the device and starts the host's loop.
    ///
    /// # Errors
    /// A sentence: there is no device, it is in use, tells nonsense, or refuses.
    pub fn open(wanted: &Wanted) -> Result<Self, String> {
        let found = pci::find(&wanted.devices, PTNETMAP_PCI_NETIF_ID);
        let dir = found.get(wanted.number).ok_or_else(|| {
            let (n, wanted) = (found.len(), wanted.number);
            format!("there is no ptnet device {wanted}: this machine has {n} (PCI 1b36:000d)")
        })?;
        let pci = PciDevice::take(dir, Use::Alone)?;
        let registers = Arc::new(pci.registers(PTNETMAP_IO_PCI_BAR)?);
        let file = wanted.run.join(format!("ptnet-csb-{}", pci.name()));
        // Somebody may have been killed, and the host still be at work on the pages of its CSB.
        let let_go = write(&registers, PTNET_IO_PTCTL, PTNETMAP_PTCTL_DELETE)
            .and_then(|()| tell_csb(&registers, [0; PAGES]));
        let_go?;
        let shape = Shape::agree(&registers, wanted.header)?;
        let memdev = Memdev::open(&wanted.devices, shape.memory)?;
        let rings = [shape.tx_rings, shape.rx_rings];
        let slots = [shape.tx_slots, shape.rx_slots];
        let (nifp, places) = places(&memdev.region.map, shape.nifp, rings, slots)?;
        let kick = |ring| ByRegister {
            registers: registers.clone(),
            at: PTNET_IO_KICK_BASE + 4 * ring,
        };
        // The last thing that may fail: its file is there only while the device is used, or after a kill.
        let csb = Pinned::new(&file, PAGES)?;
        let device = Self {
            pci,
            kicks: (0..shape.rings()).map(kick).collect(),
            registers,
            shape,
            memdev,
            csb,
            nifp,
            places,
        };
        device.start()?;
        Ok(device)
    }

    fn start(&self) -> Result<(), String> {
        let pages = core::array::from_fn(|page| self.csb.address(page));
        tell_csb(&self.registers, pages)?;
        for ring in 0..self.shape.rings() {
            self.csb(ring).reset();
        }
        write(&self.registers, PTNET_IO_PTCTL, PTNETMAP_PTCTL_CREATE)?;
        match read(&self.registers, PTNET_IO_PTCTL)? {
            0 => Ok(()),
            errno => Err(format!(
                "the host does not start its loop: {}",
                Errno::from_raw_os_error(errno as i32)
            )),
        }
    }

    /// What its registers tell.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The rings of a direction, as the host's loop found them.
    ///
    /// # Errors
    /// A sentence, if the CSB has indices that no ring has.
    pub fn rings(&self, direction: Direction) -> Result<Vec<Ring<'_>>, String> {
        let first = match direction {
            Direction::Tx => 0,
            Direction::Rx => self.shape.tx_rings,
        };
        let places = &self.places[direction as usize];
        let rings = (0..).zip(places).map(|(i, place)| {
            let slots = self.shape.slots(direction);
            let view = RingView::new(&self.memdev.region.map, *place, slots);
            let view = view.ok_or("a ring lies outside of the region")?;
            let kick = &self.kicks[(first + i) as usize];
            Ring::new(&self.memdev.region, view, self.csb(first + i), kick)
        });
        rings.collect()
    }

    /// What there is to know, a `key=value` line each.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let Shape { mac, .. } = self.shape;
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let pool = &self.memdev.region.pool;
        let is_io = matches!(*self.registers, Registers::Ports(_));
        let number = |n: u32| n.to_string();
        vec![
            ("device", self.pci.name()),
            ("bar0", if is_io { "io" } else { "memory" }.into()),
            ("mac", mac),
            ("tx_rings", number(self.shape.tx_rings)),
            ("rx_rings", number(self.shape.rx_rings)),
            ("tx_slots", number(self.shape.tx_slots)),
            ("rx_slots", number(self.shape.rx_slots)),
            ("host_tx_rings", number(self.nifp.ni_host_tx_rings)),
            ("host_rx_rings", number(self.nifp.ni_host_rx_rings)),
            ("header", number(self.shape.header)),
            ("memory", number(self.shape.memory)),
            ("memory_bytes", self.memdev.size.to_string()),
            ("bar1_bytes", self.memdev.region.map.len().to_string()),
            ("buffers", number(pool.count())),
            ("buffer_bytes", number(pool.size())),
        ]
    }

    /// What a process without any rights needs to use the rings, and the two files of [`ptnet::Shape`]'s descriptors.
    /// Its kicks are this process's to make: [`Device::kick`].
    #[must_use]
    pub fn wire(&self) -> (ptnet::Shape, [BorrowedFd<'_>; 2]) {
        let Shape {
            mac, memory, nifp, ..
        } = self.shape;
        let pool = &self.memdev.region.pool;
        let shape = ptnet::Shape {
            mac,
            // There are at most as many as the CSB has room for.
            rings: [self.shape.tx_rings, self.shape.rx_rings].map(|n| n as u16),
            slots: [self.shape.tx_slots, self.shape.rx_slots],
            memory,
            bar: self.memdev.region.map.len() as u64,
            buffers: self.memdev.buffers.into(),
            buffer_size: pool.size(),
            buffer_count: pool.count(),
            nifp,
        };
        (shape, [self.memdev.file.as_fd(), self.csb.file()])
    }

    /// Wakes the host's loop for ring `ring`, rx rings being behind tx rings.
    ///
    /// # Errors
    /// `EINVAL` if there is no such ring; what the kernel says.
    pub fn kick(&self, ring: usize) -> Result<(), Errno> {
        self.kicks.get(ring).ok_or(Errno::INVAL)?.kick()
    }

    fn csb(&self, ring: u32) -> Csb<'_> {
        let entries = Csb::of(self.csb.map(), ring);
        entries.expect("rings are as many as a page has room for")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let stopped = write(&self.registers, PTNET_IO_PTCTL, PTNETMAP_PTCTL_DELETE)
            .and_then(|()| read(&self.registers, PTNET_IO_PTCTL))
            .and_then(|_| tell_csb(&self.registers, [0; PAGES]))
            // A read is answered when the writes before it have arrived.
            .and_then(|()| read(&self.registers, PTNET_IO_CSB_HG_BAL));
        if stopped.is_ok() {
            self.csb.remove();
        }
    }
}

impl Shape {
    /// Reads the registers, once it is agreed with the host what is in front of packets.
    fn agree(registers: &Registers, header: u32) -> Result<Self, String> {
        let features = if header > 0 { PTNETMAP_F_VNET_HDR } else { 0 };
        write(registers, PTNET_IO_PTFEAT, features)?;
        if read(registers, PTNET_IO_PTFEAT)? & features != features {
            return Err(
                "the host's port has no virtio-net headers: ask for header length 0".into(),
            );
        }
        write(registers, PTNET_IO_VNET_HDR_LEN, header)?;
        let agreed = read(registers, PTNET_IO_VNET_HDR_LEN)?;
        if agreed != header {
            return Err(format!(
                "the host answers with a header length of {agreed}: ask for that, or for 0, 10 or 12"
            ));
        }
        let get = |ofs| read(registers, ofs);
        let (low, high) = (get(PTNET_IO_MAC_LO)?, get(PTNET_IO_MAC_HI)?);
        let [_, _, a, b] = high.to_be_bytes();
        let [c, d, e, f] = low.to_be_bytes();
        let shape = Self {
            mac: [a, b, c, d, e, f],
            tx_rings: get(PTNET_IO_NUM_TX_RINGS)?,
            rx_rings: get(PTNET_IO_NUM_RX_RINGS)?,
            tx_slots: get(PTNET_IO_NUM_TX_SLOTS)?,
            rx_slots: get(PTNET_IO_NUM_RX_SLOTS)?,
            memory: get(PTNET_IO_HOSTMEMID)?,
            nifp: get(PTNET_IO_NIFP_OFS)?,
            header,
        };
        let rings = shape.tx_rings.saturating_add(shape.rx_rings);
        if shape.tx_rings == 0 || shape.rx_rings == 0 || rings > MOST_RINGS {
            return Err(format!(
                "the host's port has {} tx and {} rx rings: the CSB has room for {MOST_RINGS}, and each direction \
                 has one at least",
                shape.tx_rings, shape.rx_rings
            ));
        }
        if shape.tx_slots < 2 || shape.rx_slots < 2 {
            return Err("the host's port has rings of less than two slots".into());
        }
        Ok(shape)
    }

    fn rings(&self) -> u32 {
        self.tx_rings + self.rx_rings
    }

    fn slots(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Tx => self.tx_slots,
            Direction::Rx => self.rx_slots,
        }
    }
}

/// Tells the host where the pages of the CSB are, high halves first; 0: nowhere.
fn tell_csb(registers: &Registers, [to_host, to_guest]: [u64; PAGES]) -> Result<(), String> {
    for (ofs, address) in [
        (PTNET_IO_CSB_GH_BAH, to_host),
        (PTNET_IO_CSB_HG_BAH, to_guest),
    ] {
        write(registers, ofs, (address >> 32) as u32)?;
        write(registers, ofs + 4, address as u32)?;
    }
    Ok(())
}

fn write(registers: &Registers, ofs: u32, value: u32) -> Result<(), String> {
    let written = registers.write(ofs, value);
    written.map_err(|e| format!("register {ofs} cannot be written: {e}"))
}

const _: () = assert!(PTNET_IO_CSB_GH_BAH + 4 == PTNET_IO_CSB_GH_BAL);
const _: () = assert!(PTNET_IO_CSB_HG_BAH + 4 == PTNET_IO_CSB_HG_BAL);

/// All ptnet devices of this machine, by their bus addresses.
#[must_use]
pub fn all(devices: &Path) -> Vec<PathBuf> {
    pci::find(devices, PTNETMAP_PCI_NETIF_ID)
}
