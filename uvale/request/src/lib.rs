//! `NIOCCTRL` requests between a program's memory and the daemon.
//!
//! A request is a header, a body whose size follows from its type, and a list of options. The
//! process that calls ioctl copies it in with the checks of netmap's nmreq_copyin, sends the copy
//! to the daemon, and copies out what came back as nmreq_copyout does. Which fields are written
//! when something fails, and with which errno, is part of the interface: programs depend on it.

#![forbid(unsafe_code)]

mod facts;
pub mod legacy;

pub use facts::{FileRange, Interface, Peer, has_prefix, interface_part};

use nm_abi::*;
use rustix::io::Errno;

/// The memory of the program that made a request.
pub trait UserMemory {
    /// Reads `to.len()` bytes at `addr`. False if any of them cannot be read.
    fn read(&self, addr: u64, to: &mut [u8]) -> bool;
    /// Writes `from` to `addr`. False if any of it cannot be written.
    fn write(&self, addr: u64, from: &[u8]) -> bool;
}

/// The memory of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnMemory;

impl UserMemory for OwnMemory {
    fn read(&self, addr: u64, to: &mut [u8]) -> bool {
        uvale_system::sys::read_bytes(addr, to)
    }
    fn write(&self, addr: u64, from: &[u8]) -> bool {
        uvale_system::sys::write_bytes(addr, from)
    }
}

/// A copy of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionCopy {
    /// where it lies in the program's memory
    pub addr: u64,
    /// its head, with the program's own `nro_next`
    pub header: nmreq_option,
    /// what follows the head
    pub body: Vec<u8>,
}

/// A copy of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// its header, with the program's own pointers
    pub header: nmreq_header,
    /// its body, as long as its type says
    pub body: Vec<u8>,
    /// its options in the order of the list
    pub options: Vec<OptionCopy>,
}

/// Bytes of the body of a request type; 0 for none and for types that do not exist.
pub fn body_size(reqtype: u16) -> usize {
    match reqtype {
        NETMAP_REQ_REGISTER => size_of::<nmreq_register>(),
        NETMAP_REQ_PORT_INFO_GET => size_of::<nmreq_port_info_get>(),
        NETMAP_REQ_VALE_ATTACH => size_of::<nmreq_vale_attach>(),
        NETMAP_REQ_VALE_DETACH => size_of::<nmreq_vale_detach>(),
        NETMAP_REQ_VALE_LIST => size_of::<nmreq_vale_list>(),
        NETMAP_REQ_PORT_HDR_SET | NETMAP_REQ_PORT_HDR_GET => size_of::<nmreq_port_hdr>(),
        NETMAP_REQ_VALE_NEWIF => size_of::<nmreq_vale_newif>(),
        NETMAP_REQ_VALE_POLLING_ENABLE | NETMAP_REQ_VALE_POLLING_DISABLE => {
            size_of::<nmreq_vale_polling>()
        }
        NETMAP_REQ_POOLS_INFO_GET => size_of::<nmreq_pools_info>(),
        NETMAP_REQ_SYNC_KLOOP_START => size_of::<nmreq_sync_kloop_start>(),
        _ => 0,
    }
}

/// Bytes of an option after its head.
fn option_body_size(header: &nmreq_option) -> u64 {
    let head = size_of::<nmreq_option>() as u64;
    let whole = match header.nro_reqtype {
        NETMAP_REQ_OPT_EXTMEM => size_of::<nmreq_opt_extmem>() as u64,
        NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS => header.nro_size.max(head),
        NETMAP_REQ_OPT_CSB => size_of::<nmreq_opt_csb>() as u64,
        NETMAP_REQ_OPT_SYNC_KLOOP_MODE => size_of::<nmreq_opt_sync_kloop_mode>() as u64,
        NETMAP_REQ_OPT_OFFSETS => size_of::<nmreq_opt_offsets>() as u64,
        _ => head,
    };
    whole - head
}

const MAX: u64 = NETMAP_REQ_MAXSIZE as u64;
const HEAD: u64 = size_of::<nmreq_option>() as u64;
/// A saved user pointer in netmap's buffer.
const POINTER: u64 = 8;
const OPTION_TABLE: u64 = NETMAP_REQ_OPT_MAX as u64 * POINTER;
/// netmap's buffer for a request; how full it is decides when a list of options is too long.
const BUFFER: u64 = (2 + NETMAP_REQ_OPT_MAX as u64) * POINTER + MAX + OPTION_TABLE;
/// More options than fit into [`BUFFER`].
const MAX_OPTIONS: usize = (BUFFER / (POINTER + HEAD)) as usize + 1;

/// A list of options being copied: how much of netmap's buffer is used.
struct Space {
    /// bytes used, saved pointers and all
    used: u64,
    /// bytes of the request alone
    request: u64,
}

