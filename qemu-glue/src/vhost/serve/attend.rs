//! Descriptors: who connects, what the front-end asks for, kicks and signals.

use core::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::{AGAIN, FRONT, LISTENER, SIGNALS, Server, say};
use crate::vhost::features::Features;
use crate::vhost::front::{Front, Offer};
use crate::vhost::message::Ended;

impl Server<'_> {
    /// Serves descriptors; waits for one for `time` at most.
    pub(super) fn look(&mut self, time: Duration) {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 32];
        let time = Timespec {
            tv_sec: time.as_secs() as _,
            tv_nsec: time.subsec_nanos().into(),
        };
        let found = match epoll::wait(&self.events, &mut space, Some(&time)) {
            Ok((events, _)) => events.iter().map(|e| e.data.u64()).collect(),
            Err(_) => Vec::new(),
        };
        // A front-end that has gone goes before the one that takes its place is let in.
        if found.contains(&FRONT) || found.contains(&LISTENER) {
            self.serve_front();
        }
        if found.contains(&LISTENER) || self.is_to_connect() {
            self.let_in();
        }
        self.is_over |= found.contains(&SIGNALS) && self.signals.has_come();
    }

    fn is_to_connect(&mut self) -> bool {
        let is_time = self.front.is_none()
            && self.listening.listener().is_none()
            && Instant::now() >= self.next_try;
        if is_time {
            self.next_try = Instant::now() + AGAIN;
        }
        is_time
    }

    fn serve_front(&mut self) {
        let args = self.args;
        let Some(front) = &mut self.front else { return };
        let ended = loop {
            match front.serve(&|what| say(args, what)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(ended) => break ended,
            }
        };
        let _ = epoll::delete(&self.events, front.socket());
        self.front = None;
        let (from, to) = (self.from_guest, self.to_guest);
        let why = match ended {
            Ended::Gone => "the guest has gone".to_owned(),
            Ended::Nonsense(why) => format!("hung up on the guest's front-end: {why}"),
        };
        say(
            args,
            &format!(
                "{why}; {} packets from it, {} to it, {} lost",
                from.packets,
                to.packets,
                from.lost + to.lost
            ),
        );
        self.is_over |= args.once;
    }

    fn let_in(&mut self) {
        let args = self.args;
        while let Some(socket) = self.listening.next(&|what| say(args, what)) {
            if self.front.is_some() {
                say(
                    args,
                    "a second front-end has been turned away: one guest, one socket",
                );
                continue;
            }
            self.greet(socket);
            if self.listening.listener().is_none() {
                break;
            }
        }
    }

    fn greet(&mut self, socket: OwnedFd) {
        let offers_work = self.port_header != 0;
        let room = self
            .port
            .as_ref()
            .map_or(0, |p| p.region().pool.size() as usize);
        let offer = Offer {
            features: Features::offer(offers_work, self.args.mac.is_some()),
            pairs: self.args.queues,
            longest_frame: if offers_work { u16::MAX.into() } else { room },
            mac: self.args.mac,
        };
        let data = epoll::EventData::new_u64(FRONT);
        let watched = epoll::add(&self.events, &socket, data, epoll::EventFlags::IN);
        let events = rustix::io::fcntl_dupfd_cloexec(&self.events, 0);
        let (Ok(()), Ok(events)) = (watched, events) else {
            return say(
                self.args,
                "a guest has been turned away: no descriptors are left",
            );
        };
        (self.from_guest, self.to_guest) = Default::default();
        let front = Front::new(socket, events, offer);
        self.stopped = vec![false; front.rings.len()];
        self.front = Some(front);
        say(self.args, "a guest has come");
    }
}
