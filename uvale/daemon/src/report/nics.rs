//! What only a NIC port has.

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use uvale_control::{NicDetails, Polling, PortInfo};
use uvale_engine::{RX, TX};
use uvale_link::report as shape;
use uvale_shared::ctl::PORT_DOWN;
use uvale_wire::Kind;
use uvale_wire::xdp::Mode;

use super::super::Daemon;
use super::{rx_ring, tx_ring};

impl Daemon {
    pub(super) fn nic(&self, info: &PortInfo) -> Option<shape::Nic> {
        let nic = info.nic.as_ref()?;
        let wire = self.nics.shape(info.port);
        let lacks = wire.iter().flat_map(|wire| &wire.lacks).cloned();
        let apart = self
            .nics
            .apart(info.port)
            .map(|why| format!("not joined: {why}"));
        let krings = |dir: usize| {
            nic.host_krings[dir]
                .iter()
                .filter_map(|i| self.ctl.kring(*i))
        };
        let (attached, polling) = nic.attached.clone().unzip();
        Some(shape::Nic {
            netns: nic.netns,
            index: nic.index,
            namespace: self.nics.namespace(info.port),
            wire: wire_name(nic, wire.map(|wire| wire.kind)).to_owned(),
            joined: nic.joined.clone(),
            why: apart.into_iter().chain(lacks).collect(),
            host: wire.is_some_and(|wire| wire.host.is_some()),
            stolen: wire.is_some_and(|wire| wire.is_stolen),
            gone: nic.is_gone,
            down: self
                .ctl
                .port(info.port)
                .is_some_and(|port| port.flags.load(Relaxed) & PORT_DOWN != 0),
            opened: nic
                .opened
                .iter()
                .map(|rings| opened(info, nic, rings))
                .collect(),
            attached,
            polling: polling.flatten().map(|polling| match polling {
                Polling::One(cpu) => shape::Polling::One(cpu),
                Polling::Each { first, count } => shape::Polling::Each { first, count },
            }),
            host_tx: krings(TX).map(tx_ring).collect(),
            host_rx: krings(RX).map(rx_ring).collect(),
        })
    }
}

impl Daemon {
    /// The interfaces that uvale has made, and others whose ports are open or on a switch.
    pub(super) fn listed_interfaces(&self) -> Vec<shape::Interface> {
        let ports = self.ports();
        let in_use = ports.into_iter().filter_map(|port| {
            let nic = port.nic.filter(|nic| !nic.gone)?;
            let is_used = port.users > 0 || nic.attached.is_some();
            is_used.then_some(shape::Interface {
                name: port.name,
                netns: nic.netns,
                index: nic.index,
                namespace: nic.namespace,
                made: false,
                queues: None,
                attached: nic.attached,
                holders: port.holders,
                opened: nic.opened,
            })
        });
        let mut all: Vec<_> = in_use.collect();
        for made in self.nics.made() {
            let is_it = |other: &&mut shape::Interface| {
                (other.netns, other.index) == (made.netns, made.index)
            };
            match all.iter_mut().find(is_it) {
                Some(used) => (used.made, used.queues) = (true, made.queues),
                None => all.push(made),
            }
        }
        all.sort_by(|a, b| (&a.name, a.netns).cmp(&(&b.name, b.netns)));
        all
    }
}

fn wire_name(nic: &NicDetails, wire: Option<Kind>) -> &'static str {
    match (&nic.joined, wire) {
        (Some(_), _) => "joined",
        (None, Some(Kind::Packet)) => "packet",
        (None, Some(Kind::Tap(_))) => "tap",
        (None, Some(Kind::Ptnet(_))) => "ptnet",
        (None, Some(Kind::Xdp(xdp))) => match xdp.mode {
            Mode::ZeroCopy => "xdp-zerocopy",
            Mode::Native => "xdp-native",
            Mode::Generic => "xdp-generic",
        },
        (None, Some(Kind::Nothing)) => "nothing",
        (None, None) => "opening",
    }
}

/// The name by which somebody has opened these rings.
fn opened(info: &PortInfo, nic: &NicDetails, rings: &[Range<u32>; 2]) -> String {
    let parts = [RX, TX].map(|dir| part(&rings[dir], info.rings[dir], nic.host_rings[dir]));
    let (name, [rx, tx]) = (&info.name, &parts);
    match (rx, tx) {
        (Some(rx), Some(tx)) if rx == tx => format!("{name}{rx}"),
        (Some(rx), Some(tx)) => format!("{name}{rx}/R and {name}{tx}/T"),
        (Some(rx), None) => format!("{name}{rx}/R"),
        (None, Some(tx)) => format!("{name}{tx}/T"),
        (None, None) => format!("{name}, no ring"),
    }
}

/// The end of a port's name that means these of its rings; none if they are none.
fn part(rings: &Range<u32>, nic: u32, host: u32) -> Option<String> {
    let all = nic + host;
    Some(match (rings.start, rings.end) {
        (from, to) if from >= to => return None,
        (0, to) if to == all => "*".into(),
        (0, to) if to == nic => String::new(),
        (from, to) if from == nic && to == all => "^".into(),
        (from, to) if from + 1 == to && from >= nic => format!("^{}", from - nic),
        (from, to) if from + 1 == to => format!("-{from}"),
        (from, to) => format!(" {from} to {}", to - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_called_as_they_are_opened() {
        for (rings, want) in [
            (0..2, Some("")),
            (0..3, Some("*")),
            (2..3, Some("^")),
            (1..2, Some("-1")),
            (0..0, None),
        ] {
            assert_eq!(part(&rings, 2, 1).as_deref(), want, "{rings:?}");
        }
        assert_eq!(part(&(3..4), 2, 2).as_deref(), Some("^1"));
    }
}