impl Request {
    /// Copies the request at `header_addr` in. On an error, everything that netmap would have
    /// written back by then has been written back.
    pub fn copy_in(mem: &dyn UserMemory, header_addr: u64) -> Result<Self, Errno> {
        if header_addr == 0 {
            return Err(Errno::INVAL);
        }
        let mut header: nmreq_header = read(mem, header_addr)?;
        if !(NETMAP_MIN_API..=NETMAP_MAX_API).contains(&header.nr_version)
            || header.nr_reserved != 0
        {
            return Err(Errno::INVAL);
        }
        let size = body_size(header.nr_reqtype);
        if (size == 0) != (header.nr_body == 0) {
            // netmap leaves its own mark in the header here, and the caller finds it there.
            header.nr_reserved = 1;
            write(mem, header_addr, &header)?;
            return Err(Errno::INVAL);
        }
        let mut request = Self {
            header,
            body: vec![0; size],
            options: Vec::new(),
        };
        let copied = request.copy_in_rest(mem);
        if let Err(errno) = copied {
            return Err(request
                .copy_out(mem, header_addr, Err(errno))
                .err()
                .unwrap_or(errno));
        }
        // As in netmap, the name is NUL-terminated from here on.
        let last = request.header.nr_name.len() - 1;
        request.header.nr_name[last] = 0;
        Ok(request)
    }

    fn copy_in_rest(&mut self, mem: &dyn UserMemory) -> Result<(), Errno> {
        if !self.body.is_empty() && !mem.read(self.header.nr_body, &mut self.body) {
            return Err(Errno::FAULT);
        }
        let size = self.body.len() as u64;
        let mut space = Space {
            used: 2 * POINTER + size + OPTION_TABLE,
            request: size,
        };
        let mut next = self.header.nr_options;
        while next != 0 {
            next = self.copy_in_option(mem, next, &mut space)?;
        }
        // Until somebody serves it.
        for option in &mut self.options {
            option.header.nro_status = Errno::OPNOTSUPP.raw_os_error() as u32;
        }
        Ok(())
    }

    /// Copies one option in; returns where the next one is.
    fn copy_in_option(
        &mut self,
        mem: &dyn UserMemory,
        addr: u64,
        space: &mut Space,
    ) -> Result<u64, Errno> {
        if space.used + POINTER + HEAD > BUFFER {
            // Perhaps the list is a loop: no status is written back.
            self.options.clear();
            return Err(Errno::MSGSIZE);
        }
        let mut header: nmreq_option = read(mem, addr)?;
        header.nro_status = 0;
        space.used += POINTER + HEAD;
        space.request += HEAD;
        let kind = header.nro_reqtype;
        self.options.push(OptionCopy {
            addr,
            header,
            body: Vec::new(),
        });
        let this = self.options.len() - 1;
        if kind < 1 {
            self.reject_option(this);
            return Err(Errno::INVAL);
        }
        if kind >= NETMAP_REQ_OPT_MAX {
            return Ok(header.nro_next);
        }
        if let Some(twin) = self.options[..this]
            .iter()
            .position(|o| o.header.nro_reqtype == kind)
        {
            self.reject_option(twin);
            self.reject_option(this);
            return Err(Errno::INVAL);
        }
        let size = option_body_size(&header);
        let too_large = |n: u64, limit: u64| n.checked_add(size).is_none_or(|sum| sum > limit);
        if size > MAX
            || header.nro_size > MAX
            || too_large(space.request, MAX)
            || too_large(space.used, BUFFER)
        {
            return Err(Errno::MSGSIZE);
        }
        space.used += size;
        space.request += size;
        let mut body = vec![0; size as usize];
        let from = addr.checked_add(HEAD).ok_or(Errno::FAULT)?;
        if !body.is_empty() && !mem.read(from, &mut body) {
            return Err(Errno::FAULT);
        }
        self.options[this].body = body;
        Ok(header.nro_next)
    }

    fn reject_option(&mut self, i: usize) {
        self.options[i].header.nro_status = Errno::INVAL.raw_os_error() as u32;
    }

    /// Writes the request back to where it came from, after it was served with `result`: the
    /// header and the head of each option always, the body only on success, the body of an option
    /// only if both succeeded. Returns what the program gets.
    pub fn copy_out(
        &self,
        mem: &dyn UserMemory,
        header_addr: u64,
        result: Result<(), Errno>,
    ) -> Result<(), Errno> {
        let result = self.copy_out_rest(mem, result);
        let header = nmreq_header {
            nr_reserved: 0,
            ..self.header
        };
        write(mem, header_addr, &header)?;
        result
    }

