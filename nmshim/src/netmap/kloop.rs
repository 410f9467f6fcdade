//! SYNC_KLOOP_START: netmap's sync loop, run by the thread that asks for it until it is stopped, here
//! or in another process that has the descriptor.
//!
//! Without eventfds the loop sleeps between passes. With them it sleeps in an epoll set: an eventfd of
//! the program's for each ring (edge-triggered, for netmap does not read them either), the descriptor
//! itself, on which the rings' wake-ups and the request to stop arrive, and the daemon's hang-up.
//!
//! In netmap's direct modes the program's write to an eventfd does the sync itself. Here the loop does
//! it when it receives the event.

use core::cell::Cell;
use std::os::fd::RawFd;
use std::time::Duration;

use nm_abi::*;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use uvale_engine::Attachment;
use uvale_engine::csb::{Csb, Manner};
use uvale_link::channel::call;
use uvale_link::proto::{Call, Reply};
use uvale_link::session::Session;
use uvale_request::{OptionCopy, Request};
use uvale_system::sys::{Fd, OwnFd, borrow};

use super::csb::ProgramCsb;
use super::description::Description;
use super::result::Failed;

/// Longest sleep in an epoll set, as in netmap.
const LONGEST: Duration = Duration::from_secs(3);
/// The same for a descriptor that cannot be woken one by one.
const LONGEST_UNKNOWN: Duration = Duration::from_millis(100);
/// Between two looks at whether a loop has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Epoll data beyond those of rings.
const DESCRIPTOR: u64 = u64::MAX;
const DAEMON: u64 = u64::MAX - 1;
const WIRE: u64 = u64::MAX - 2;

thread_local! {
    /// The file whose loop this thread runs.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

fn address(file: &Description) -> usize {
    core::ptr::from_ref(file) as usize
}

/// The daemon thinks that a loop runs as long as this lives.
struct Run<'a> {
    /// our own: the program may close its descriptor, and the loop continues
    fd: Option<OwnFd>,
    program_fd: &'a RawFd,
    before: usize,
}

impl Run<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => borrow(self.program_fd),
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        RUNNING.set(self.before);
        let _ = call(self.fd(), &Call::KloopEnd);
    }
}

/// Runs the loop that the daemon has just allowed.
pub fn run(file: &Description, fd: RawFd, request: &mut Request) -> Result<(), Failed> {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(borrow(&fd), uvale_system::sys::HIGH_FD);
    let run = Run {
        fd: duplicate.ok().map(|fd| OwnFd::new(Fd::from(fd))),
        program_fd: &fd,
        before: RUNNING.replace(address(file)),
    };
    if run.fd.is_none() {
        return Err(Errno::NOMEM.into());
    }
    let session = file.session(fd).map_err(|f| f.errno)?;
    let bind = file.bound(fd).ok_or(Errno::NXIO)?;
    let (reply, _) = call(run.fd(), &Call::Whois)?;
    let Reply::Opened {
        bound: Some(bound), ..
    } = reply
    else {
        return Err(Errno::NXIO.into());
    };
    let (atok, ktoa) = bound.csb.ok_or(Errno::INVAL)?;
    let sleep_us = nmreq_sync_kloop_start::from_bytes(&request.body).map_or(0, |b| b.sleep_us);
    let [tx, rx] = bind.attachment.csb_entries();
    let mut rings = Rings {
        attachment: &bind.attachment,
        session,
        csb: ProgramCsb::new(atok, ktoa),
        tx,
        rx,
        direct: direct(request.option(NETMAP_REQ_OPT_SYNC_KLOOP_MODE)),
        busy_wait: true,
        irqs: Vec::new(),
    };
    let events = match request.option(NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS) {
        None => None,
        Some(option) => rings.eventfds(option, run.fd()).map_err(Failed::Value)?,
    };
    match events {
        Some(events) => rings.by_events(file, &events, run.fd())?,
        None => rings.by_sleeping(file, sleep_us)?,
    }
    Ok(())
}

/// SYNC_KLOOP_STOP, after the daemon has told the loop: waits until it is over.
pub fn wait_until_over(file: &Description, fd: RawFd) -> Result<(), Errno> {
    if RUNNING.get() == address(file) {
        // A signal handler in the loop's own thread: it ends when the handler returns.
        return Ok(());
    }
    let session = file.session(fd).map_err(|f| f.errno)?;
    let Some(bind) = file.bound(fd) else {
        return Ok(());
    };
    while bind.attachment.kloop_is_running() {
        sleep(LOOK_EVERY);
        file.look_now(session).map_err(|_| Errno::NXIO)?;
    }
    Ok(())
}

