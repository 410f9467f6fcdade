//! The interface of netmap before `NIOCCTRL`: `struct nmreq` with `NIOCREGIF` and `NIOCGINFO`.
//!
//! A legacy request becomes a [`Request`] at the edge, is served like any other, and its answer
//! is put back into the `nmreq`. What differs from `NIOCCTRL`:
//!
//! - any version from 14 on is accepted;
//! - pipes may be named by register mode and ring number instead of by name;
//! - the `nmreq` is written back whatever happens, with its name cut to 15 characters, and with
//!   results only on success.
//!
//! [`ioctl()`] does all of it for a program's pointer.

use nm_abi::*;
use rustix::io::Errno;

use crate::{Request, UserMemory, body_size, set_name};

/// What serves a converted request and fills in the answer.
pub type Serve<'a> = &'a mut dyn FnMut(&mut Request) -> Result<(), Errno>;

/// `NIOCREGIF`, `NIOCGINFO` or `NIOCCONFIG` with the program's pointer `addr`, from copying in to
/// copying out. Other commands: `EOPNOTSUPP`, as from kernel netmap for SIOCGIFFLAGS and the
/// like.
pub fn ioctl(command: u32, mem: &dyn UserMemory, addr: u64, serve: Serve<'_>) -> Result<(), Errno> {
    match command {
        NIOCREGIF | NIOCGINFO => {
            let mut nmr: nmreq = copy_in(mem, addr)?;
            let result = serve_one(command, &mut nmr, serve);
            if !mem.write(addr, nmr.as_bytes()) {
                return Err(Errno::FAULT);
            }
            result
        }
        NIOCCONFIG => {
            // Only for switches of other kernel modules.
            let request: nm_ifreq = copy_in(mem, addr)?;
            if !mem.write(addr, request.as_bytes()) {
                return Err(Errno::FAULT);
            }
            Err(Errno::INVAL)
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

fn copy_in<T: AbiBytes>(mem: &dyn UserMemory, addr: u64) -> Result<T, Errno> {
    if addr == 0 {
        return Err(Errno::INVAL);
    }
    let mut value = T::zeroed();
    if mem.read(addr, value.as_bytes_mut()) {
        Ok(value)
    } else {
        Err(Errno::FAULT)
    }
}

fn serve_one(command: u32, nmr: &mut nmreq, serve: Serve<'_>) -> Result<(), Errno> {
    let mut request = to_request(command, nmr)?;
    serve(&mut request)?;
    from_request(&request, nmr);
    Ok(())
}

/// The request that `nmr` stands for under `command` (`NIOCREGIF` or `NIOCGINFO`). The name in
/// `nmr` gets its final NUL.
pub fn to_request(command: u32, nmr: &mut nmreq) -> Result<Request, Errno> {
    if nmr.nr_version < u32::from(NETMAP_MIN_API) {
        return Err(Errno::INVAL);
    }
    let last = nmr.nr_name.len() - 1;
    nmr.nr_name[last] = 0;
    let name = nmr.nr_name.split(|c| *c == 0).next().unwrap_or_default();
    let mut header = nmreq_header {
        nr_version: NETMAP_API,
        ..nmreq_header::default()
    };
    set_name(&mut header, name);
    let mut request = Request {
        header,
        body: Vec::new(),
        options: Vec::new(),
    };
    match command {
        NIOCREGIF => regif(nmr, &mut request)?,
        NIOCGINFO => ginfo(nmr, &mut request),
        _ => return Err(Errno::OPNOTSUPP),
    }
    Ok(request)
}

fn fill<B: AbiBytes>(request: &mut Request, reqtype: u16, body: &B) {
    request.header.nr_reqtype = reqtype;
    request.body = body.as_bytes().to_vec();
}

fn regif(nmr: &nmreq, request: &mut Request) -> Result<(), Errno> {
    match nmr.nr_cmd {
        0 => {
            let reg = register_body(nmr, request)?;
            fill(request, NETMAP_REQ_REGISTER, &reg);
        }
        NETMAP_BDG_ATTACH => {
            let mut reg = register_body(nmr, request)?;
            let host = nmr.nr_arg1 & NETMAP_BDG_HOST != 0;
            reg.nr_mode = if host { NR_REG_NIC_SW } else { NR_REG_ALL_NIC };
            let body = nmreq_vale_attach {
                reg,
                ..nmreq_vale_attach::default()
            };
            fill(request, NETMAP_REQ_VALE_ATTACH, &body);
        }
        NETMAP_BDG_DETACH => fill(
            request,
            NETMAP_REQ_VALE_DETACH,
            &nmreq_vale_detach::default(),
        ),
        NETMAP_BDG_VNET_HDR | NETMAP_VNET_HDR_GET => {
            let set = nmr.nr_cmd == NETMAP_BDG_VNET_HDR;
            let reqtype = if set {
                NETMAP_REQ_PORT_HDR_SET
            } else {
                NETMAP_REQ_PORT_HDR_GET
            };
            fill(
                request,
                reqtype,
                &nmreq_port_hdr {
                    nr_hdr_len: nmr.nr_arg1.into(),
                    pad1: 0,
                },
            );
        }
        NETMAP_BDG_NEWIF => {
            let body = nmreq_vale_newif {
                nr_tx_slots: nmr.nr_tx_slots,
                nr_rx_slots: nmr.nr_rx_slots,
                nr_tx_rings: nmr.nr_tx_rings,
                nr_rx_rings: nmr.nr_rx_rings,
                nr_mem_id: nmr.nr_arg2,
                pad1: 0,
            };
            fill(request, NETMAP_REQ_VALE_NEWIF, &body);
        }
        NETMAP_BDG_DELIF => request.header.nr_reqtype = NETMAP_REQ_VALE_DELIF,
        NETMAP_BDG_POLLING_ON | NETMAP_BDG_POLLING_OFF => {
            let on = nmr.nr_cmd == NETMAP_BDG_POLLING_ON;
            let reqtype = if on {
                NETMAP_REQ_VALE_POLLING_ENABLE
            } else {
                NETMAP_REQ_VALE_POLLING_DISABLE
            };
            fill(request, reqtype, &polling_body(nmr));
        }
        // Passthrough of an older kind: netmap reports the missing request as a lack of memory.
        NETMAP_PT_HOST_CREATE | NETMAP_PT_HOST_DELETE => return Err(Errno::NOMEM),
        // A request of no type, which is refused like any other that does not exist.
        _ => {}
    }
    Ok(())
}

/// REGISTER's body; completes the name in `request` if the mode is that of a pipe.
fn register_body(nmr: &nmreq, request: &mut Request) -> Result<nmreq_register, Errno> {
    let mut reg = nmreq_register {
        nr_offset: nmr.nr_offset.into(),
        nr_memsize: nmr.nr_memsize.into(),
        nr_tx_slots: nmr.nr_tx_slots,
        nr_rx_slots: nmr.nr_rx_slots,
        nr_tx_rings: nmr.nr_tx_rings,
        nr_rx_rings: nmr.nr_rx_rings,
        nr_mem_id: nmr.nr_arg2,
        nr_ringid: nmr.nr_ringid & NETMAP_RING_MASK,
        nr_mode: mode(nmr),
        nr_extra_bufs: nmr.nr_arg3,
        nr_flags: u64::from(nmr.nr_flags & !NR_REG_MASK),
        ..nmreq_register::default()
    };
    let brace = match reg.nr_mode {
        NR_REG_PIPE_MASTER => Some('{'),
        NR_REG_PIPE_SLAVE => Some('}'),
        _ => None,
    };
    if let Some(brace) = brace {
        append_to_name(request, &format!("{brace}{}", reg.nr_ringid))?;
        reg.nr_mode = NR_REG_ALL_NIC;
        reg.nr_ringid = 0;
    }
    for (bit, flag) in [
        (NETMAP_NO_TX_POLL, NR_NO_TX_POLL),
        (NETMAP_DO_RX_POLL, NR_DO_RX_POLL),
    ] {
        if nmr.nr_ringid & bit != 0 {
            reg.nr_flags |= flag;
        }
    }
    Ok(reg)
}

/// The register mode: as `nr_flags` says, or, when it says nothing, as the ring bits do.
fn mode(nmr: &nmreq) -> u32 {
    match nmr.nr_flags & NR_REG_MASK {
        NR_REG_DEFAULT if nmr.nr_ringid & NETMAP_SW_RING != 0 => NR_REG_SW,
        NR_REG_DEFAULT if nmr.nr_ringid & NETMAP_HW_RING != 0 => NR_REG_ONE_NIC,
        NR_REG_DEFAULT => NR_REG_ALL_NIC,
        mode => mode,
    }
}

fn append_to_name(request: &mut Request, suffix: &str) -> Result<(), Errno> {
    let mut name = crate::name_of(&mut request.header);
    name.extend_from_slice(suffix.as_bytes());
    if name.len() >= request.header.nr_name.len() {
        return Err(Errno::NOMEM);
    }
    set_name(&mut request.header, &name);
    Ok(())
}

fn polling_body(nmr: &nmreq) -> nmreq_vale_polling {
    nmreq_vale_polling {
        nr_mode: match nmr.nr_flags & NR_REG_MASK {
            NR_REG_ONE_NIC => NETMAP_POLLING_MODE_MULTI_CPU,
            NR_REG_ALL_NIC => NETMAP_POLLING_MODE_SINGLE_CPU,
            _ => 0,
        },
        nr_first_cpu_id: (nmr.nr_ringid & NETMAP_RING_MASK).into(),
        nr_num_polling_cpus: nmr.nr_arg1.into(),
        pad1: 0,
    }
}

fn ginfo(nmr: &nmreq, request: &mut Request) {
    if nmr.nr_cmd == NETMAP_BDG_LIST {
        let body = nmreq_vale_list {
            nr_bridge_idx: nmr.nr_arg1,
            pad1: 0,
            nr_port_idx: nmr.nr_arg2.into(),
        };
        fill(request, NETMAP_REQ_VALE_LIST, &body);
        return;
    }
    let body = nmreq_port_info_get {
        nr_memsize: nmr.nr_memsize.into(),
        nr_tx_slots: nmr.nr_tx_slots,
        nr_rx_slots: nmr.nr_rx_slots,
        nr_tx_rings: nmr.nr_tx_rings,
        nr_rx_rings: nmr.nr_rx_rings,
        nr_mem_id: nmr.nr_arg2,
        ..nmreq_port_info_get::default()
    };
    fill(request, NETMAP_REQ_PORT_INFO_GET, &body);
}

/// Puts the answer to a request that succeeded into `nmr`. Numbers that do not fit are cut, as
/// netmap cuts them.
pub fn from_request(request: &Request, nmr: &mut nmreq) {
    debug_assert_eq!(request.body.len(), body_size(request.header.nr_reqtype));
    let body = request.body.as_slice();
    match request.header.nr_reqtype {
        NETMAP_REQ_REGISTER => {
            if let Some(reg) = nmreq_register::from_bytes(body) {
                show_register(&reg, nmr);
            }
        }
        NETMAP_REQ_VALE_ATTACH => {
            if let Some(attach) = nmreq_vale_attach::from_bytes(body) {
                show_register(&attach.reg, nmr);
            }
        }
        NETMAP_REQ_PORT_INFO_GET => {
            if let Some(info) = nmreq_port_info_get::from_bytes(body) {
                nmr.nr_memsize = info.nr_memsize as u32;
                nmr.nr_tx_slots = info.nr_tx_slots;
                nmr.nr_rx_slots = info.nr_rx_slots;
                nmr.nr_tx_rings = info.nr_tx_rings;
                nmr.nr_rx_rings = info.nr_rx_rings;
                nmr.nr_arg2 = info.nr_mem_id;
            }
        }
        NETMAP_REQ_VALE_LIST => {
            if let Some(list) = nmreq_vale_list::from_bytes(body) {
                show_name(&request.header, nmr);
                nmr.nr_arg1 = list.nr_bridge_idx;
                nmr.nr_arg2 = list.nr_port_idx as u16;
            }
        }
        NETMAP_REQ_PORT_HDR_SET | NETMAP_REQ_PORT_HDR_GET => {
            if let Some(hdr) = nmreq_port_hdr::from_bytes(body) {
                nmr.nr_arg1 = hdr.nr_hdr_len as u16;
            }
        }
        NETMAP_REQ_VALE_NEWIF => {
            if let Some(newif) = nmreq_vale_newif::from_bytes(body) {
                nmr.nr_tx_slots = newif.nr_tx_slots;
                nmr.nr_rx_slots = newif.nr_rx_slots;
                nmr.nr_tx_rings = newif.nr_tx_rings;
                nmr.nr_rx_rings = newif.nr_rx_rings;
                nmr.nr_arg2 = newif.nr_mem_id;
            }
        }
        _ => {}
    }
}

fn show_register(reg: &nmreq_register, nmr: &mut nmreq) {
    nmr.nr_offset = reg.nr_offset as u32;
    nmr.nr_memsize = reg.nr_memsize as u32;
    nmr.nr_tx_slots = reg.nr_tx_slots;
    nmr.nr_rx_slots = reg.nr_rx_slots;
    nmr.nr_tx_rings = reg.nr_tx_rings;
    nmr.nr_rx_rings = reg.nr_rx_rings;
    nmr.nr_arg2 = reg.nr_mem_id;
    nmr.nr_arg3 = reg.nr_extra_bufs;
}

fn show_name(header: &nmreq_header, nmr: &mut nmreq) {
    let len = header
        .nr_name
        .iter()
        .position(|c| *c == 0)
        .unwrap_or(header.nr_name.len());
    let len = len.min(nmr.nr_name.len() - 1);
    nmr.nr_name[..len].copy_from_slice(&header.nr_name[..len]);
    nmr.nr_name[len] = 0;
}

#[cfg(test)]
mod tests;
