//! The two ends of a veth pair: whether they are joined.

use super::super::Daemon;
use super::super::log::{Level, log};
use uvale_control::NicInfo;
use uvale_link::proto::Join;
use uvale_shared::ctl::SETTLING;
use uvale_system::clock::monotonic;
use uvale_wire::interface::are_peers;

impl Daemon {
    /// Joins the two or parts them, if something has changed since they were looked at last.
    pub(super) fn join_or_part(&mut self, a: &NicInfo, b: &NicInfo) {
        let is_joined = a.joined == Some(b.port);
        let pair = [a, b].map(|nic| (nic.port, nic.generation));
        if self.nics.known.contains(&pair) {
            return;
        }
        self.nics.known.insert(pair);
        let Some(may) = self.may_join(a, b) else {
            return;
        };
        let outcome = match (may, is_joined) {
            (Ok(()), true) => return,
            (Ok(()), false) => self.world.join(a.port, b.port, monotonic() + SETTLING),
            (Err(why), true) => {
                self.world.part(a.port);
                Err(why)
            }
            (Err(why), false) => Err(why),
        };
        let apart = match outcome {
            Ok(()) => {
                log(
                    Level::Info,
                    &format!("{} and {} are joined", a.name, b.name),
                );
                None
            }
            Err(why) => {
                log(
                    Level::Info,
                    &format!("{} and {} are not joined: {why}", a.name, b.name),
                );
                Some(why)
            }
        };
        for nic in [a, b] {
            if let Some(known) = self.nics.by_port.get_mut(&nic.port) {
                known.apart.clone_from(&apart);
            }
            self.wake_openers(nic);
        }
    }

    /// Are these the two ends of a veth pair, and may packets bypass the kernel? `None`: they are not.
    fn may_join(&self, a: &NicInfo, b: &NicInfo) -> Option<Result<(), String>> {
        let watch_of = |nic: &NicInfo| self.nics.by_port.get(&nic.port)?.watch();
        let (wa, wb) = (watch_of(a)?, watch_of(b)?);
        let is_pair = are_peers(&a.interface, wa, &b.interface, wb);
        if a.is_gone || b.is_gone || !is_pair {
            return None;
        }
        let wants = [a, b].map(|nic| self.nics.by_port.get(&nic.port).map(|nic| nic.join));
        if wants.contains(&Some(Join::Never)) {
            return Some(Err("NMSHIM_JOIN=never".into()));
        }
        let is_forced = wants.contains(&Some(Join::Always));
        for nic in [a, b] {
            if !nic.interface.is_up {
                return Some(Err(format!("{} is down", nic.name)));
            }
            if is_forced {
                continue;
            }
            if let [first, ..] = &nic.interface.in_the_way[..] {
                return Some(Err(format!("{first} on {} would be bypassed", nic.name)));
            }
        }
        Some(Ok(()))
    }
}
