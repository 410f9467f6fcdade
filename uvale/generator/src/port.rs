//! Opening a port: one descriptor for all rings, or one for each thread's ring.

use std::sync::Arc;

use nm_abi::name::options::PortOption;
use nm_abi::name::{NmportName, field_name};
use nm_abi::{
    NETMAP_REQ_PORT_HDR_GET, NETMAP_REQ_PORT_HDR_SET, NETMAP_REQ_PORT_INFO_GET, NR_ACCEPT_VNET_HDR,
    NR_NO_TX_POLL, NR_REG_ALL_NIC, NR_REG_NIC_SW, NR_REG_ONE_NIC, NR_REG_ONE_SW, NR_REG_SW,
    nmreq_header, nmreq_port_hdr, nmreq_port_info_get, nmreq_register,
};

use super::config::Config;
use super::endpoint::Endpoint;
use super::memory::Region;
use super::sys::Descriptor;
use uvale_tools::output;

/// Opens the port and returns an endpoint for each thread.
pub fn open(config: &Config) -> Result<Vec<Endpoint<Descriptor>>, String> {
    let mut request = request(config)?;
    let wanted = request.register.nr_mode;
    let threads = u32::from(config.threads);
    if threads > 1 {
        request.register.nr_ringid = 0;
        request.register.nr_mode = match wanted {
            NR_REG_ALL_NIC | NR_REG_NIC_SW => NR_REG_ONE_NIC,
            NR_REG_SW => NR_REG_ONE_SW,
            _ => {
                return Err(format!(
                    "{}: the name picks one ring, so one thread is enough; drop -p",
                    config.port
                ));
            }
        };
    }
    let first = bind(config, &request, None)?;
    let (nic, host) = ring_counts(config, &first.granted);
    let available = match wanted {
        NR_REG_SW => host,
        NR_REG_NIC_SW => nic + host,
        _ => nic,
    };
    if threads > 1 && threads > available {
        return Err(format!(
            "-p {threads}: {} has {available} rings for threads",
            config.port
        ));
    }
    let region = Arc::clone(&first.region);
    let mem_id = first.granted.nr_mem_id;
    let mut endpoints = vec![endpoint(config, first)?];
    for index in 1..threads {
        let mut next = request;
        // NIC rings first, then host rings
        let (mode, ring) = if next.register.nr_mode == NR_REG_ONE_NIC && index >= nic {
            (NR_REG_ONE_SW, index - nic)
        } else {
            (next.register.nr_mode, index)
        };
        next.register.nr_mode = mode;
        next.register.nr_ringid = ring as u16;
        let bound = bind(config, &next, Some((mem_id, &region)))?;
        endpoints.push(endpoint(config, bound)?);
    }
    Ok(endpoints)
}

/// NIC and host rings of the direction that the function uses.
fn ring_counts(config: &Config, granted: &nmreq_register) -> (u32, u32) {
    let (tx, rx) = (
        (granted.nr_tx_rings, granted.nr_host_tx_rings),
        (granted.nr_rx_rings, granted.nr_host_rx_rings),
    );
    let (nic, host) = match () {
        () if config.function.is_sender() => tx,
        () if config.function.is_receiver() => rx,
        () => (tx.0.min(rx.0), tx.1.min(rx.1)),
    };
    (u32::from(nic), u32::from(host))
}

/// A register request.
#[derive(Clone, Copy)]
struct Request {
    header: nmreq_header,
    register: nmreq_register,
}

/// The request that the port name and the options ask for.
fn request(config: &Config) -> Result<Request, String> {
    let name =
        NmportName::parse(&config.port).map_err(|why| format!("-i {}: {why}", config.port))?;
    let (header, mut register) = (name.to_header(), name.to_register());
    register.nr_flags |= NR_ACCEPT_VNET_HDR;
    if config.function.is_receiver() {
        register.nr_flags |= NR_NO_TX_POLL;
    }
    if let Some([tx_slots, rx_slots, tx_rings, rx_rings]) = config.sizes {
        (register.nr_tx_slots, register.nr_rx_slots) = (tx_slots, rx_slots);
        (register.nr_tx_rings, register.nr_rx_rings) = (tx_rings as u16, rx_rings as u16);
    }
    for option in name.options() {
        match option {
            PortOption::Conf(_) => {}
            PortOption::Share(other) => {
                let id = memory_of(header, other)?;
                if register.nr_mem_id != 0 && register.nr_mem_id != id {
                    return Err(format!(
                        "-i {}: memory id {} contradicts share=, which is {id}",
                        config.port, register.nr_mem_id
                    ));
                }
                register.nr_mem_id = id;
            }
            other => {
                return Err(format!(
                    "-i {}: the option '{other}' is not supported by this program",
                    config.port
                ));
            }
        }
    }
    Ok(Request { header, register })
}

