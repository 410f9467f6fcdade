//! A process that is served, and what its descriptors mean.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, RwLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use uvale_system::who::read_start;

use crate::description::Description;
use crate::kernel::{Answer, Notification};
use crate::locks::{lock, read, write};
use crate::say::{Level, say};
use crate::swapped::{Pending, Swapped};
use crate::waits::Place;

/// Descriptors of a process that are remembered, at most.
const MOST: usize = 1 << 16;

/// A description in an epoll set.
#[derive(Clone)]
pub struct Member {
    /// its number when it was added
    pub fd: i32,
    /// the description
    pub of: Arc<Description>,
    /// what is waited for
    pub events: u32,
}

/// What a number of a descriptor means.
#[derive(Clone)]
enum Meaning {
    Ours(Arc<Description>),
    Other,
}

/// A process.
pub struct Process {
    /// its number
    pub tgid: i32,
    /// `None` if there is no descriptor left for it here: its end is not seen then
    pidfd: Option<Arc<OwnedFd>>,
    is_hidden: AtomicBool,
    meanings: RwLock<HashMap<i32, Meaning>>,
    sets: Mutex<HashMap<i32, Arc<[Member]>>>,
    swapped: Mutex<Vec<Arc<Swapped>>>,
    has_swapped: AtomicBool,
    closing: Mutex<Vec<(i32, Arc<Description>)>>,
    has_closing: AtomicBool,
    /// numbers that a thread has closed, in a call that the kernel may not have carried out yet
    vanishing: Mutex<Vec<(i32, RangeInclusive<i32>)>>,
    has_vanishing: AtomicBool,
    /// how often that began or ended
    vanished: AtomicU64,
    unsent: Mutex<Vec<Unsent>>,
    /// calls that the kernel may not have carried out yet
    pub pending: Pending,
    /// held while a thread prepares an mmap of ours
    pub mapping: Mutex<()>,
}

/// A call whose caller was interrupted before it got the answer, and its answer.
struct Unsent {
    tid: i32,
    nr: i32,
    args: [u64; 6],
    answer: Answer,
}

