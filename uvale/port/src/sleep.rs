//! Sleeping until a port has something to do.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::net::RecvFlags;
use uvale_engine::Events;
use uvale_system::sockets::take_errors;
use uvale_system::sys::borrow;

use super::Port;

/// Packets have arrived.
pub const POLLIN: Events = PollFlags::IN.bits() as Events;
/// There is room to send.
pub const POLLOUT: Events = PollFlags::OUT.bits() as Events;

/// The longest sleep while nothing tells of what the port waits for: room on a wire, a peer that is about to join.
const SOON: Duration = Duration::from_millis(1);
/// The same after nothing has moved for as long: a link may be down for days.
const AT_LAST: Duration = Duration::from_millis(100);
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

/// Since when packets of a port find no room on its wire, and what had moved by then.
#[derive(Default)]
pub struct Stuck(Mutex<Option<(u64, Instant)>>);

impl Stuck {
    /// How long to sleep before the next try: about as long as nothing has moved. `edges` changes with everything that
    /// does; none if the port is not stuck.
    fn nap(&self, edges: Option<u64>) -> Option<Duration> {
        let mut stuck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *stuck = edges.map(|edges| match *stuck {
            Some((before, since)) if before == edges => (edges, since),
            _ => (edges, Instant::now()),
        });
        stuck.map(|(_, since)| since.elapsed().clamp(SOON, AT_LAST))
    }
}

/// Which rings count: their direction ([`uvale_engine::RX`], [`uvale_engine::TX`]), and their place among the port's.
pub type Counts<'a> = &'a dyn Fn(usize, usize) -> bool;

impl Port {
    /// Before a sleep: whoever fills or empties a ring that `events` (`POLLIN`, `POLLOUT`) are about makes this
    /// descriptor readable from now on. Look at the rings once more after it. False if nobody will.
    pub fn announce(&self, events: Events) -> bool {
        self.attachment.announce(events)
    }

    /// After it. Throws the tokens away that have come.
    pub fn withdraw(&self, events: Events) {
        self.attachment.withdraw(events);
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
        // Who cannot send hears of room at the other end of a joined pair, whatever it waits for.
        let is_stuck = self.attachment.has_unsent();
        let heard = if is_stuck { events | POLLOUT } else { events };
        let told = self.announce(heard);
        let woken = if self.glance_at(events, counts) || ready() {
            Woken::Perhaps
        } else {
            let nap = self.nap(events, told, is_stuck, longest);
            self.sleep(events, counts, others, nap)
        };
        self.withdraw(heard);
        woken
    }

    fn nap(
        &self,
        events: Events,
        told: bool,
        is_stuck: bool,
        longest: Option<Duration>,
    ) -> Option<Duration> {
        let edges = is_stuck.then(|| self.attachment.edges());
        let stuck = self.stuck.nap(edges);
        // Of what is to be sent `stuck` knows more.
        let is_restless = self
            .attachment
            .is_restless(&*self.session, events & !POLLOUT);
        let naps = [
            is_restless.then_some(SOON),
            (!told).then_some(NOW_AND_THEN),
            stuck,
            longest,
        ];
        naps.into_iter().flatten().min()
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
        let others_from = fds.len() + wires.len();
        let wires = wires.iter().map(|fd| (borrow(fd), PollFlags::IN));
        let all = wires.chain(others.iter().copied());
        fds.extend(all.map(|(fd, wanted)| PollFd::from_borrowed_fd(fd, wanted)));
        let time = longest.map(|time| Timespec {
            tv_sec: time.as_secs() as _,
            tv_nsec: time.subsec_nanos().into(),
        });
        let _ = poll(&mut fds, time.as_ref());
        let (own, others) = fds.split_at(others_from);
        let is_woken = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if take_errors(&own[2..]) && !own[..2].iter().chain(others).any(is_woken) {
            std::thread::sleep(longest.map_or(SOON, |time| time.min(SOON)));
        }
        match fds[0].revents().is_empty() {
            true => Woken::Perhaps,
            false => Woken::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_stuck_naps_for_longer_until_something_moves() {
        let stuck = Stuck::default();
        assert_eq!(stuck.nap(None), None);
        assert!(stuck.nap(Some(1)) < Some(AT_LAST));
        std::thread::sleep(AT_LAST);
        assert_eq!(stuck.nap(Some(1)), Some(AT_LAST));
        *stuck.0.lock().unwrap() = Some((1, Instant::now() - AT_LAST));
        assert_eq!(stuck.nap(Some(2)), Some(SOON));
        *stuck.0.lock().unwrap() = Some((2, Instant::now() - AT_LAST));
        assert_eq!(stuck.nap(None), None);
        assert_eq!(stuck.nap(Some(2)), Some(SOON));
    }
}