/// Which directions (tx, rx) are synced when the program says so only.
fn direct(option: Option<&mut OptionCopy>) -> [bool; 2] {
    let mode = option
        .and_then(|o| o.body.first_chunk::<4>())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    [
        mode & NM_OPT_SYNC_KLOOP_DIRECT_TX != 0,
        mode & NM_OPT_SYNC_KLOOP_DIRECT_RX != 0,
    ]
}

/// The rings of a loop, by CSB entry: tx first.
struct Rings<'a> {
    attachment: &'a Attachment,
    session: &'static Session,
    csb: ProgramCsb,
    tx: usize,
    rx: usize,
    direct: [bool; 2],
    busy_wait: bool,
    /// by which the program is told of news
    irqs: Vec<Option<OwnFd>>,
}

/// What a loop waits for.
struct Events {
    set: OwnFd,
    /// the program's eventfds, which stay in the set as long as somebody has them open
    _kicks: Vec<OwnFd>,
}

impl Rings<'_> {
    /// Takes the program's eventfds. `None`: there is one missing, and the loop sleeps instead.
    fn eventfds(
        &mut self,
        option: &OptionCopy,
        own: BorrowedFd<'_>,
    ) -> Result<Option<Events>, Errno> {
        let entries = option.body.chunks_exact(size_of::<nm_kloop_eventfds>());
        let entries: Vec<_> = entries.filter_map(nm_kloop_eventfds::from_bytes).collect();
        self.busy_wait = entries.iter().any(|e| e.ioeventfd < 0);
        let set = OwnFd::new(Fd::from(epoll::create(epoll::CreateFlags::CLOEXEC)?));
        let mut kicks = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let irq = (entry.irqfd >= 0)
                .then(|| eventfd(entry.irqfd))
                .transpose()?;
            self.irqs.push(irq);
            if !self.busy_wait {
                let kick = eventfd(entry.ioeventfd)?;
                if state(kick.as_fd()).contains(PollFlags::ERR) {
                    // netmap says this one as an error; so little depends on it that it is not
                    // told apart.
                    return Err(Errno::INVAL);
                }
                watch(&set, kick.as_fd(), i as u64, epoll::EventFlags::ET)?;
                kicks.push(kick);
            }
        }
        if self.busy_wait {
            return Ok(None);
        }
        watch(&set, own, DESCRIPTOR, epoll::EventFlags::empty())?;
        let mut watched = Ok(());
        self.attachment.readable(self.session, libc::POLLIN, |fd| {
            let wire = uvale_system::sys::borrow(&fd);
            let added = watch(
                &set,
                wire,
                WIRE,
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            );
            watched = watched.and(added);
        });
        watched?;
        let daemon = self.session.connection();
        watch(&set, daemon.as_fd(), DAEMON, epoll::EventFlags::empty())?;
        Ok(Some(Events { set, _kicks: kicks }))
    }

    fn is_direct(&self, entry: usize) -> bool {
        self.direct[usize::from(entry >= self.tx)]
    }

    /// One pass over one ring.
    fn pass(&self, entry: usize) {
        let direct = self.is_direct(entry) && !self.busy_wait;
        let tell = || self.tell(entry);
        let has_irq = self.irqs.get(entry).is_some_and(Option::is_some);
        let manner = Manner {
            busy_wait: self.busy_wait,
            direct,
            tell: (has_irq && !direct).then_some(&tell),
        };
        let csb: &dyn Csb = &self.csb;
        match entry.checked_sub(self.tx) {
            None => self.attachment.csb_tx(self.session, entry, csb, &manner),
            Some(i) => self.attachment.csb_rx(self.session, i, csb, &manner),
        }
    }

    /// Passes over all rings that are not left to the program.
    fn passes(&self) {
        (0..self.tx + self.rx)
            .filter(|entry| !self.is_direct(*entry))
            .for_each(|entry| self.pass(entry));
    }

    /// Signals the eventfd of an entry, unless that would block.
    fn tell(&self, entry: usize) {
        if let Some(Some(irq)) = self.irqs.get(entry)
            && state(irq.as_fd()).contains(PollFlags::OUT)
        {
            let _ = rustix::io::write(irq, &1u64.to_ne_bytes());
        }
    }

    /// Is the loop to end?
    fn over(&self, file: &Description) -> Result<bool, Errno> {
        // The loop is one request; handlers of this thread run in between.
        crate::ground::section::breathe();
        file.look_after_daemon(self.session)
            .map_err(|_| Errno::NXIO)?;
        Ok(self.attachment.kloop_is_stopping())
    }

    /// netmap's first kind of loop.
    fn by_sleeping(&self, file: &Description, sleep_us: u32) -> Result<(), Errno> {
        let _exactly = Slack::none();
        let pause = Duration::from_micros(sleep_us.into());
        while !self.over(file)? {
            self.passes();
            // Even a sleep of nothing lets others run for a moment, and comes back soon: a mere
            // yield would come back after everybody else's time slice.
            sleep(pause);
        }
        Ok(())
    }

    /// Its second kind.
    fn by_events(
        &self,
        file: &Description,
        events: &Events,
        own: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        const BOTH: i16 = libc::POLLIN | libc::POLLOUT;
        let mut seen = self.attachment.edges();
        let mut ready = Vec::with_capacity(64);
        let result = loop {
            // Announced before the rings are looked at: what comes later is told.
            let known = self.attachment.announce(BOTH);
            match self.over(file) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(e) => break Err(e),
            }
            self.passes();
            self.pass_on(&mut seen);
            ready.clear();
            let longest = if known { LONGEST } else { LONGEST_UNKNOWN };
            let longest = timespec(longest);
            if epoll::wait(&events.set, spare_capacity(&mut ready), Some(&longest)).is_err() {
                continue;
            }
            for event in &ready {
                match event.data.u64() {
                    DESCRIPTOR => drain(own),
                    WIRE if self.direct[1] => {
                        (self.tx..self.tx + self.rx).for_each(|entry| self.tell(entry));
                    }
                    WIRE => {}
                    DAEMON => {
                        if let Err(e) = file.look_now(self.session) {
                            let _ = e;
                            self.attachment.withdraw(BOTH);
                            return Err(Errno::NXIO);
                        }
                    }
                    entry if self.is_direct(entry as usize) => self.pass(entry as usize),
                    _ => {}
                }
            }
        };
        self.attachment.withdraw(BOTH);
        result
    }

    /// Direct modes: hands news of the rings on to the program, which syncs when it likes.
    fn pass_on(&self, seen: &mut u64) {
        if !self.direct.contains(&true) {
            return;
        }
        let now = self.attachment.edges();
        if core::mem::replace(seen, now) == now {
            return;
        }
        let fresh = |events| self.attachment.glance(self.session, events);
        if self.direct[0] && fresh(libc::POLLOUT) {
            (0..self.tx).for_each(|entry| self.tell(entry));
        }
        if self.direct[1] && fresh(libc::POLLIN) {
            (self.tx..self.tx + self.rx).for_each(|entry| self.tell(entry));
        }
    }
}

