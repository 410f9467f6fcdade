//! A NIC on a switch: what arrives on its wire is taken in and sent on, and what its wire had no room for is sent when
//! it has. In the kernel interrupts do that (netmap_bwrap_intr_notify); here it takes a process that looks.

use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::bwrap::{self, Onward, is_waiting};
use super::sleep::RX;
use super::synced::Synced;
use super::{Host, RegionMap, nic};
use uvale_shared::ctl::{Kring, MAX_KRINGS, RING_ON};

/// Some rx rings of a NIC on a switch, and the rings through which the switch sends, in the hands of one thread.
pub struct Brought {
    region: Arc<RegionMap>,
    /// of the NIC: what arrives
    arriving: Vec<u32>,
    /// of the port on the switch: what is to leave
    leaving: Vec<u32>,
    onward: Onward,
}

/// A port record, and its generation.
pub type PortRef = (u32, u32);

impl Brought {
    /// Of the NIC `nic` the rx rings of which `takes` is true, host rings being the last; of `port`, which is it on the
    /// switch, all. `None` if they are not there any more.
    pub fn new(
        host: &dyn Host,
        nic: PortRef,
        port: PortRef,
        takes: impl Fn(u32) -> bool,
    ) -> Option<Self> {
        let arriving = rings(host, nic)?.filter(|i| {
            host.ctl()
                .kring(*i)
                .is_some_and(|k| takes(k.ring_id.load(Relaxed)))
        });
        let region = host.ctl().port(nic.0)?.region.load(Relaxed);
        Some(Self {
            arriving: arriving.collect(),
            leaving: rings(host, port)?.collect(),
            region: host.region(region)?,
            onward: Onward::default(),
        })
    }

    /// Takes in and sends on what there is. True if that was something.
    pub fn turn(&mut self, host: &dyn Host) -> bool {
        let mut moved = false;
        for i in 0..self.arriving.len() {
            let index = self.arriving[i];
            let Some(kring) = host.ctl().kring(index) else {
                continue;
            };
            if let Some((rx, _guard)) = Synced::enter_other(host, &self.region, index, false) {
                nic::take_in(host, &rx);
            }
            moved |= self.send_on(host, index, kring);
        }
        for i in 0..self.leaving.len() {
            let index = self.leaving[i];
            if let Some(kring) = host.ctl().kring(index) {
                moved |= self.send_on(host, index, kring);
            }
        }
        moved
    }

    /// Sends on what waits in a ring. True if something has left it.
    fn send_on(&mut self, host: &dyn Host, index: u32, kring: &Kring) -> bool {
        if !is_waiting(kring) {
            return false;
        }
        // Whoever holds a lock that this takes may be stopped: that is no reason to try again at once.
        let before = kring.hwcur.load(Relaxed);
        bwrap::forward(host, index, &self.region, &mut self.onward);
        kring.hwcur.load(Relaxed) != before
    }

    /// The descriptors that become readable when something arrives.
    pub fn readable(&self, host: &dyn Host) -> Vec<i32> {
        let krings = self.in_service(host);
        krings.filter_map(|k| nic::readable(host, k)).collect()
    }

    /// The rings that are to be looked at. What arrives for another one, the host's without `-h`, nobody takes: its
    /// descriptor would stay readable.
    fn in_service<'a>(&'a self, host: &'a dyn Host) -> impl Iterator<Item = &'a Kring> {
        let krings = self.arriving.iter().filter_map(|i| host.ctl().kring(*i));
        krings.filter(|k| k.mode.load(Relaxed) == RING_ON)
    }

    /// Has it to be looked at soon, whatever happens?
    pub fn is_restless(&self, host: &dyn Host) -> bool {
        let mut leaving = self.leaving.iter().filter_map(|i| host.ctl().kring(*i));
        self.in_service(host)
            .any(|k| nic::is_restless(host, k, false))
            || leaving.any(is_waiting)
    }
}

/// The rx krings of a port with those of the host behind them; `None` if it is not that port any more.
fn rings(host: &dyn Host, (record, generation): PortRef) -> Option<Range<u32>> {
    let port = host.ctl().port(record)?;
    let first = port.rx_kring.load(Acquire);
    if port.generation.load(Acquire) != generation {
        return None;
    }
    let is_of_it = |i: &u32| {
        let kring = host.ctl().kring(*i);
        kring.is_some_and(|k| {
            k.generation.load(Relaxed) == generation && k.dir.load(Relaxed) == RX as u32
        })
    };
    let n = (first..MAX_KRINGS as u32).take_while(is_of_it).count() as u32;
    Some(first..first + n)
}
