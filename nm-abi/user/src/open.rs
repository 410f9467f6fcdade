//! Opening a port.

use std::fs::File;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::Arc;

use nm_abi::name::{NameError, NmportName, PortOption, options::Enabled};
use nm_abi::{
    NETMAP_REQ_PORT_INFO_GET, NR_EXCLUSIVE, netmap_if, nmreq_header, nmreq_port_info_get,
    nmreq_register,
};

use crate::device;
use crate::error::Error;
use crate::memory::{Memory, Ring, ring_offsets};
use crate::port::{Port, Side};

/// How a port is to be opened. What is not said here is as the port's name says, or as netmap likes it.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Open {
    memory: u16,
    rings: u16,
    slots: u32,
    flags: u64,
}

impl Open {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// In the memory of that port, so that packets move between the two without being copied. Ports that have a memory
    /// already (interfaces, and pipes whose other end is open) keep it.
    pub fn memory_of(mut self, port: &Port) -> Self {
        self.memory = port.memory_id();
        self
    }

    /// Tx rings and rx rings, as many of each. Refused where a port has another number and cannot change it.
    pub fn rings(mut self, rings: u16) -> Self {
        self.rings = rings;
        self
    }

    /// Slots of each ring.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Nobody else may open the same rings.
    pub fn exclusive(mut self) -> Self {
        self.flags |= NR_EXCLUSIVE;
        self
    }

    /// Opens the port of that name. A switch, a pipe or a port of a switch that does not exist is made.
    ///
    /// # Errors
    /// [`Error::Name`] and [`Error::Option`] for a name that is none, [`Error::Device`] without netmap, else
    /// [`Error::Refused`] with netmap's errno; [`Error::Memory`] and [`Error::Layout`] are not to be expected.
    pub fn open(self, name: impl AsRef<str>) -> Result<Port, Error> {
        let text = name.as_ref();
        let bad_name = |why: NameError| Error::Name {
            name: text.to_owned(),
            why,
        };
        let parsed = NmportName::parse_with(text.as_bytes(), Enabled::default());
        let parsed = parsed.map_err(bad_name)?;
        let device = device::open().map_err(Error::Device)?;
        let body = self.request(text, &device, &parsed)?;
        register(text, device, &parsed, body, self)
    }

    /// The request of that name, with what is said here.
    fn request(
        self,
        text: &str,
        device: &File,
        name: &NmportName<'_>,
    ) -> Result<nmreq_register, Error> {
        let mut body = name.to_register();
        for option in name.options() {
            match option {
                PortOption::Conf(_) => {}
                PortOption::Share(other) => {
                    let header = nmreq_header {
                        nr_reqtype: NETMAP_REQ_PORT_INFO_GET,
                        nr_name: other,
                        ..name.to_header()
                    };
                    let mut info = nmreq_port_info_get::default();
                    device::control(device, &header, &mut info)
                        .map_err(|why| refused(text, why))?;
                    body.nr_mem_id = info.nr_mem_id;
                }
                other => {
                    return Err(Error::Option {
                        name: text.to_owned(),
                        option: other.to_string(),
                    });
                }
            }
        }
        body.nr_flags |= self.flags;
        if self.memory != 0 && body.nr_mem_id == 0 {
            body.nr_mem_id = self.memory;
        }
        if self.rings != 0 {
            (body.nr_tx_rings, body.nr_rx_rings) = (self.rings, self.rings);
        }
        if self.slots != 0 {
            (body.nr_tx_slots, body.nr_rx_slots) = (self.slots, self.slots);
        }
        Ok(body)
    }
}

impl Port {
    /// Opens the port of that name, with nothing special: see [`Open::open`].
    ///
    /// # Errors
    /// Those of [`Open::open`].
    pub fn open(name: impl AsRef<str>) -> Result<Self, Error> {
        Open::new().open(name)
    }
}

fn refused(name: &str, why: std::io::Error) -> Error {
    Error::Refused {
        name: name.to_owned(),
        why,
    }
}

/// REGISTER, once more with the port's own memory if it cannot have the one that was wished for.
fn register(
    text: &str,
    device: File,
    name: &NmportName<'_>,
    wanted: nmreq_register,
    open: Open,
) -> Result<Port, Error> {
    let header = name.to_header();
    let mut body = wanted;
    let mut answer = device::control(&device, &header, &mut body);
    let is_wish = open.memory != 0 && wanted.nr_mem_id == open.memory;
    if is_wish && matches!(&answer, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
        body = nmreq_register {
            nr_mem_id: 0,
            ..wanted
        };
        answer = device::control(&device, &header, &mut body);
    }
    answer.map_err(|why| refused(text, why))?;
    build(text, device, &body)
}

/// Maps the memory and finds the rings.
fn build(text: &str, device: File, answer: &nmreq_register) -> Result<Port, Error> {
    let name = || text.to_owned();
    let len = usize::try_from(answer.nr_memsize).unwrap_or(usize::MAX);
    let memory = Memory::map(device.as_fd(), len, answer.nr_mem_id)
        .map_err(|why| Error::Memory { name: name(), why })?;
    let memory = Arc::new(memory);
    let layout = |what| Error::Layout { name: name(), what };
    let sides = usize::try_from(answer.nr_offset)
        .ok()
        .and_then(|ofs| find(&memory, ofs));
    let [tx, rx] =
        sides.ok_or_else(|| layout("a ring lies outside of it, or this process has it already"))?;
    if tx.is_empty() && rx.is_empty() {
        return Err(layout("there is no ring in it"));
    }
    Ok(Port::new(name(), device, memory, tx, rx))
}

/// The rings of the `netmap_if` at `ofs`: tx and rx, those of the host behind the others.
fn find(memory: &Arc<Memory>, ofs: usize) -> Option<[Side; 2]> {
    let count = |field| Some(memory.count(ofs.checked_add(field)?)? as usize);
    let counts = [
        [
            count(offset_of!(netmap_if, ni_tx_rings))?,
            count(offset_of!(netmap_if, ni_host_tx_rings))?,
        ],
        [
            count(offset_of!(netmap_if, ni_rx_rings))?,
            count(offset_of!(netmap_if, ni_host_rx_rings))?,
        ],
    ];
    let side = |first: usize, [own, host]: [usize; 2]| {
        let offsets = ring_offsets(memory, ofs, first, own.checked_add(host)?)?;
        let rings = offsets.into_iter().flatten();
        rings
            .map(|ofs| Ring::new(memory, ofs))
            .collect::<Option<_>>()
    };
    let rx_from = counts[0][0].checked_add(counts[0][1])?;
    Some([side(0, counts[0])?, side(rx_from, counts[1])?])
}
