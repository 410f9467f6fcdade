//! Numbers that stand for a region's memory while a thread maps it (`calls/mapping.rs`), and calls that the kernel was
//! told to carry out: which of them it has not carried out yet.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use uvale_system::who::read_start;

use crate::locks::lock;

/// A call that the kernel was told to carry out is waited for so long, at most: some leave no trace.
const LONGEST: Duration = Duration::from_secs(1);
/// A thread that sleeps in it for so long has done what matters here.
const ASLEEP: Duration = Duration::from_millis(50);
/// One that has run for so long, however busy the machine is, is past it.
const RUN: Duration = Duration::from_millis(20);
/// Between two looks.
const SHORT: Duration = Duration::from_micros(50);

/// Calls that are remembered.
const MOST: usize = 64;

/// How far a thread is with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// it has returned
    Over,
    /// it sleeps in it, or the kernel does not say
    Asleep,
    /// it runs: in the call or after it
    Running,
}

/// A call that a thread makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// its process
    pub tgid: i32,
    /// the thread
    pub tid: i32,
    /// its number
    pub nr: i64,
}

impl Made {
    fn state(&self) -> State {
        let thread = format!("/proc/{}/task/{}", self.tgid, self.tid);
        let Some(line) = read_start(&format!("{thread}/syscall")) else {
            return match rustix::fs::stat(thread) {
                Ok(_) => State::Asleep,
                Err(_) => State::Over,
            };
        };
        // `running`, or the number of the call that it sleeps in, -1 for none.
        let word = line.split(u8::is_ascii_whitespace).next();
        let nr = word.and_then(|word| std::str::from_utf8(word).ok()?.parse::<i64>().ok());
        match nr {
            None => State::Running,
            Some(nr) if nr == self.nr => State::Asleep,
            Some(_) => State::Over,
        }
    }

    /// How long its thread has run, ever.
    fn run(&self) -> Duration {
        let path = format!("/proc/{}/task/{}/schedstat", self.tgid, self.tid);
        let line = read_start(&path).unwrap_or_default();
        let word = line.split(u8::is_ascii_whitespace).next();
        let ns = word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        Duration::from_nanos(ns.unwrap_or(0))
    }

    /// Waits until it is over: the kernel says so, or `is_seen`; not for ever.
    fn wait(&self, is_seen: impl Fn() -> bool) {
        let (since, run) = (Instant::now(), self.run());
        let mut asleep = None;
        while !is_seen() && since.elapsed() < LONGEST {
            match self.state() {
                State::Over => return,
                State::Asleep if asleep.get_or_insert_with(Instant::now).elapsed() > ASLEEP => {
                    return;
                }
                State::Running if self.run().saturating_sub(run) > RUN => return,
                State::Running => asleep = None,
                State::Asleep => {}
            }
            std::thread::sleep(SHORT);
        }
    }
}

/// Calls of a process that use what a number stands for now, and that the kernel may not have carried out yet.
#[derive(Default)]
pub struct Pending(Mutex<Vec<Made>>);

impl Pending {
    /// The kernel is about to be told to carry that out.
    pub fn add(&self, made: Made) {
        let mut all = lock(&self.0);
        all.retain(|other| other.tid != made.tid);
        // Of threads that have ended, most likely.
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(made);
    }

    /// That thread makes another call.
    pub fn is_over(&self, tid: i32) {
        lock(&self.0).retain(|made| made.tid != tid);
    }

    /// Waits until those of other threads than `tid` are over.
    pub fn wait(&self, tid: i32) {
        let mut all = lock(&self.0).clone();
        all.retain(|made| made.tid != tid);
        for made in all {
            made.wait(|| !lock(&self.0).contains(&made));
            lock(&self.0).retain(|other| *other != made);
        }
    }
}

/// A file as /proc/PID/maps names it: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File(pub u64, pub u64);

/// Where a process has `file` mapped.
pub fn mapped(tgid: i32, file: File) -> Vec<Range<u64>> {
    let maps = std::fs::read(format!("/proc/{tgid}/maps")).unwrap_or_default();
    let lines = maps.split(|b| *b == b'\n');
    lines.filter_map(|line| range(line, file)).collect()
}

