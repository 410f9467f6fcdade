//! Who waits for a description, and what its line says to them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;
use std::time::Duration;

use uvale_engine::{Attachment, Events, Host};

use crate::kernel;
use crate::line::Line;

/// Packets have arrived.
pub const IN: Events = libc::POLLIN | libc::POLLRDNORM;
/// There is room to send.
pub const OUT: Events = libc::POLLOUT | libc::POLLWRNORM;
/// Something is wrong.
pub const WRONG: Events = libc::POLLERR | libc::POLLHUP;

/// The first nap of a sleep that nothing ends when it should, and the longest.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// How a program waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// what for
    pub events: Events,
    /// edges are to be seen
    pub edges: bool,
    /// it sleeps if nothing is there
    pub sleeps: bool,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// what is there
    pub events: Events,
    /// the kernel believes that more is there
    pub is_overstated: bool,
}

/// Where a descriptor is: in which process, and under which number.
#[derive(Clone, Default)]
pub struct Place {
    /// the process's descriptor, for as long as it is known here
    pub process: Weak<OwnedFd>,
    /// its number
    pub tgid: i32,
    /// that of the descriptor
    pub fd: i32,
}

/// Tells who watches: how long to sleep until somebody looks again, and which descriptors of wires tell of something.
pub type Watching<'a> = &'a dyn Fn(Option<Duration>, &[i32]);

/// What is known of who waits.
pub struct Waits {
    /// the end of the line
    pub line: Line,
    /// number of the other end, that no other socket has
    cookie: u64,
    /// whoever makes these true sends a token
    pub armed: Events,
    /// somebody waits for edges of these, for as long as the description is open
    pub edges: Events,
    /// what had moved by the last time that each was shown as there: arrivals, room
    seen: [u64; 2],
    nap: Duration,
    /// where the program's end was seen last
    pub place: Place,
    /// a handle that is kept because the kernel gives no other
    pub kept: Option<OwnedFd>,
    /// one that is held while its number stands for memory
    pub held: Weak<OwnedFd>,
}

impl Waits {
    /// Nobody.
    pub fn new(line: Line, cookie: u64) -> Self {
        Self {
            line,
            cookie,
            armed: 0,
            edges: 0,
            seen: [0; 2],
            nap: NAPS[0],
            place: Place::default(),
            kept: None,
            held: Weak::new(),
        }
    }

    /// Asks for a token and looks once more: what is there of what is armed.
    pub fn arm(
        &mut self,
        host: &dyn Host,
        attachment: &Attachment,
        watching: Watching<'_>,
    ) -> Events {
        let is_told = attachment.announce(self.armed);
        let events = attachment.refresh(host, self.armed);
        if attachment.is_restless(host, self.armed) || !is_told {
            watching(Some(self.nap), &[]);
            self.nap = (self.nap * 2).min(NAPS[1]);
        }
        let mut sources = Vec::new();
        attachment.readable(host, self.armed, |fd| sources.push(fd));
        if !sources.is_empty() {
            watching(None, &sources);
        }
        events
    }

    /// Would the line say less of `wanted` if it said that there is `events`?
    pub fn is_lowered(&self, wanted: Events, events: Events) -> bool {
        let missing = wanted & !events;
        missing & IN != 0 && self.line.is_readable()
            || missing & OUT != 0 && self.line.is_writable()
    }

    /// Makes the line say of `wanted` what is true: of `events`, when `moved` is what has moved. False if it says more.
    pub fn show(&mut self, moved: u64, wanted: Events, events: Events) -> bool {
        let mut edges = [false; 2];
        for (i, which) in [IN, OUT].into_iter().enumerate() {
            if self.seen[i] != moved && events & wanted & which != 0 {
                self.seen[i] = moved;
                self.nap = NAPS[0];
                edges[i] = self.edges & which != 0;
            }
        }
        let Self {
            line,
            cookie,
            place,
            kept,
            held,
            ..
        } = self;
        let fetch = || handle(kept.as_ref(), held, place, *cookie);
        let is_on = |which: Events| events & (which | libc::POLLERR) != 0;
        let mut is_set = true;
        if wanted & IN != 0 {
            is_set &= line.set_readable(is_on(IN), edges[0], &fetch);
        }
        if wanted & OUT != 0 {
            is_set &= line.set_writable(is_on(OUT), edges[1], &fetch);
        }
        is_set
    }

    /// A handle of the program's end.
    pub fn handle(&self) -> Option<OwnedFd> {
        handle(self.kept.as_ref(), &self.held, &self.place, self.cookie)
    }
}

fn handle(
    kept: Option<&OwnedFd>,
    held: &Weak<OwnedFd>,
    place: &Place,
    cookie: u64,
) -> Option<OwnedFd> {
    if let Some(kept) = kept {
        return kept.try_clone().ok();
    }
    if let Some(held) = held.upgrade() {
        return held.try_clone().ok();
    }
    let process = place.process.upgrade()?;
    let handle = kernel::fetch(process.as_fd(), place.fd).ok()?;
    (kernel::cookie(&handle) == Ok(cookie)).then_some(handle)
}
