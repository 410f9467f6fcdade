//! A descriptor in CSB mode: head and cur come from an array in the program's memory, hwcur and
//! hwtail go to another, and a sync loop does what NIOCTXSYNC and NIOCRXSYNC do elsewhere.
//!
//! Entries count tx rings first, then rx rings, as the descriptor has selected them. One pass over
//! a ring lasts as long as there is work: both sides set a flag when they want to be kicked, and look
//! once more after they have set it.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::fence;

use super::Host;
use super::attachment::Attachment;
use super::sleep::{RX, TX};
use super::sync::Unsent;
use super::synced::Synced;
use uvale_shared::ctl::{KLOOP_CSB, KLOOP_RUNNING, KLOOP_STOPPING};

/// Passes over an rx ring without news before the loop continues with the next ring.
const DRY: u32 = 2;

/// What the program has written into an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// its head
    pub head: u32,
    /// its cur
    pub cur: u32,
    /// it wants to be kicked when there is news
    pub need_kick: bool,
}

/// The two arrays of a CSB, wherever they lie. What cannot be read reads as zeroes and what
/// cannot be written is lost, as in netmap.
pub trait Csb {
    /// Entry `i` as the program has written it.
    fn read(&self, i: usize) -> Wanted;
    /// Shows hwcur and hwtail; hwtail must not be seen before hwcur.
    fn show(&self, i: usize, hwcur: u32, hwtail: u32);
    /// Says whether the loop wants to be kicked when the program has done something.
    fn want_kick(&self, i: usize, on: bool);
    /// Writes the initial state of entry `i`.
    fn init(&self, i: usize, wanted: Wanted, hwcur: u32, hwtail: u32);
}

/// How a loop treats a ring.
pub struct Manner<'a> {
    /// it polls the rings, and need not be kicked
    pub busy_wait: bool,
    /// it gets an event for each change
    pub direct: bool,
    /// kicks the program
    pub tell: Option<&'a dyn Fn()>,
}

/// News for a program that may want to be kicked.
struct News<'a, 'b> {
    csb: &'a dyn Csb,
    entry: usize,
    manner: &'a Manner<'b>,
    untold: bool,
}

impl News<'_, '_> {
    fn tell(&mut self) {
        if let Some(tell) = self.manner.tell
            && self.untold
            && self.csb.read(self.entry).need_kick
        {
            tell();
            self.untold = false;
        }
    }
}

impl Attachment {
    /// Entries of the CSB, tx rings and rx rings.
    pub fn csb_entries(&self) -> [usize; 2] {
        [TX, RX].map(|dir| self.krings(dir).count())
    }

    /// Writes the state of all rings into a fresh CSB.
    pub fn csb_init(&self, csb: &dyn Csb) {
        let krings = self.krings(TX).chain(self.krings(RX));
        for (i, k) in krings.enumerate() {
            let wanted = Wanted {
                head: k.rhead.load(Relaxed),
                cur: k.rcur.load(Relaxed),
                need_kick: true,
            };
            csb.init(i, wanted, k.hwcur.load(Relaxed), k.hwtail.load(Relaxed));
        }
    }

    /// The word that the daemon, the loop and whoever stops it share.
    fn kloop(&self) -> u32 {
        let live =
            |k: &&uvale_shared::ctl::Kring| k.generation.load(Relaxed) == self.binding().generation;
        let first = self.krings(TX).chain(self.krings(RX)).next();
        first.filter(live).map_or(0, |k| k.kloop.load(Acquire))
    }

    /// Is the descriptor in CSB mode?
    pub fn in_csb_mode(&self) -> bool {
        self.kloop() & KLOOP_CSB != 0
    }

    /// Is a sync loop to end?
    pub fn kloop_is_stopping(&self) -> bool {
        // A word that says nothing of a loop is not ours any more.
        let word = self.kloop();
        word & KLOOP_STOPPING != 0 || word & KLOOP_RUNNING == 0
    }

    /// Does a sync loop run?
    pub fn kloop_is_running(&self) -> bool {
        self.kloop() & KLOOP_RUNNING != 0
    }

