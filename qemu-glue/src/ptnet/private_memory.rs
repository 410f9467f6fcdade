//! A memory for the guest alone, where its port would be in the one that NICs share.
//!
//! netmap's REGISTER may name a memory by its number, and a NIC port that nobody has open takes it. One comes into
//! being with a pipe, sized for the pipe's rings; it stays while somebody uses it.

use nm_abi::{NR_EXCLUSIVE, nmreq_port_info_get};
use rustix::io::Errno;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_port::{Info, Port};
use uvale_system::refusal::Refusal;
use uvale_system::sys::random;

use crate::guest_port::PortArgs;

/// The memory that NICs, and whoever asks for it by its number, have in common.
pub const GLOBAL: u16 = 1;
/// Names that are tried.
const TRIES: u32 = 8;

/// Holds a memory until a port is in it.
pub struct PrivateMemory(Port);

impl PrivateMemory {
    /// For the port of `args`; none if that has one that a guest may be shown. Nothing is opened of a port that has to
    /// be refused.
    pub fn for_port(args: &PortArgs) -> Result<Option<Self>, String> {
        let info = args.info()?;
        if info.port.nr_mem_id != GLOBAL {
            return Ok(None);
        }
        if info.interface.is_none() || args.port.contains('@') {
            return Err(is_shared(&args.port));
        }
        if let Some(port) = in_use(&info)? {
            return Err(is_in_use(&args.port, &port));
        }
        Self::sized_for(args, &info.port).map(Some)
    }

    fn sized_for(args: &PortArgs, nic: &nmreq_port_info_get) -> Result<Self, String> {
        let open = |name: &str| {
            args.open_other(name, &|register| {
                register.nr_flags |= NR_EXCLUSIVE;
                (register.nr_tx_rings, register.nr_rx_rings) = (nic.nr_tx_rings, nic.nr_rx_rings);
                (register.nr_tx_slots, register.nr_rx_slots) = (nic.nr_tx_slots, nic.nr_rx_slots);
            })
        };
        open_unused(open).map(Self)
    }

    /// Its nr_mem_id.
    pub fn id(&self) -> u16 {
        self.0.registered().nr_mem_id
    }

    /// From now on whoever is in it keeps it.
    pub fn release(self) {
        self.0.close();
    }
}

/// Opens a pipe of a name that nobody uses. A process's number would not do: in containers many have the same one.
fn open_unused<T>(mut open: impl FnMut(&str) -> Result<T, Refusal>) -> Result<T, String> {
    let mut tries = 1..=TRIES;
    loop {
        // As long as an interface's name may be, with the pipe's end.
        let name = format!("netmap:vm{:010x}{{0", random() >> 24);
        match open(&name) {
            Ok(port) => return Ok(port),
            Err(refusal) if refusal.errno == Errno::BUSY && tries.next() != Some(TRIES) => {}
            Err(refusal) => return Err(format!("{name}: {refusal}")),
        }
    }
}

/// The port as the daemon reports it, if somebody uses it.
fn in_use(info: &Info) -> Result<Option<report::Port>, String> {
    let json = info.session.report(Report::Ports);
    let failed = |e: &dyn std::fmt::Display| format!("the daemon does not report who uses it: {e}");
    let ports: Vec<report::Port> =
        serde_json::from_slice(&json.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    let is_it = |port: &report::Port| {
        let nic = port.nic.as_ref();
        nic.is_some_and(|nic| {
            info.interface == Some((nic.netns, nic.index))
                && (port.users > 0 || nic.attached.is_some())
        })
    };
    Ok(ports.into_iter().find(is_it))
}

fn is_shared(name: &str) -> String {
    format!(
        "{name} is in memory {GLOBAL}, which NICs share, and the guest would see the packets of all of them: use a \
         port with memory of its own, such as vale0:vm1"
    )
}

fn is_in_use(name: &str, port: &report::Port) -> String {
    let attached = port.nic.as_ref().and_then(|nic| nic.attached.as_deref());
    if let Some(attached) = attached {
        let switch = attached.split(':').next().unwrap_or("vale0");
        return format!(
            "{name} is attached to a switch, as {attached}: give the guest a port there, such as \
                        {switch}:vm1"
        );
    }
    let who = port.holders.iter();
    let who: Vec<_> = who
        .map(|holder| format!("{} (pid {})", holder.program, holder.pid))
        .collect();
    format!(
        "{name} is open in {}, in the memory that NICs share, and the guest would see the packets of all of them: \
         close it there, or attach it to a switch (uvale ctl -a vale0:{}) and give the guest a port there, such as \
         vale0:vm1",
        who.join(", "),
        port.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn processes_of_the_same_number_get_a_name_each() {
        let mut used = BTreeSet::new();
        for _ in 0..100 {
            open_unused(|name| {
                assert!(name.len() <= "netmap:".len() + 15, "{name}");
                assert!(used.insert(name.to_owned()), "{name}");
                Ok(())
            })
            .unwrap();
        }
    }

    #[test]
    fn a_name_in_use_is_followed_by_another_one_and_not_for_ever() {
        let mut tried = BTreeSet::new();
        let found = open_unused(|name| {
            tried.insert(name.to_owned());
            match tried.len() {
                1..3 => Err(Refusal::new(Errno::BUSY, "in use")),
                n => Ok(n),
            }
        });
        assert_eq!(found, Ok(3));
        for (errno, wanted) in [(Errno::BUSY, TRIES), (Errno::NOMEM, 1)] {
            let mut tries = 0;
            let said = open_unused::<()>(|_| {
                tries += 1;
                Err(Refusal::new(errno, "the reason"))
            });
            assert!(said.unwrap_err().contains("the reason"));
            assert_eq!(tries, wanted);
        }
    }
}
