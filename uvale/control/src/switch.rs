//! VALE switches: their names, and which port has which number.

use core::sync::atomic::Ordering::{Relaxed, Release};

use nm_abi::IFNAMSIZ;
use rustix::io::Errno;

use super::adapter::{AdapterId, Kind, Name, Place};
use super::{Refusal, Result, World};
use uvale_shared::ctl::{MAX_SWITCHES, SWITCH_PORTS};

/// A switch; free while it has no ports.
#[derive(Debug)]
pub(super) struct Bridge {
    /// the name before the colon
    pub name: Name,
    /// ports in use
    pub active: u32,
    /// all port numbers: those in use first, in the order of netmap's bdg_port_index
    pub order: Vec<u32>,
    /// by port number
    pub ports: Vec<Option<AdapterId>>,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: Name::new(),
            active: 0,
            order: (0..SWITCH_PORTS as u32).collect(),
            ports: vec![None; SWITCH_PORTS],
        }
    }
}

/// The name of the switch in `name`: the part before the colon, if netmap accepts that and the
/// port's name. `least` is the shortest length of the whole.
pub(super) fn switch_name(name: &[u8], least: usize) -> Option<&[u8]> {
    if name.len() < least {
        return None;
    }
    let is_id = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let end = name.iter().take(IFNAMSIZ).position(|c| !is_id(*c))?;
    (name[end] == b':' && name.len() - end <= IFNAMSIZ).then(|| &name[..end])
}

fn invalid(name: &[u8], errno: Errno) -> Refusal {
    Refusal::new(
        errno,
        format!(
            "{:?} is no name of a VALE port: it takes valeNAME:PORT, NAME of letters, digits and _, up to 15 \
             characters before the colon and 15 after it",
            String::from_utf8_lossy(name)
        ),
    )
}

impl World {
    /// Looks the switch in `name` up.
    pub(super) fn find_switch(&self, name: &[u8], least: usize) -> Option<u32> {
        let wanted = switch_name(name, least)?;
        let found = self
            .bridges
            .iter()
            .position(|b| b.active > 0 && b.name == wanted)?;
        Some(found as u32)
    }

    /// The switch in `name`, which is created if there is none. A switch lasts from its first
    /// port to its last.
    pub(super) fn find_or_start_switch(&mut self, name: &[u8]) -> Result<u32> {
        if let Some(found) = self.find_switch(name, 4) {
            return Ok(found);
        }
        let wanted = switch_name(name, 4).ok_or_else(|| invalid(name, Errno::NOMEM))?;
        let free = self.bridges.iter().position(|b| b.active == 0).ok_or_else(|| {
            Refusal::new(
                Errno::NOMEM,
                format!(
                    "{}: all {n} switches are in use (max_bridges={n}): start the daemon with more, {MAX_SWITCHES} at \
                     most (--max-switches, or max_switches in its configuration), or close the ports of one",
                    String::from_utf8_lossy(wanted),
                    n = self.bridges.len()
                ),
            )
        })?;
        self.bridges[free] = Bridge {
            name: wanted.to_vec(),
            ..Bridge::default()
        };
        let switch = self
            .ctl
            .switch(free as u32)
            .expect("the number of switches is within the table");
        switch.members.iter().for_each(|m| m.store(0, Relaxed));
        // Forget what the switch that had this record before has learned.
        switch
            .fdb
            .iter()
            .filter(|e| e.load(Relaxed) != 0)
            .for_each(|e| e.store(0, Relaxed));
        Ok(free as u32)
    }

    /// The port called `name` on `switch`.
    pub(super) fn port_on_switch(&self, switch: u32, name: &[u8]) -> Option<AdapterId> {
        let b = &self.bridges[switch as usize];
        b.order[..b.active as usize]
            .iter()
            .filter_map(|number| b.ports[*number as usize])
            .find(|id| self.adapters[*id].name == name)
    }