/// The range of a line of /proc/PID/maps, if it is of `file`:
/// `7f0000000000-7f0000001000 rw-s 00000000 00:01 1034 /memfd:x`.
fn range(line: &[u8], file: File) -> Option<Range<u64>> {
    let mut words = line
        .split(|b| *b == b' ')
        .map(|word| std::str::from_utf8(word).unwrap_or_default());
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let (start, end) = words.next()?.split_once('-')?;
    let (major, minor) = words.nth(2)?.split_once(':')?;
    let device = libc::makedev(hex(major)? as u32, hex(minor)? as u32);
    let inode = words.next()?.parse().ok()?;
    (File(device, inode) == file).then_some(hex(start)?..hex(end)?)
}

/// A number that stands for a region's memory while the program maps it, and the description that it is else.
pub struct Swapped {
    /// the number
    pub fd: i32,
    /// the mmap
    pub by: Made,
    /// a handle of the program's end
    pub handle: Arc<OwnedFd>,
    /// it is closed at exec
    pub close_on_exec: bool,
    file: File,
    /// where the process had it mapped before
    before: Vec<Range<u64>>,
    is_mapped: AtomicBool,
    /// held while it is swapped, and put back
    is_back: Mutex<bool>,
}

impl Swapped {
    /// `fd` is to stand for `file` during the mmap `by`.
    pub fn new(
        fd: i32,
        by: Made,
        handle: Arc<OwnedFd>,
        close_on_exec: bool,
        file: File,
    ) -> Arc<Self> {
        Arc::new(Self {
            fd,
            by,
            handle,
            close_on_exec,
            file,
            before: mapped(by.tgid, file),
            is_mapped: AtomicBool::new(false),
            is_back: Mutex::new(false),
        })
    }

    /// Its thread makes another call.
    pub fn is_over(&self) {
        self.is_mapped.store(true, Release);
    }

    /// Swaps by `swap`: meanwhile nobody puts it back. If that fails there is nothing to put back.
    pub fn swap(&self, swap: impl FnOnce() -> Result<i32, Errno>) -> Result<(), Errno> {
        let mut is_back = lock(&self.is_back);
        swap().map(drop).inspect_err(|_| *is_back = true)
    }

    /// Puts it back by `put`, when the kernel has carried the mmap out, unless another thread has done it; whether it
    /// is back now.
    pub fn put_back(&self, put: impl FnOnce() -> Result<i32, Errno>) -> bool {
        let mut is_back = lock(&self.is_back);
        if !*is_back {
            self.by
                .wait(|| self.is_mapped.load(Acquire) || self.has_grown());
            // ENOENT: who asks for it has been interrupted, and nothing has happened.
            *is_back = put() != Err(Errno::NOENT);
        }
        *is_back
    }

    fn has_grown(&self) -> bool {
        let is_old = |now: &Range<u64>| {
            let mut before = self.before.iter();
            before.any(|old| old.start <= now.start && now.end <= old.end)
        };
        !mapped(self.by.tgid, self.file).iter().all(is_old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = b"7f0000000000-7f0000001000 rw-s 00000000 00:1f 1034      /memfd:x (deleted)";
        let file = File(libc::makedev(0, 0x1f), 1034);
        assert_eq!(range(line, file), Some(0x7f0000000000..0x7f0000001000));
        assert_eq!(range(line, File(file.0, 1)), None);
        assert_eq!(range(b"", file), None);
    }

    #[test]
    fn a_thread_that_sleeps_elsewhere_is_past_its_call() {
        let tgid = std::process::id() as i32;
        let (tell, told) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            let _ = wait.recv();
        });
        let made = |nr| Made {
            tgid,
            tid: told.recv().unwrap(),
            nr,
        };
        let other = made(libc::SYS_mmap);
        let same = Made {
            nr: libc::SYS_futex,
            ..other
        };
        while other.state() != State::Over {
            std::thread::yield_now();
        }
        assert_eq!(same.state(), State::Asleep);
        let pending = Pending::default();
        pending.add(same);
        pending.wait(same.tid);
        assert_eq!(*lock(&pending.0), [same], "nobody waits for itself");
        pending.wait(other.tgid - 1);
        assert!(lock(&pending.0).is_empty(), "waited for, and no more");
        drop(go);
        thread.join().unwrap();
        assert_eq!(same.state(), State::Over);
    }
}