/// A duplicate of the program's eventfd `fd`, or netmap's error.
fn eventfd(fd: RawFd) -> Result<OwnFd, Errno> {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(borrow(&fd), uvale_system::sys::HIGH_FD)?;
    let duplicate = OwnFd::new(Fd::from(duplicate));
    let path = format!("/proc/self/fd/{}", duplicate.as_raw_fd());
    match rustix::fs::readlink(path, Vec::new()) {
        Ok(target) if target.as_bytes() != b"anon_inode:[eventfd]" => Err(Errno::INVAL),
        // Without /proc it is taken for what it should be.
        _ => Ok(duplicate),
    }
}

/// What poll says of a descriptor.
fn state(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::OUT)];
    let _ = poll(&mut fds, Some(&timespec(Duration::ZERO)));
    fds[0].revents()
}

fn watch(
    set: &OwnFd,
    fd: BorrowedFd<'_>,
    data: u64,
    flags: epoll::EventFlags,
) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(data);
    epoll::add(set, fd, data, epoll::EventFlags::IN | flags)
}

/// Throws wake-ups away. Nobody else sleeps on a descriptor in CSB mode.
fn drain(fd: BorrowedFd<'_>) {
    let mut tokens = [0u8; 64];
    while rustix::net::recv(fd, &mut tokens[..], RecvFlags::DONTWAIT).is_ok_and(|(_, n)| n > 0) {}
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Sleeps once; a signal ends the sleep early.
fn sleep(duration: Duration) {
    let _ = rustix::thread::nanosleep(&timespec(duration));
}

/// Sleeps of this thread are as short as they are asked to be.
struct Slack(Option<u64>);

impl Slack {
    fn none() -> Self {
        let before = rustix::thread::current_timer_slack().ok();
        let _ = rustix::thread::set_current_timer_slack(core::num::NonZeroU64::new(1));
        Self(before)
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        let before = self.0.and_then(core::num::NonZeroU64::new);
        let _ = rustix::thread::set_current_timer_slack(before);
    }
}
