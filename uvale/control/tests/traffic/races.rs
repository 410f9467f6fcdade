//! What the daemon changes while a sync is under way.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::bwrap::{command, persistent};
use super::{frame, port, put, take, world};
use nm_abi::*;
use uvale_control::local::LocalWorld;
use uvale_engine::{Host, RX, RegionMap};
use uvale_shared::ctl::Ctl;
use uvale_shared::lock::Owner;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// A host that does something when `owner` is asked for the `at`th time: a thread that is preempted there.
struct Late<'a> {
    w: &'a LocalWorld,
    asked: AtomicU32,
    at: u32,
    act: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl<'a> Late<'a> {
    fn new(w: &'a LocalWorld, at: u32, act: impl FnOnce() + Send + 'a) -> Self {
        let act: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>> = Mutex::new(Some(Box::new(act)));
        Self {
            w,
            asked: AtomicU32::new(0),
            at,
            act,
        }
    }
}

impl Host for Late<'_> {
    fn ctl(&self) -> &Arc<Ctl> {
        self.w.ctl()
    }
    fn session(&self) -> u32 {
        self.w.session()
    }
    fn owner(&self) -> Owner {
        let is_now = self.asked.fetch_add(1, Relaxed) + 1 == self.at;
        if is_now && let Some(act) = self.act.lock().unwrap().take() {
            act();
        }
        self.w.owner()
    }
    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.w.region(number)
    }
    fn wake(&self, client: u32) {
        self.w.wake(client);
    }
}

/// A monitor of the tx ring that comes while the sync makes its plan (owner is asked by txsync, then by `Sender::new`).
#[test]
fn monitor_before() {
    monitor(1);
}

#[test]
fn monitor_in_the_middle() {
    monitor(2);
}

fn monitor(at: u32) {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    assert!(put(&w, &b, &frame([0xff; 6], B, 0), 0));
    b.attachment.txsync(&w);
    take(&w, &a);
    let monitor = Mutex::new(None);
    let late = Late::new(&w, at, || {
        *monitor.lock().unwrap() = Some(w.open("vale0:a", |r| r.nr_flags = NR_MONITOR_TX).unwrap());
    });
    assert!(put(&w, &a, &frame(B, A, 1), 0));
    a.attachment.txsync(&late);
    let m = monitor.lock().unwrap().take().expect("it was asked for");
    for tag in 2..6 {
        assert!(put(&w, &a, &frame(B, A, tag), 0));
        a.attachment.txsync(&w);
        take(&w, &b);
    }
    let seen = take(&w, &m);
    assert!(
        seen.len() >= 4,
        "the monitor has seen {} of 4 packets",
        seen.len()
    );
}

/// A sender that is taken off its switch while the sync makes its plan.
#[test]
fn detach_before() {
    detach(1);
}

#[test]
fn detach_in_the_middle() {
    detach(2);
}

fn detach(at: u32) {
    let w = world();
    persistent(&w, "p", "vale0");
    let (a, b) = (port(&w, "p"), port(&w, "vale0:b"));
    assert!(put(&w, &b, &frame([0xff; 6], B, 0), 0));
    b.attachment.txsync(&w);
    take(&w, &a);
    let late = Late::new(&w, at, || {
        command(
            &w,
            NETMAP_REQ_VALE_DETACH,
            "vale0:p",
            &nmreq_vale_detach::default(),
        );
    });
    assert!(put(&w, &a, &frame(B, A, 1), 0));
    a.attachment.txsync(&late);
    take(&w, &b);
    for tag in 2..6 {
        assert!(put(&w, &a, &frame(B, A, tag), 0));
        a.attachment.txsync(&w);
    }
    let got = take(&w, &b);
    assert_eq!(got.len(), 0, "packets from a port that is on no switch");
    let _ = RX;
}