impl Process {
    /// One that lives.
    pub fn new(tgid: i32) -> Result<Self, Errno> {
        let pid = Pid::from_raw(tgid).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self {
            pidfd: Some(Arc::new(pidfd)),
            ..Self::unwatched(tgid)
        })
    }

    /// One whose end is not seen.
    pub fn unwatched(tgid: i32) -> Self {
        Self {
            tgid,
            pidfd: None,
            is_hidden: AtomicBool::new(false),
            meanings: RwLock::default(),
            sets: Mutex::default(),
            swapped: Mutex::default(),
            has_swapped: AtomicBool::new(false),
            closing: Mutex::default(),
            has_closing: AtomicBool::new(false),
            vanishing: Mutex::default(),
            has_vanishing: AtomicBool::new(false),
            vanished: AtomicU64::new(0),
            unsent: Mutex::default(),
            pending: Pending::default(),
            mapping: Mutex::default(),
        }
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_deref()
    }

    /// Where one of its descriptors is.
    pub fn place(&self, fd: i32) -> Place {
        Place {
            process: self.pidfd.as_ref().map(Arc::downgrade).unwrap_or_default(),
            tgid: self.tgid,
            fd,
        }
    }

    /// What `fd` means, as far as it is known: nothing, or whether it is one of ours.
    pub fn known(&self, fd: i32) -> Option<Option<Arc<Description>>> {
        match read(&self.meanings).get(&fd)? {
            Meaning::Ours(of) => Some(Some(of.clone())),
            Meaning::Other => Some(None),
        }
    }

    /// From now on `fd` is that.
    pub fn learn(&self, fd: i32, of: Option<Arc<Description>>) {
        let mut meanings = write(&self.meanings);
        if meanings.len() >= MOST {
            meanings.clear();
        }
        meanings.insert(fd, of.map_or(Meaning::Other, Meaning::Ours));
    }

    /// The numbers are about to get other meanings.
    pub fn forget(&self, fds: RangeInclusive<i32>) {
        if fds.start() == fds.end() {
            write(&self.meanings).remove(fds.start());
            lock(&self.sets).remove(fds.start());
        } else {
            write(&self.meanings).retain(|fd, _| !fds.contains(fd));
            lock(&self.sets).retain(|fd, _| !fds.contains(fd));
        }
    }

    /// The numbers from `first` to `last` that something is known of.
    pub fn numbers(&self, first: i32, last: i32) -> Vec<i32> {
        let meanings = read(&self.meanings);
        match first == last {
            true => vec![first],
            false => meanings
                .keys()
                .filter(|fd| (first..=last).contains(*fd))
                .copied()
                .collect(),
        }
    }

    /// Is `fd` closed at exec, as the line `flags:` of its file in /proc says?
    pub fn closes_on_exec(&self, fd: i32) -> bool {
        let info = read_start(&format!("/proc/{}/fdinfo/{fd}", self.tgid)).unwrap_or_default();
        let info = String::from_utf8_lossy(&info);
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
        flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
    }

    /// Where a link in its /proc directory leads.
    pub fn link(&self, fd: i32) -> Option<Vec<u8>> {
        let link = format!("/proc/{}/fd/{fd}", self.tgid);
        let target = rustix::fs::readlink(link, Vec::new()).ok()?;
        Some(target.into_bytes())
    }

    /// What is in epoll set `set`, as far as it is known.
    pub fn known_set(&self, set: i32) -> Option<Arc<[Member]>> {
        lock(&self.sets).get(&set).cloned()
    }

    /// What is in it.
    pub fn learn_set(&self, set: i32, members: Vec<Member>) -> Arc<[Member]> {
        let members: Arc<[Member]> = members.into();
        let mut sets = lock(&self.sets);
        if sets.len() >= MOST {
            sets.clear();
        }
        sets.insert(set, members.clone());
        members
    }

    /// A number is about to stand for memory.
    pub fn swaps(&self, swapped: Arc<Swapped>) {
        let mut all = lock(&self.swapped);
        all.push(swapped);
        self.has_swapped.store(true, Release);
    }

    /// Those that `which` wants.
    pub fn swapped(&self, which: impl Fn(&Swapped) -> bool) -> Vec<Arc<Swapped>> {
        if !self.has_swapped.load(Acquire) {
            return Vec::new();
        }
        let all = lock(&self.swapped);
        all.iter().filter(|s| which(s)).cloned().collect()
    }

    /// It stands for what it did before.
    pub fn is_back(&self, swapped: &Arc<Swapped>) {
        let mut all = lock(&self.swapped);
        all.retain(|other| !Arc::ptr_eq(other, swapped));
        self.has_swapped.store(!all.is_empty(), Release);
    }

    /// What was asked for has been done, and its caller does not know it. It asks again when its signal handler has
    /// returned.
    pub fn did_not_hear(&self, of: &Notification, answer: Answer) {
        let mut unsent = lock(&self.unsent);
        unsent.retain(|u| u.tid != of.pid.cast_signed());
        if unsent.len() < MOST {
            unsent.push(Unsent {
                tid: of.pid.cast_signed(),
                nr: of.nr,
                args: of.args,
                answer,
            });
        }
    }

    /// The answer that the caller did not get before, if this is the same call.
    pub fn take_unsent(&self, of: &Notification) -> Option<Answer> {
        let mut unsent = lock(&self.unsent);
        let at = unsent.iter().position(|u| u.tid == of.pid.cast_signed())?;
        let unsent = unsent.swap_remove(at);
        (unsent.nr == of.nr && unsent.args == of.args).then_some(unsent.answer)
    }

    /// Thread `tid` is about to close these: what they are is not learnt before it calls again.
    pub fn vanish(&self, tid: i32, fds: RangeInclusive<i32>) {
        let mut all = lock(&self.vanishing);
        all.retain(|(other, _)| *other != tid);
        all.push((tid, fds));
        self.vanished.fetch_add(1, AcqRel);
        self.has_vanishing.store(true, Release);
    }

    /// It calls again.
    pub fn has_vanished(&self, tid: i32) {
        if self.has_vanishing.load(Acquire) {
            let mut all = lock(&self.vanishing);
            all.retain(|(other, _)| *other != tid);
            // What others have read of the kernel meanwhile may be from before.
            self.vanished.fetch_add(1, AcqRel);
            self.has_vanishing.store(!all.is_empty(), Release);
        }
    }

    /// How often a close of numbers has begun or ended.
    pub fn vanished(&self) -> u64 {
        self.vanished.load(Acquire)
    }

    /// The kernel has said that `fd` is that, when `vanished` was what it was: so it is from now on, unless it has been
    /// closed since, or is being closed.
    pub fn learn_found(&self, fd: i32, of: Option<Arc<Description>>, vanished: u64) {
        let all = lock(&self.vanishing);
        if self.vanished() == vanished && !all.iter().any(|(_, fds)| fds.contains(&fd)) {
            self.learn(fd, of);
        }
    }

    /// Thread `tid` is about to close a number of `of`.
    pub fn closes(&self, tid: i32, of: Arc<Description>) {
        let mut all = lock(&self.closing);
        all.push((tid, of));
        self.has_closing.store(true, Release);
    }

    /// What it was about to close.
    pub fn take_closing(&self, tid: i32) -> Vec<Arc<Description>> {
        if !self.has_closing.load(Acquire) {
            return Vec::new();
        }
        let mut all = lock(&self.closing);
        let taken = all.extract_if(.., |(of, _)| *of == tid);
        let taken = taken.map(|(_, description)| description).collect();
        self.has_closing.store(!all.is_empty(), Release);
        taken
    }

    /// Has it ended by now?
    pub fn has_ended(&self) -> bool {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let pidfd = self.pidfd.as_deref();
        pidfd.is_some_and(|pidfd| {
            poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&NOW)) == Ok(1)
        })
    }

    /// Does a number of it stand for memory?
    pub fn has_swapped(&self) -> bool {
        self.has_swapped.load(Acquire)
    }

    /// Is nothing kept for it that could not be found again?
    pub fn is_idle(&self) -> bool {
        let is_ours = |meaning: &Meaning| matches!(meaning, Meaning::Ours(_));
        !self.has_swapped()
            && !self.has_closing.load(Acquire)
            && lock(&self.unsent).is_empty()
            && !read(&self.meanings).values().any(is_ours)
    }

    /// Its memory cannot be read. Said once.
    pub fn hides(&self) {
        if !self.is_hidden.swap(true, Relaxed) {
            let (tgid, program) = (self.tgid, self.program());
            say(
                Level::Refusal,
                &format!(
                    "{program} (pid {tgid}) finds no /dev/netmap: its memory cannot be read, because of prctl \
                     PR_SET_DUMPABLE, a file that it may run and not read, or kernel.yama.ptrace_scope"
                ),
            );
        }
    }

    /// The name that ps(1) shows.
    pub fn program(&self) -> String {
        let name = read_start(&format!("/proc/{}/comm", self.tgid)).unwrap_or_default();
        String::from_utf8_lossy(&name).trim_end().to_owned()
    }

    /// No process has that description any more.
    pub fn forget_description(&self, gone: &Arc<Description>) {
        let is_it =
            |meaning: &Meaning| matches!(meaning, Meaning::Ours(of) if Arc::ptr_eq(of, gone));
        write(&self.meanings).retain(|_, meaning| !is_it(meaning));
        lock(&self.closing).retain(|(_, of)| !Arc::ptr_eq(of, gone));
        let has_it = |set: &Arc<[Member]>| set.iter().any(|m| Arc::ptr_eq(&m.of, gone));
        lock(&self.sets).retain(|_, set| !has_it(set));
    }

    /// What is in epoll sets has changed.
    pub fn forget_sets(&self) {
        lock(&self.sets).clear();
    }

    /// It has ended: nothing of it is kept.
    pub fn ended(&self) {
        lock(&self.swapped).clear();
        lock(&self.closing).clear();
        lock(&self.vanishing).clear();
        write(&self.meanings).clear();
        lock(&self.sets).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_number() {
        use std::os::fd::AsRawFd;
        let own = Process::new(std::process::id() as i32).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(own.closes_on_exec(file.as_raw_fd()));
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        assert!(!own.closes_on_exec(file.as_raw_fd()));
        assert_eq!(own.link(file.as_raw_fd()).unwrap(), b"/dev/null");
    }

    #[test]
    fn who_did_not_hear_an_answer_gets_it_for_the_same_call() {
        let process = Process::new(std::process::id() as i32).unwrap();
        let call = |pid, nr| Notification {
            pid,
            nr,
            ..Notification::default()
        };
        process.did_not_hear(&call(5, 16), Answer::Value(3));
        process.did_not_hear(&call(6, 16), Answer::Value(4));
        assert_eq!(process.take_unsent(&call(7, 16)), None);
        assert_eq!(process.take_unsent(&call(5, 16)), Some(Answer::Value(3)));
        assert_eq!(process.take_unsent(&call(5, 16)), None);
        assert_eq!(process.take_unsent(&call(6, 17)), None, "another call");
        assert_eq!(process.take_unsent(&call(6, 16)), None, "forgotten by then");
    }
}