/// Memory id of another port.
fn memory_of(header: nmreq_header, name: [u8; nm_abi::NETMAP_REQ_IFNAMSIZ]) -> Result<u16, String> {
    let mut header = nmreq_header {
        nr_reqtype: NETMAP_REQ_PORT_INFO_GET,
        nr_name: name,
        ..header
    };
    let mut info = nmreq_port_info_get::default();
    let asked = open_device()?.request(&mut header, &mut info);
    asked.map_err(|error| {
        format!(
            "share={}: {}",
            String::from_utf8_lossy(field_name(&name)),
            output::plain(&error)
        )
    })?;
    Ok(info.nr_mem_id)
}

fn open_device() -> Result<Descriptor, String> {
    Descriptor::open().map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; load the netmap module, or start this program with `uvale run --`"
        } else {
            ""
        };
        let why = output::plain(&error);
        format!("{}: {why}{hint}", nm_abi::NETMAP_DEVICE_NAME)
    })
}

/// A descriptor bound to a port, with its memory.
struct Bound {
    device: Descriptor,
    granted: nmreq_register,
    region: Arc<Region>,
    header: usize,
}

/// Binds a new descriptor; the region of `known` is used again if it is the same memory.
fn bind(
    config: &Config,
    request: &Request,
    known: Option<(u16, &Arc<Region>)>,
) -> Result<Bound, String> {
    let device = open_device()?;
    let Request {
        mut header,
        mut register,
    } = *request;
    device
        .request(&mut header, &mut register)
        .map_err(|error| format!("{}: {}", config.port, output::plain(&error)))?;
    let region = match known {
        Some((id, region)) if id == register.nr_mem_id => Arc::clone(region),
        _ => {
            let len = usize::try_from(register.nr_memsize)
                .map_err(|_| "the region is too large to map")?;
            device.map(len).map_err(|error| {
                format!(
                    "{}: mapping {len} bytes: {}",
                    config.port,
                    output::plain(&error)
                )
            })?
        }
    };
    let header = vnet_header(config, &device, request.header)?;
    Ok(Bound {
        device,
        granted: register,
        region,
        header,
    })
}

/// Sets the length of the virtio-net header that -H asks for, or learns which one the port has.
fn vnet_header(
    config: &Config,
    device: &Descriptor,
    header: nmreq_header,
) -> Result<usize, String> {
    let mut body = nmreq_port_hdr::default();
    if let Some(length @ 1..) = config.header {
        body.nr_hdr_len = length;
        let mut header = nmreq_header {
            nr_reqtype: NETMAP_REQ_PORT_HDR_SET,
            ..header
        };
        device
            .request(&mut header, &mut body)
            .map_err(|error| format!("-H {length}: {}", output::plain(&error)))?;
        return Ok(length as usize);
    }
    let mut header = nmreq_header {
        nr_reqtype: NETMAP_REQ_PORT_HDR_GET,
        ..header
    };
    // ports that know no such header answer with an error
    match device.request(&mut header, &mut body) {
        Ok(()) if body.nr_hdr_len <= 64 => Ok(body.nr_hdr_len as usize),
        Ok(()) => Err(format!(
            "the port wants a header of {} bytes",
            body.nr_hdr_len
        )),
        Err(_) => Ok(0),
    }
}

fn endpoint(config: &Config, bound: Bound) -> Result<Endpoint<Descriptor>, String> {
    let rings = bound
        .region
        .rings(bound.granted.nr_offset)
        .map_err(|why| format!("{}: {why}", config.port))?;
    if config.verbose > 0 {
        let granted = &bound.granted;
        output::line(format_args!(
            "{}: memory {} of {} bytes; {} tx and {} rx rings of ours, {} and {} slots, buffers of {} bytes",
            config.port,
            granted.nr_mem_id,
            granted.nr_memsize,
            rings.tx.len(),
            rings.rx.len(),
            granted.nr_tx_slots,
            granted.nr_rx_slots,
            rings
                .tx
                .iter()
                .chain(&rings.rx)
                .map(|ring| ring.buf_size())
                .next()
                .unwrap_or(0),
        ));
    }
    Ok(Endpoint {
        device: bound.device,
        tx: rings.tx,
        rx: rings.rx,
        header: bound.header,
    })
}