    /// `ENOMEM` if the switch has no room for a port; like netmap it keeps one place for a host
    /// port, whether there is one or not.
    pub(super) fn room_on_switch(&self, switch: u32) -> Result<()> {
        let b = &self.bridges[switch as usize];
        if b.active as usize + 2 < SWITCH_PORTS {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&b.name).into_owned();
        Err(Refusal::new(
            Errno::NOMEM,
            format!(
                "{name} has {} ports, and no switch of netmap's takes more: use another switch",
                b.active
            ),
        ))
    }

    /// Attaches a VALE port to a switch that has room.
    pub(super) fn attach_port(&mut self, id: AdapterId, switch: u32) {
        let b = &mut self.bridges[switch as usize];
        let at = b.active as usize;
        let number = b.order[at];
        b.ports[number as usize] = Some(id);
        b.active += 1;
        if let Kind::Vale { place, .. } = &mut self.adapters[id].kind {
            *place = Some(Place { switch, number });
        }
        let record = self.adapters[id].port;
        let port = self.port(record);
        // One that nobody has open gets packets, too, and loses them.
        port.set_name(&self.adapters[id].name);
        port.bdg_port.store(number, Relaxed);
        port.switch.store(switch + 1, Release);
        let shared = self
            .ctl
            .switch(switch)
            .expect("the number of switches is within the table");
        // SYNC POINT: Release pairs with the Acquire loads of senders: the port record is
        // complete before it can be found.
        shared.ports[number as usize].store(record + 1, Release);
        let (word, bit) = (number as usize / 64, number % 64);
        shared.members[word].fetch_or(1 << bit, Release);
        shared.generation.fetch_add(1, Release);
        self.ctl.count_arrival();
    }

    /// Something about a port has changed that others on its switch go by.
    pub(super) fn switch_has_changed(&self, id: AdapterId) {
        if let Kind::Vale {
            place: Some(place), ..
        } = &self.adapters[id].kind
        {
            let switch = self.ctl.switch(place.switch);
            let switch = switch.expect("the number of switches is within the table");
            switch.generation.fetch_add(1, Release);
        }
    }

    /// Something has changed that the senders on all switches go by.
    pub(super) fn switches_have_changed(&self) {
        let in_use = (0..).zip(&self.bridges).filter(|(_, b)| b.active > 0);
        for switch in in_use.filter_map(|(i, _)| self.ctl.switch(i)) {
            // SYNC POINT: as in `attach_port`.
            switch.generation.fetch_add(1, Release);
        }
    }

    /// Takes a VALE port off its switch. As in netmap the last port moves into its place in the
    /// order, and its number is the next one to be given out.
    pub(super) fn detach_port(&mut self, id: AdapterId) {
        let Kind::Vale { place, .. } = &mut self.adapters[id].kind else {
            return;
        };
        let Some(Place { switch, number }) = place.take() else {
            return;
        };
        let b = &mut self.bridges[switch as usize];
        b.ports[number as usize] = None;
        let last = b.active as usize - 1;
        let Some(at) = b.order[..=last].iter().position(|n| *n == number) else {
            return;
        };
        b.order.swap(at, last);
        b.active -= 1;
        self.port(self.adapters[id].port).switch.store(0, Release);
        let shared = self
            .ctl
            .switch(switch)
            .expect("the number of switches is within the table");
        let (word, bit) = (number as usize / 64, number % 64);
        shared.members[word].fetch_and(!(1 << bit), Release);
        shared.ports[number as usize].store(0, Release);
        shared.generation.fetch_add(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::switch_name;

    #[test]
    fn names_as_the_record_has_them() {
        for (name, want) in [
            ("vale", None),
            ("vale0", None),
            ("vale:", Some("vale")),
            ("vale0:x:y", Some("vale0")),
            ("vale_b:y", Some("vale_b")),
            ("vale-b:y", None),
            ("vale.b:y", None),
            ("vale0:123456789abcdef", Some("vale0")),
            ("vale0:123456789abcdefg", None),
            ("vale0123456789:a", Some("vale0123456789")),
            ("vale012345678901:a", None),
            ("val", None),
            ("", None),
        ] {
            assert_eq!(
                switch_name(name.as_bytes(), 4),
                want.map(str::as_bytes),
                "{name:?}"
            );
        }
    }
}
