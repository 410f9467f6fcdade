//! NICs on a switch: VALE_ATTACH, and who polls them. How their rings become those of a port on the switch is in
//! `bwrap.rs`; somebody has to bring in what arrives, which is the daemon's to see to.

use nm_abi::{
    NETMAP_POLLING_MODE_MULTI_CPU, NETMAP_POLLING_MODE_SINGLE_CPU, nmreq_register,
    nmreq_vale_detach, nmreq_vale_polling,
};
use rustix::io::Errno;

use super::adapter::{AdapterId, Kind, Polling};
use super::memory::MemId;
use super::vale::{Purpose, not_vale};
use super::{Refusal, Result, World};
use uvale_engine::RX;
use uvale_request::interface_part;

impl World {
    /// netmap_get_bdg_na for an interface of the system: the bwrap of the NIC that `name` means, as the port of that
    /// name.
    pub(super) fn attach_nic(
        &mut self,
        name: &[u8],
        reg: &nmreq_register,
        mem: Option<MemId>,
    ) -> Result<AdapterId> {
        let nic = self.get_nic(interface_part(name))?;
        self.get_adapter(nic);
        let made = self.new_bwrap(nic, name, reg, mem);
        self.put_adapter(nic);
        made
    }

    /// The NIC that was attached under `name`: its port record, and what its interface is called.
    pub fn attached_nic(&self, name: &[u8]) -> Option<(u32, String)> {
        let bwrap = self.adapters.iter().find(|(_, na)| na.name == name)?.0;
        let nic = &self.adapters[self.attached_nic_of(bwrap)?];
        Some((nic.port, nic.label()))
    }

    /// Takes the NIC with that port record off its switch, whoever has put it there. False if it is on none.
    pub fn detach_nic(&mut self, port: u32) -> Result<bool> {
        let nic = self.adapters.iter().find_map(|(_, na)| {
            let nic = na.nic().filter(|_| na.port == port)?;
            nic.attached
        });
        let Some(bwrap) = nic else { return Ok(false) };
        self.changes += 1;
        self.get_adapter(bwrap);
        let name = self.adapters[bwrap].name.clone();
        self.detach_found(bwrap, &name, &mut nmreq_vale_detach::default())?;
        Ok(true)
    }

    /// Who makes a request about a NIC on a switch has to stand in its network namespace, as with an interface: another
    /// namespace may have one of the same name. Nobody stands in the namespace of one that is gone.
    ///
    /// This guards against mistakes and is no right: which namespace that is the process says itself, and one that
    /// says none (0) may do it. Whoever may use the world can do this to every interface on its switches.
    pub(super) fn refuse_foreign(&self, bwrap: AdapterId) -> Result<()> {
        let Some(id) = self.attached_nic_of(bwrap) else {
            return Ok(());
        };
        let na = &self.adapters[id];
        let own = na.nic().filter(|nic| !nic.is_gone);
        let own = own.map_or(0, |nic| nic.interface.netns);
        if own == 0 || self.netns == 0 || own == self.netns {
            return Ok(());
        }
        let (label, interface) = (self.adapters[bwrap].label(), na.label());
        Err(Refusal::new(
            Errno::PERM,
            format!(
                "{label}: this is {interface} of another network namespace, which `uvale ports` names; do this in \
                 there (nsenter --net, docker exec)"
            ),
        ))
    }

    /// The processors that may be asked to poll.
    pub fn set_processors(&mut self, processors: Vec<u32>) {
        self.processors = processors;
    }

    /// VALE_POLLING_ENABLE and VALE_POLLING_DISABLE (`None`): only for NICs on a switch.
    pub(super) fn polling(
        &mut self,
        name: &[u8],
        asked: Option<&nmreq_vale_polling>,
    ) -> Result<()> {
        let reg = &mut nmreq_register::default();
        let found = self.get_vale(name, reg, Purpose::Command, None, false)?;
        let id = found.ok_or_else(|| not_vale(name))?;
        let done = self.refuse_foreign(id);
        let done = done.and_then(|()| self.set_polling(id, asked));
        self.put_adapter(id);
        done
    }

    fn set_polling(&mut self, id: AdapterId, asked: Option<&nmreq_vale_polling>) -> Result<()> {
        let label = self.adapters[id].label();
        let nic = self.attached_nic_of(id).ok_or_else(|| {
            let why = format!("{label}: only a NIC on a switch can be polled");
            Refusal::new(Errno::OPNOTSUPP, why)
        })?;
        let before = self.adapters[nic].nic().and_then(|nic| nic.polling);
        let refused = |why: &str| Err(Refusal::new(Errno::FAULT, format!("{label} {why}")));
        let polling = match (asked, before) {
            (Some(_), Some(_)) => return refused("is polled already"),
            (None, None) => return refused("is not polled"),
            (None, Some(_)) => None,
            (Some(asked), None) => Some(self.polling_of(nic, asked)?),
        };
        if let Kind::Nic(nic) = &mut self.adapters[nic].kind {
            nic.polling = polling;
        }
        Ok(())
    }

    /// get_polling_cfg.
    fn polling_of(&self, nic: AdapterId, asked: &nmreq_vale_polling) -> Result<Polling> {
        let na = &self.adapters[nic];
        let bad = |why: String| Err(Refusal::new(Errno::INVAL, format!("{}: {why}", na.label())));
        let (first, count) = (asked.nr_first_cpu_id, asked.nr_num_polling_cpus);
        if count == 0 {
            return bad("0 processors cannot poll".into());
        }
        let there = self.processors.len();
        if count as usize >= there {
            return bad(format!(
                "{count} processors cannot poll: there are {there}, and one has to stay free"
            ));
        }
        let last = first.saturating_add(count - 1);
        let is_there = |cpu: u32| self.processors.contains(&cpu);
        let missing = (first..=last).find(|cpu| !is_there(*cpu));
        match asked.nr_mode {
            NETMAP_POLLING_MODE_MULTI_CPU if last >= na.rings[RX] => bad(format!(
                "processors {first} to {last} poll the rings of these numbers: it has {}",
                na.rings[RX]
            )),
            NETMAP_POLLING_MODE_SINGLE_CPU if count != 1 => {
                bad("polling mode 1 is for 1 processor".into())
            }
            mode @ (NETMAP_POLLING_MODE_SINGLE_CPU | NETMAP_POLLING_MODE_MULTI_CPU) => {
                match (missing, mode) {
                    (Some(cpu), _) => bad(format!("there is no processor {cpu}, or not for us")),
                    (None, NETMAP_POLLING_MODE_SINGLE_CPU) => Ok(Polling::One(first)),
                    (None, _) => Ok(Polling::Each { first, count }),
                }
            }
            mode => bad(format!("polling mode {mode} does not exist")),
        }
    }
}
