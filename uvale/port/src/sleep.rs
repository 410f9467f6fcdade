//! Sleeping until a port has something to do.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::net::RecvFlags;
use uvale_engine::Events;
use uvale_system::sys::borrow;

use super::Port;

/// Packets have arrived.
pub const POLLIN: Events = PollFlags::IN.bits() as Events;
/// There is room to send.
pub const POLLOUT: Events = PollFlags::OUT.bits() as Events;

/// The longest sleep while nothing tells of what the port waits for: room on a wire, a peer that is about to join.
const SOON: Duration = Duration::from_millis(1);
/// The same for a description that has no bit in the rings' masks, and cannot be woken.
const NOW_AND_THEN: Duration = Duration::from_millis(10);

/// What has ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// there may be something to do
    Perhaps,
    /// the daemon is gone, and with it the port
    Lost,
}

/// Which rings count: their direction ([`uvale_engine::RX`], [`uvale_engine::TX`]), and their place among the port's.
pub type Counts<'a> = &'a dyn Fn(usize, usize) -> bool;

impl Port {
    /// Before a sleep: whoever fills or empties a ring that `events` (`POLLIN`, `POLLOUT`) are about makes this
    /// descriptor readable from now on. Look at the rings once more after it. False if nobody will.
    pub fn announce(&self, events: Events) -> bool {
        self.attachment.announce(&*self.session, events)
    }

    /// After it. Throws the tokens away that have come.
    pub fn withdraw(&self, events: Events) {
        self.attachment.withdraw(&*self.session, events);
        self.drain();
    }

    fn drain(&self) {
        let mut tokens = [0u8; 64];
        while rustix::net::recv(&self.device, &mut tokens[..], RecvFlags::DONTWAIT)
            .is_ok_and(|(_, n)| n > 0)
        {}
    }

    /// Is there something to do for `events`, as far as the indices show without a sync?
    pub fn glance(&self, events: Events) -> bool {
        self.attachment.glance(&*self.session, events)
    }

    /// The same, only at rings that count.
    pub fn glance_at(&self, events: Events, counts: Counts<'_>) -> bool {
        self.attachment.glance_at(&*self.session, events, counts)
    }

    /// Sleeps until there may be something to do for `events`, one of `others` is as it is waited for or has hung up,
    /// or `longest` is over. `ready` looks once more after the announcement, at what only the caller knows, and keeps
    /// it awake.
    pub fn wait(
        &self,
        events: Events,
        others: &[(BorrowedFd<'_>, PollFlags)],
        longest: Option<Duration>,
        ready: &dyn Fn() -> bool,
    ) -> Woken {
        self.wait_at(events, &|_, _| true, others, longest, ready)
    }

    /// The same; what there is to do at rings that do not count keeps nobody awake.
    pub fn wait_at(
        &self,
        events: Events,
        counts: Counts<'_>,
        others: &[(BorrowedFd<'_>, PollFlags)],
        longest: Option<Duration>,
        ready: &dyn Fn() -> bool,
    ) -> Woken {
        let told = self.announce(events);
        let woken = if self.glance_at(events, counts) || ready() {
            Woken::Perhaps
        } else {
            let nap = self.nap(events, told, longest);
            self.sleep(events, counts, others, nap)
        };
        self.withdraw(events);
        woken
    }

    fn nap(&self, events: Events, told: bool, longest: Option<Duration>) -> Option<Duration> {
        let restless = self.attachment.is_restless(&*self.session, events);
        let own = match (told, restless) {
            (_, true) => Some(SOON),
            (false, _) => Some(NOW_AND_THEN),
            (true, false) => None,
        };
        match (own, longest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn sleep(
        &self,
        events: Events,
        counts: Counts<'_>,
        others: &[(BorrowedFd<'_>, PollFlags)],
        longest: Option<Duration>,
    ) -> Woken {
        let mut wires = Vec::new();
        self.attachment
            .readable_at(&*self.session, events, counts, |fd| wires.push(fd));
        let daemon = PollFd::new(self.session.connection(), PollFlags::empty());
        let mut fds = vec![daemon, PollFd::new(&self.device, PollFlags::IN)];
        let wires = wires.iter().map(|fd| (borrow(fd), PollFlags::IN));
        let all = wires.chain(others.iter().copied());
        fds.extend(all.map(|(fd, wanted)| PollFd::from_borrowed_fd(fd, wanted)));
        let longest = longest.map(|time| Timespec {
            tv_sec: time.as_secs() as _,
            tv_nsec: time.subsec_nanos().into(),
        });
        let _ = poll(&mut fds, longest.as_ref());
        match fds[0].revents().is_empty() {
            true => Woken::Perhaps,
            false => Woken::Lost,
        }
    }
}
