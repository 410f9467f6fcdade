//! The processes that are served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use rustix::io::Errno;
use uvale_system::who::read_start;

use crate::description::Description;
use crate::locks::{lock, read, write};
use crate::process::Process;

/// All of them.
#[derive(Default)]
pub struct Processes {
    by_thread: RwLock<HashMap<i32, Arc<Process>>>,
    all: Mutex<HashMap<i32, Arc<Process>>>,
}

impl Processes {
    /// The process of thread `tid`; `new` is told of one that was not known.
    pub fn of(&self, tid: i32, new: impl FnOnce(&Arc<Process>)) -> Result<Arc<Process>, Errno> {
        if let Some(process) = read(&self.by_thread).get(&tid) {
            return Ok(process.clone());
        }
        let tgid = group_of(tid).ok_or(Errno::SRCH)?;
        let mut all = lock(&self.all);
        let process = match all.get(&tgid) {
            Some(process) => process.clone(),
            None => {
                let process = match Process::new(tgid) {
                    Err(Errno::MFILE | Errno::NFILE) => {
                        drop(all);
                        self.forget_idle();
                        all = lock(&self.all);
                        Process::new(tgid)
                    }
                    process => process,
                };
                let process = match process {
                    // What it opens is refused with a sentence, unless there is room by then.
                    Err(Errno::MFILE | Errno::NFILE) => {
                        return Ok(Arc::new(Process::unwatched(tgid)));
                    }
                    process => Arc::new(process?),
                };
                all.insert(tgid, process.clone());
                new(&process);
                process
            }
        };
        drop(all);
        write(&self.by_thread).insert(tid, process.clone());
        Ok(process)
    }

    /// Lets go of processes for which nothing is kept: they are found again when they call.
    fn forget_idle(&self) {
        let mut all = lock(&self.all);
        write(&self.by_thread).retain(|_, process| !process.is_idle());
        // Whoever is served now has a share.
        all.retain(|_, process| Arc::strong_count(process) > 1 || !process.is_idle());
    }

    /// A number of a thread that has ended may be another process's soon.
    pub fn forget_threads(&self) {
        write(&self.by_thread).clear();
    }

    /// Processes that have ended while something was swapped in them: nothing is kept for them from now on. With
    /// `every` those that have ended at all. Each is told to `each`.
    pub fn reap(&self, every: bool, each: impl Fn(&Process)) {
        let has_ended =
            |process: &&Arc<Process>| (every || process.has_swapped()) && process.has_ended();
        let all = lock(&self.all);
        let ended: Vec<_> = all.values().filter(has_ended).cloned().collect();
        drop(all);
        for process in ended {
            process.ended();
            each(&process);
        }
    }

    /// No process has that description any more.
    pub fn forget_description(&self, gone: &Arc<Description>) {
        let all = lock(&self.all);
        all.values().for_each(|p| p.forget_description(gone));
    }

    /// What is in epoll sets has changed.
    pub fn forget_sets(&self) {
        lock(&self.all).values().for_each(|p| p.forget_sets());
    }

    /// A process has ended.
    pub fn ended(&self, tgid: i32) -> Option<Arc<Process>> {
        let process = lock(&self.all).remove(&tgid)?;
        write(&self.by_thread).retain(|_, p| p.tgid != tgid);
        process.ended();
        Some(process)
    }
}

/// The process that a thread belongs to.
fn group_of(tid: i32) -> Option<i32> {
    let status = read_start(&format!("/proc/{tid}/status"))?;
    let line = status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_a_process() {
        let own = std::process::id() as i32;
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(group_of(tid), Some(own));
        assert_eq!(group_of(own), Some(own));
        assert_eq!(group_of(-1), None);
        let all = Processes::default();
        let process = all.of(tid, |p| assert_eq!(p.tgid, own)).unwrap();
        assert!(Arc::ptr_eq(
            &process,
            &all.of(own, |_| panic!("known")).unwrap()
        ));
    }
}
