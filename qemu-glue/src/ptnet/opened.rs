//! The port of a guest, and what of it is shown to the guest.

use std::sync::{Arc, Weak};

use nm_abi::virt::PTNETMAP_F_VNET_HDR;
use nm_abi::*;
use rustix::fd::OwnedFd;
use uvale_port::{Port, RX, TX};
use uvale_tools::mac::Mac;

use super::network_device::SetHeader;
use super::private_memory::{GLOBAL, PrivateMemory};
use super::registers::{Facts, MOST_RINGS};
use super::{Args, MOST_PAIRS, neighbors};

/// An open port that may be shown to a guest.
pub struct Opened {
    /// all its rings
    pub port: Arc<Port>,
    /// the descriptors of the loops
    pub ports: Vec<Arc<Port>>,
    /// for the network device
    pub facts: Facts,
    /// for the memory device
    pub pools: nmreq_pools_info,
    /// the region's file
    pub memfd: OwnedFd,
}

impl Opened {
    /// Opens the port of `args`, and looks whether it may be shown.
    pub fn open(args: &Args) -> Result<Self, String> {
        let name = &args.port.port;
        let memory = PrivateMemory::for_port(&args.port)?;
        let port = args.port.open(&|register| {
            if let Some(memory) = &memory {
                register.nr_mem_id = memory.id();
            }
            if let Some(queues) = args.queues {
                (register.nr_tx_rings, register.nr_rx_rings) = (queues, queues);
            }
            if let Some(slots) = args.slots {
                (register.nr_tx_slots, register.nr_rx_slots) = (slots, slots);
            }
        })?;
        if let Some(memory) = memory {
            memory.release();
        }
        let registered = *port.registered();
        let binding = port.attachment().binding();
        check(args, registered, [TX, RX].map(|dir| binding.rings(dir)))?;
        neighbors::check(&port, name)?;
        let pools = pools(&port).map_err(|why| format!("{name}: {why}"))?;
        let memfd = file(&port).map_err(|why| format!("{name}: {why}"))?;
        let too_far = || format!("{name}: its netmap_if lies beyond 4 GiB of its memory");
        let slots = |dir| {
            let kring = port.kring(dir, 0);
            kring.map_or(0, |k| {
                k.num_slots.load(std::sync::atomic::Ordering::Relaxed)
            })
        };
        let facts = Facts {
            features: if has_header(&port) {
                PTNETMAP_F_VNET_HDR
            } else {
                0
            },
            mac: args.mac.unwrap_or_else(|| made_of(name, &host())).0,
            nifp_ofs: u32::try_from(registered.nr_offset).map_err(|_| too_far())?,
            tx_rings: binding.rings(TX).len() as u32,
            rx_rings: binding.rings(RX).len() as u32,
            tx_slots: slots(TX),
            rx_slots: slots(RX),
            mem_id: pools.nr_mem_id,
        };
        let port = Arc::new(port);
        let ports = match args.thread_per_queue {
            false => vec![port.clone()],
            true => one_by_one(args, facts.tx_rings.max(facts.rx_rings))?,
        };
        Ok(Self {
            port,
            ports,
            facts,
            pools,
            memfd,
        })
    }
}

/// May a port that REGISTER has answered for so, with these `rings` (tx, rx), be shown to a guest?
fn check(
    args: &Args,
    registered: nmreq_register,
    rings: [std::ops::Range<u32>; 2],
) -> Result<(), String> {
    let name = &args.port.port;
    if registered.nr_mem_id == GLOBAL {
        // Somebody was quicker.
        return Err(format!(
            "another program has just opened {name} in memory {GLOBAL}, which NICs share: start this command again"
        ));
    }
    let all = [registered.nr_tx_rings, registered.nr_rx_rings].map(|n| 0..u32::from(n));
    if rings != all {
        return Err(format!(
            "{name}: a guest gets all rings of a port but those of the host: leave out what follows the port's name"
        ));
    }
    let count: usize = rings.iter().map(ExactSizeIterator::len).sum();
    if count > MOST_RINGS {
        return Err(format!(
            "{name} has {count} rings, but the device has registers for {MOST_RINGS} only: use --queues \
             {MOST_PAIRS} or less"
        ));
    }
    let wanted = args.queues.unwrap_or(1);
    if [registered.nr_tx_rings, registered.nr_rx_rings]
        .iter()
        .any(|n| *n < wanted)
    {
        return Err(format!(
            "{name} has only {} tx rings and {} rx rings: leave out --queues {wanted}",
            registered.nr_tx_rings, registered.nr_rx_rings
        ));
    }
    let wanted = args.slots.unwrap_or(0);
    let slots = registered.nr_tx_slots.min(registered.nr_rx_slots);
    if slots < wanted {
        return Err(format!(
            "{name} has rings of only {slots} slots: leave out --slots {wanted}"
        ));
    }
    Ok(())
}

