//! Descriptors: who connects, what the front end asks for, kicks and signals.

use core::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::{AGAIN, FRONT, LISTENER, SIGNALS, STRANGERS, Server};
use crate::vhost::features::Features;
use crate::vhost::front::{Front, Offer, Stage};
use crate::vhost::message::Ended;

/// Requests, or connections, that are served before others have their turn.
const MOST_REQUESTS: u32 = 16;

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
        let knock = found.contains(&LISTENER) || found.contains(&STRANGERS);
        // A front end that has gone goes before the one that takes its place is let in.
        let is_silent = !(knock || found.contains(&FRONT)) || self.serve_front();
        self.let_in(found.contains(&LISTENER));
        if is_silent && knock {
            self.meet();
        }
        if self.is_to_connect() {
            self.connect();
        }
        self.is_over |= found.contains(&SIGNALS) && self.signals.has_come();
    }

    fn is_to_connect(&self) -> bool {
        self.front.is_none()
            && self.listening.listener().is_none()
            && Instant::now() >= self.next_connect
    }

    /// Serves some requests: the front end's rings, and others, have their turn too. False if there may be more.
    fn serve_front(&mut self) -> bool {
        let voice = &self.voice;
        let Some(front) = &mut self.front else {
            return true;
        };
        for _ in 0..MOST_REQUESTS {
            let before = front.stage();
            let served = front.serve(&|what| voice.say_of_guest(what));
            if before < Stage::Guest && front.stage() == Stage::Guest {
                voice.say_of_guest("a guest has connected");
            }
            match served {
                Ok(true) => {}
                Ok(false) => return true,
                Err(ended) => {
                    self.has_ended(ended);
                    return true;
                }
            }
        }
        false
    }

    fn has_ended(&mut self, ended: Ended) {
        let Some(front) = self.front.take() else {
            return;
        };
        let _ = epoll::delete(&self.events, front.socket());
        self.show_guest();
        let stage = front.stage();
        let why = match ended {
            Ended::Nonsense(why) => format!("disconnected the guest's front end: {why}"),
            Ended::Gone if stage == Stage::Guest => "the guest has disconnected".into(),
            Ended::Gone if stage == Stage::KnowsQueues => self.too_few_queues(),
            // It has only looked who is there.
            Ended::Gone => String::new(),
        };
        let (from, to) = (self.from_guest, self.to_guest);
        let moved = format!(
            "; {} packets from it, {} to it, {} lost",
            from.packets,
            to.packets,
            from.lost + to.lost
        );
        match stage {
            Stage::Guest => self.voice.say_of_guest(&(why + &moved)),
            _ if why.is_empty() => {}
            _ => self.voice.say_of_guest(&why),
        }
        self.is_over |= self.args.once && stage > Stage::Silent;
    }

    fn too_few_queues(&self) -> String {
        let n = self.args.queues;
        format!(
            "a front end has disconnected after learning the number of queue pairs: if it has more than {n}, give \
             uvale vm vhost as many with --queues, or give it fewer (QEMU: queues={n})"
        )
    }

    /// Lets in who has connected, as long as there are descriptors.
    fn let_in(&mut self, has_come: bool) {
        if !has_come && self.deaf_until.is_none_or(|until| Instant::now() < until) {
            return;
        }
        if self.deaf_until.take().is_some() {
            self.listen(epoll::EventFlags::IN);
        }
        let voice = &self.voice;
        for _ in 0..MOST_REQUESTS {
            match self.listening.next(&|what| voice.say_of_guest(what)) {
                Ok(Some(socket)) => {
                    let data = epoll::EventData::new_u64(STRANGERS);
                    if epoll::add(&self.events, &socket, data, epoll::EventFlags::IN).is_ok() {
                        self.strangers.add(socket);
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    // Whoever waits would keep us from sleeping.
                    self.deaf_until = Some(Instant::now() + AGAIN);
                    return self.listen(epoll::EventFlags::empty());
                }
            }
        }
    }

    fn listen(&self, to: epoll::EventFlags) {
        if let Some(listener) = self.listening.listener() {
            let data = epoll::EventData::new_u64(LISTENER);
            let _ = epoll::modify(&self.events, listener, data, to);
        }
    }

    /// Whoever says something first is the front end.
    fn meet(&mut self) {
        while let Some(socket) = self.strangers.speaking() {
            let _ = epoll::delete(&self.events, &socket);
            match self.front {
                None => self.greet(socket),
                Some(_) => self
                    .voice
                    .say_of_guest("a second front end has been refused: a socket serves one guest"),
            }
        }
    }

    fn connect(&mut self) {
        self.next_connect = Instant::now() + AGAIN;
        let voice = &self.voice;
        if let Ok(Some(socket)) = self.listening.next(&|what| voice.say_of_guest(what)) {
            self.greet(socket);
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
            mac: self.args.mac.map(|mac| mac.0),
        };
        let data = epoll::EventData::new_u64(FRONT);
        let watched = epoll::add(&self.events, &socket, data, epoll::EventFlags::IN);
        let events = rustix::io::fcntl_dupfd_cloexec(&self.events, 0);
        let (Ok(()), Ok(events)) = (watched, events) else {
            return self
                .voice
                .say_of_guest("a guest has been refused: no descriptor is free");
        };
        (self.from_guest, self.to_guest) = Default::default();
        let front = Front::new(socket, events, offer);
        self.stopped = vec![false; front.rings.len()];
        self.front = Some(front);
        self.show_guest();
    }
}
