//! What happens while programs sleep: tokens of descriptions, arrivals on wires, last closes, ends of processes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use uvale_system::sys::borrow;

use crate::description::Description;
use crate::locks::lock;
use crate::process::Process;

/// Events that are taken at a time.
const AT_A_TIME: usize = 64;

/// What is waited for; with the number of whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// a description's end in the daemon
    Token,
    /// a description's end in a program
    End,
    /// a wire of a description
    Wire,
    /// a process
    Process,
    /// naps have come
    Naps,
}

impl Source {
    const ALL: [Self; 5] = [
        Self::Token,
        Self::End,
        Self::Wire,
        Self::Process,
        Self::Naps,
    ];

    fn data(self, number: u64) -> EventData {
        EventData::new_u64(number << 3 | self as u64)
    }

    fn of(data: u64) -> Option<(Self, u64)> {
        let source = Self::ALL.get((data & 7) as usize)?;
        Some((*source, data >> 3))
    }
}

/// What has happened, to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// somebody who waits for this description may have to be woken
    Woken(u64),
    /// no program has this description any more
    Closed(u64),
    /// the daemon of this description is gone
    Lost(u64),
    /// this process has ended
    Ended(i32),
}

/// See the module.
pub struct Watch {
    set: OwnedFd,
    /// ends of descriptions alone
    ends: OwnedFd,
    bell: OwnedFd,
    naps: Mutex<Vec<(Instant, Weak<Description>)>>,
}

impl Watch {
    /// Nothing yet.
    pub fn new() -> Result<Self, Errno> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&set, &bell, Source::Naps.data(0), EventFlags::IN)?;
        Ok(Self {
            set,
            ends: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            bell,
            naps: Mutex::default(),
        })
    }

    /// From now on a description's tokens and its last close are seen.
    pub fn add(&self, of: &Description) -> Result<(), Errno> {
        let number = of.inode;
        epoll::add(
            &self.set,
            of.device(),
            Source::Token.data(number),
            EventFlags::IN,
        )?;
        of.with_end(|end| match end {
            Some(end) => [&self.set, &self.ends].into_iter().try_for_each(|set| {
                epoll::add(set, end, Source::End.data(number), EventFlags::empty())
            }),
            None => Ok(()),
        })
    }

    /// No longer.
    pub fn remove(&self, of: &Description) {
        let _ = epoll::delete(&self.set, of.device());
        of.with_end(|end| {
            if let Some(end) = end {
                let _ = epoll::delete(&self.set, end);
                let _ = epoll::delete(&self.ends, end);
            }
        });
    }

    /// From now on the end of a process is seen.
    pub fn add_process(&self, process: &Process) {
        let data = Source::Process.data(u64::from(process.tgid.cast_unsigned()));
        if let Some(pidfd) = process.pidfd() {
            let _ = epoll::add(&self.set, pidfd, data, EventFlags::IN);
        }
    }

    /// A description sleeps: for no longer than `nap`, and until one of `wires` is readable.
    pub fn sleeps(&self, of: &Arc<Description>, nap: Option<Duration>, wires: &[i32]) {
        if let Some(nap) = nap {
            let mut naps = lock(&self.naps);
            if !naps.iter().any(|(_, who)| who.as_ptr() == Arc::as_ptr(of)) {
                naps.push((Instant::now() + nap, Arc::downgrade(of)));
            }
            drop(naps);
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
        for wire in wires {
            let data = Source::Wire.data(of.inode);
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            let wire = borrow(wire);
            if epoll::add(&self.set, wire, data, flags) == Err(Errno::EXIST) {
                let _ = epoll::modify(&self.set, wire, data, flags);
            }
        }
    }

    /// How long until the next nap is over.
    fn next(&self) -> Option<Timespec> {
        let first = lock(&self.naps).iter().map(|(at, _)| *at).min()?;
        let left = first.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    fn over(&self) -> Vec<Arc<Description>> {
        let now = Instant::now();
        let mut naps = lock(&self.naps);
        let over = naps.extract_if(.., |(at, _)| *at <= now);
        over.filter_map(|(_, who)| who.upgrade()).collect()
    }

    /// Descriptions that no program has any more, some of them.
    pub fn closed(&self) -> Vec<u64> {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(AT_A_TIME);
        let _ = epoll::wait(self.ends.as_fd(), spare_capacity(&mut events), Some(&NOW));
        let sources = events.iter().filter_map(|e| Source::of(e.data.u64()));
        sources.map(|(_, number)| number).collect()
    }

    /// Waits for what comes next, and tells `each`.
    pub fn wait(&self, each: &mut dyn FnMut(Event)) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(AT_A_TIME);
        let next = self.next();
        match epoll::wait(self.set.as_fd(), spare_capacity(&mut events), next.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        self.over()
            .into_iter()
            .for_each(|of| each(Event::Woken(of.inode)));
        for event in &events {
            let flags = event.flags;
            let is_over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            match Source::of(event.data.u64()) {
                Some((Source::Naps, _)) => {
                    let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
                }
                Some((Source::Process, number)) => each(Event::Ended(number as i32)),
                Some((Source::End, number)) if is_over => each(Event::Closed(number)),
                Some((Source::Token, number)) if is_over => each(Event::Lost(number)),
                Some((Source::Token | Source::Wire, number)) => each(Event::Woken(number)),
                Some((Source::End, _)) | None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        for source in Source::ALL {
            assert_eq!(Source::of(source.data(77).u64()), Some((source, 77)));
        }
        assert_eq!(Source::of(7), None);
    }
}