/// A descriptor for each pair of rings.
fn one_by_one(args: &Args, pairs: u32) -> Result<Vec<Arc<Port>>, String> {
    let open = |ring: u32| {
        let port = args.port.open(&|register| {
            register.nr_mode = NR_REG_ONE_NIC;
            register.nr_ringid = ring as u16;
        });
        port.map(Arc::new)
    };
    (0..pairs).map(open).collect()
}

fn pools(port: &Port) -> Result<nmreq_pools_info, String> {
    let body = nmreq_pools_info::zeroed().as_bytes().to_vec();
    let answer = port.request(NETMAP_REQ_POOLS_INFO_GET, port.name(), body);
    let answer = answer.map_err(|refusal| refusal.why)?;
    nmreq_pools_info::from_bytes(&answer).ok_or_else(|| "the daemon describes no memory".into())
}

/// The file of its memory, for a guest to map.
fn file(port: &Port) -> Result<OwnedFd, String> {
    let (memfd, _) = port.region_memfd().map_err(|refusal| refusal.why)?;
    let [file] = memfd.parts() else {
        return Err(
            "its memory is split into several files because of the limit on file sizes, or for huge pages of hugetlb, \
             but a guest can map only one: start the daemon with ulimit -f unlimited, and with other pages"
                .into(),
        );
    };
    let file = rustix::io::fcntl_dupfd_cloexec(file, 0);
    file.map_err(|e| format!("no descriptor is free for its memory: {e}"))
}

/// Can packets of this port have virtio-net headers? Those of switches, which convert them.
fn has_header(port: &Port) -> bool {
    port.name().starts_with(NM_BDG_NAME)
}

/// Sets the header length of a port as long as that is there.
pub fn header_setter(port: &Arc<Port>) -> SetHeader {
    let port: Weak<Port> = Arc::downgrade(port);
    Box::new(move |len| {
        let Some(port) = port.upgrade() else { return 0 };
        let mut body = nmreq_port_hdr {
            nr_hdr_len: len,
            pad1: 0,
        };
        let set = port.request(
            NETMAP_REQ_PORT_HDR_SET,
            port.name(),
            body.as_bytes().to_vec(),
        );
        if set.is_ok() {
            return len;
        }
        body.nr_hdr_len = 0;
        let got = port.request(
            NETMAP_REQ_PORT_HDR_GET,
            port.name(),
            body.as_bytes().to_vec(),
        );
        got.ok()
            .and_then(|body| nmreq_port_hdr::from_bytes(&body))
            .map_or(0, |body| body.nr_hdr_len)
    })
}

/// What the host is called; without /proc it has no name.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// A locally administered address that a port always has.
fn made_of(port: &str, host: &str) -> Mac {
    let name = port.bytes().chain([0]).chain(host.bytes());
    let [a, b, c, d, e, ..] = crate::address::made_of(name);
    Mac([2, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_s_own() {
        let mac = made_of("vale0:vm1", "host");
        assert_eq!(mac, made_of("vale0:vm1", "host"));
        assert_ne!(mac, made_of("vale0:vm2", "host"));
        assert_ne!(mac, made_of("vale0:vm1", "other"));
        assert_eq!(mac.0[0], 2);
    }
}