    fn copy_out_rest(&self, mem: &dyn UserMemory, result: Result<(), Errno>) -> Result<(), Errno> {
        if result.is_ok() && !self.body.is_empty() && !mem.write(self.header.nr_body, &self.body) {
            return Err(Errno::FAULT);
        }
        for option in &self.options {
            write(mem, option.addr, &option.header)?;
            let whole = result.is_ok() && option.header.nro_status == 0 && !option.body.is_empty();
            if whole && !mem.write(option.addr.wrapping_add(HEAD), &option.body) {
                return Err(Errno::FAULT);
            }
        }
        result
    }

    /// The option of a type.
    pub fn option(&mut self, reqtype: u32) -> Option<&mut OptionCopy> {
        self.options
            .iter_mut()
            .find(|o| o.header.nro_reqtype == reqtype)
    }

    /// The request as bytes for the daemon: netmap's own structs, one after the other. A serde form of them would
    /// be as long, and what is received has to be checked against the types anyway.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.as_bytes().to_vec();
        out.extend_from_slice(&(self.body.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.body);
        for option in &self.options {
            out.extend_from_slice(&option.addr.to_le_bytes());
            out.extend_from_slice(option.header.as_bytes());
            out.extend_from_slice(&(option.body.len() as u16).to_le_bytes());
            out.extend_from_slice(&option.body);
        }
        out
    }

    /// Decodes [`Request::encode`]'s bytes. `None` unless they are well-formed and the sizes match
    /// the types.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = split_struct::<nmreq_header>(bytes)?;
        let (body, mut rest) = split_sized(rest)?;
        if body.len() != body_size(header.nr_reqtype) {
            return None;
        }
        let mut options = Vec::new();
        while !rest.is_empty() {
            let (addr, after) = rest.split_first_chunk::<8>()?;
            let (header, after) = split_struct::<nmreq_option>(after)?;
            let (body, after) = split_sized(after)?;
            let known = (1..NETMAP_REQ_OPT_MAX).contains(&header.nro_reqtype);
            let wanted = if known { option_body_size(&header) } else { 0 };
            if body.len() as u64 != wanted || wanted > MAX || options.len() >= MAX_OPTIONS {
                return None;
            }
            options.push(OptionCopy {
                addr: u64::from_le_bytes(*addr),
                header,
                body: body.to_vec(),
            });
            rest = after;
        }
        Some(Self {
            header,
            body: body.to_vec(),
            options,
        })
    }
}

fn read<T: AbiBytes>(mem: &dyn UserMemory, addr: u64) -> Result<T, Errno> {
    let mut value = T::zeroed();
    if mem.read(addr, value.as_bytes_mut()) {
        Ok(value)
    } else {
        Err(Errno::FAULT)
    }
}

fn write<T: AbiBytes>(mem: &dyn UserMemory, addr: u64, value: &T) -> Result<(), Errno> {
    if mem.write(addr, value.as_bytes()) {
        Ok(())
    } else {
        Err(Errno::FAULT)
    }
}

fn split_struct<T: AbiBytes>(bytes: &[u8]) -> Option<(T, &[u8])> {
    Some((T::from_bytes(bytes)?, bytes.get(size_of::<T>()..)?))
}

fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*len).into())
}

/// netmap's name of a request type, without its prefix.
pub fn type_name(reqtype: u16) -> &'static str {
    const NAMES: [&str; 16] = [
        "unknown request",
        "REGISTER",
        "PORT_INFO_GET",
        "VALE_ATTACH",
        "VALE_DETACH",
        "VALE_LIST",
        "PORT_HDR_SET",
        "PORT_HDR_GET",
        "VALE_NEWIF",
        "VALE_DELIF",
        "VALE_POLLING_ENABLE",
        "VALE_POLLING_DISABLE",
        "POOLS_INFO_GET",
        "SYNC_KLOOP_START",
        "SYNC_KLOOP_STOP",
        "CSB_ENABLE",
    ];
    NAMES.get(usize::from(reqtype)).unwrap_or(&NAMES[0])
}

/// The name in a header without its final NUL. A name that fills the field is cut.
pub fn name_of(header: &mut nmreq_header) -> Vec<u8> {
    let last = header.nr_name.len() - 1;
    header.nr_name[last] = 0;
    let len = header.nr_name.iter().position(|c| *c == 0).unwrap_or(last);
    header.nr_name[..len].to_vec()
}

/// Puts a name into a header, cut if it is too long; bytes after the NUL stay as they were.
pub fn set_name(header: &mut nmreq_header, name: &[u8]) {
    let len = name.len().min(header.nr_name.len() - 1);
    header.nr_name[..len].copy_from_slice(&name[..len]);
    header.nr_name[len] = 0;
}

#[cfg(test)]
mod tests;