    /// A pass over the `i`th selected tx ring.
    pub fn csb_tx(&self, host: &dyn Host, i: usize, csb: &dyn Csb, manner: &Manner<'_>) {
        let ring = self.tx.get(i);
        let Some((sync, mut guard)) = ring.and_then(|ring| self.enter(host, host.owner(), ring))
        else {
            return;
        };
        if !manner.direct {
            csb.want_kick(i, false);
        }
        let k = sync.ring.kring;
        let mut news = News {
            csb,
            entry: i,
            manner,
            untold: false,
        };
        let mut wanted = csb.read(i);
        loop {
            let Ok(head) = sync.ring.tx_take((wanted.head, wanted.cur)) else {
                sync.refuse();
                want_kick_again(csb, i, manner);
                break;
            };
            let hwtail = match sync.send(&mut guard, head) {
                Ok(hwtail) => hwtail,
                Err(Unsent::Monitor | Unsent::Busy) => {
                    want_kick_again(csb, i, manner);
                    break;
                }
            };
            csb.show(i, k.hwcur.load(Relaxed), hwtail);
            news.untold |= k.rtail.swap(hwtail, Relaxed) != hwtail;
            news.tell();
            if manner.busy_wait {
                // What has arrived meanwhile is for the next pass.
                break;
            }

            wanted = csb.read(i);
            if wanted.head == k.rhead.load(Relaxed) {
                match more_after_all(csb, i, |w| w.head != k.rhead.load(Relaxed)) {
                    Some(again) => wanted = again,
                    None => break,
                }
            } else if k.rhead.load(Relaxed) == hwtail {
                // No room: it continues when the other side says that there is.
                break;
            }
        }
        drop(guard);
        news.tell();
    }

    /// A pass over the `i`th selected rx ring.
    pub fn csb_rx(&self, host: &dyn Host, i: usize, csb: &dyn Csb, manner: &Manner<'_>) {
        let ring = self.rx.get(i);
        let Some((sync, mut guard)) = ring.and_then(|ring| self.enter(host, host.owner(), ring))
        else {
            return;
        };
        let entry = self.tx.len() + i;
        if !manner.direct {
            csb.want_kick(entry, false);
        }
        let k = sync.ring.kring;
        let mut news = News {
            csb,
            entry,
            manner,
            untold: false,
        };
        let mut dry = 0;
        let mut wanted = csb.read(entry);
        loop {
            let hwtail = k.indices().arrived();
            if sync
                .ring
                .rx_take((wanted.head, wanted.cur), hwtail)
                .is_err()
            {
                sync.ring.reinit();
                want_kick_again(csb, entry, manner);
                break;
            }
            let Some(hwtail) = sync.receive(&mut guard, hwtail) else {
                want_kick_again(csb, entry, manner);
                break;
            };
            csb.show(entry, k.hwcur.load(Relaxed), hwtail);
            if k.rtail.swap(hwtail, Relaxed) != hwtail {
                news.untold = true;
                dry = 0;
            } else {
                dry += 1;
            }
            news.tell();
            if manner.busy_wait {
                break;
            }

            wanted = csb.read(entry);
            if is_full(&sync.ring, wanted.head) {
                match more_after_all(csb, entry, |w| !is_full(&sync.ring, w.head)) {
                    Some(again) => wanted = again,
                    None => break,
                }
            } else if published(&sync.ring) == k.rhead.load(Relaxed) || dry >= DRY {
                // Nothing more: it continues when somebody has sent.
                break;
            }
        }
        sync.leave(guard);
        news.tell();
    }
}

/// What arrives last: of pipes, hwtail follows only with a sync.
fn published(ring: &Synced<'_>) -> u32 {
    ring.kring.hwtail.load(Relaxed)
}

/// Is there no slot to receive into?
fn is_full(ring: &Synced<'_>, head: u32) -> bool {
    head < ring.n && published(ring) == ring.ring.prev(head)
}

/// After wrong indices, or when nothing can be done.
fn want_kick_again(csb: &dyn Csb, entry: usize, manner: &Manner<'_>) {
    if !manner.busy_wait {
        csb.want_kick(entry, true);
    }
}

/// Asks to be kicked, and looks once more: is there `more` to do?
fn more_after_all(csb: &dyn Csb, entry: usize, more: impl Fn(&Wanted) -> bool) -> Option<Wanted> {
    csb.want_kick(entry, true);
    // The program writes its head before it looks at the flag: one of the two sees the other.
    fence(SeqCst);
    let wanted = csb.read(entry);
    let found = more(&wanted);
    if found {
        csb.want_kick(entry, false);
    }
    found.then_some(wanted)
}
