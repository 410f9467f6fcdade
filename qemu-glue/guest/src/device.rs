//! The device `ptnet`: a port of the host.

use std::path::{Path, PathBuf};

use nm_abi::virt::*;
use nm_abi::{AbiBytes, netmap_if};
use rustix::io::Errno;
use uvale_shared::shm::{RingView, copy_out};

use crate::memdev::{Memdev, read};
use crate::pci::{self, PciDevice, Use};
use crate::pinned::{PAGE, Pinned};
use crate::ring::{CSB_WORDS, Csb, Ring};
use crate::{Registers, pci::DEVICES};

/// Pages of the CSB: what the guest writes, what the host writes.
const TO_HOST: usize = 0;
const TO_GUEST: usize = 1;
const PAGES: usize = 2;
/// Rings that a page of the CSB has room for.
const MOST_RINGS: u32 = (PAGE / (CSB_WORDS * 4)) as u32;

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

/// A direction of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest.
    Tx,
    /// To the guest.
    Rx,
}

/// A port of the host, with the host's sync loop running over its rings.
pub struct Device {
    pci: PciDevice,
    registers: Registers,
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
        let registers = pci.registers(PTNETMAP_IO_PCI_BAR)?;
        let file = wanted.run.join(format!("ptnet-csb-{}", pci.name()));
        // Somebody may have been killed, and the host still be at work on the pages of its CSB.
        let let_go = write(&registers, PTNET_IO_PTCTL, PTNETMAP_PTCTL_DELETE)
            .and_then(|()| tell_csb(&registers, [0; PAGES]));
        let_go?;
        let shape = Shape::agree(&registers, wanted.header)?;
        let memdev = Memdev::open(&wanted.devices, shape.memory)?;
        let (nifp, places) = places(&memdev, &shape)?;
        // The last thing that may fail: its file is there only while the device is used, or after a kill.
        let csb = Pinned::new(&file, PAGES)?;
        let device = Self {
            pci,
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
        let pages = [TO_HOST, TO_GUEST].map(|page| self.csb.address(page));
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
            let kick = PTNET_IO_KICK_BASE + 4 * (first + i);
            let kick = move || self.registers.write(kick, 0);
            let csb = self.csb(first + i);
            Ring::new(&self.memdev.region, view, csb, Box::new(kick))
        });
        rings.collect()
    }

    /// What there is to know, a `key=value` line each.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let Shape { mac, .. } = self.shape;
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let pool = &self.memdev.region.pool;
        let is_io = matches!(self.registers, Registers::Ports(_));
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

    fn csb(&self, ring: u32) -> Csb<'_> {
        let entry = |page: usize| {
            let ofs = page * PAGE + ring as usize * CSB_WORDS * 4;
            let entry = self.csb.map().at(ofs);
            entry.expect("rings are as many as a page has room for")
        };
        Csb {
            to_host: entry(TO_HOST),
            to_guest: entry(TO_GUEST),
        }
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

/// Where in the region the rings are, by direction. The host's port has host rings behind those of each direction,
/// which are not the guest's.
fn places(memdev: &Memdev, shape: &Shape) -> Result<(netmap_if, [Vec<u64>; 2]), String> {
    let map = &memdev.region.map;
    let outside = || format!("the port's netmap_if at offset {} is none", shape.nifp);
    let at = shape.nifp as usize;
    let copy = copy_out(map, at, size_of::<netmap_if>()).ok_or_else(outside)?;
    let nifp = netmap_if::from_bytes(&copy).ok_or_else(outside)?;
    if (nifp.ni_tx_rings, nifp.ni_rx_rings) != (shape.tx_rings, shape.rx_rings) {
        return Err(format!(
            "the port's netmap_if has {} tx and {} rx rings, its registers tell of {} and {}",
            nifp.ni_tx_rings, nifp.ni_rx_rings, shape.tx_rings, shape.rx_rings
        ));
    }
    let first_rx = shape.tx_rings as usize + nifp.ni_host_tx_rings as usize;
    let place = |i: usize, slots: u32| {
        let entry = at + netmap_if::bytes_for(i);
        let distance = copy_out(map, entry, size_of::<i64>()).and_then(|b| b.try_into().ok());
        let distance = distance.map(i64::from_ne_bytes).filter(|d| *d != 0);
        let place = distance.and_then(|d| (at as u64).checked_add_signed(d));
        let place = place.filter(|place| RingView::new(map, *place, slots).is_some());
        place.ok_or_else(|| format!("ring {i} of the port's netmap_if lies outside of the region"))
    };
    let tx = (0..shape.tx_rings as usize).map(|i| place(i, shape.tx_slots));
    let rx = (0..shape.rx_rings as usize).map(|i| place(first_rx + i, shape.rx_slots));
    Ok((
        nifp,
        [tx.collect::<Result<_, _>>()?, rx.collect::<Result<_, _>>()?],
    ))
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
