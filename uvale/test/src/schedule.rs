//! Children side by side, as many at a time as is wanted.
//!
//! | file | what |
//! |---|---|
//! | `child.rs` | one child: fed, heard, ended |
//! | `stop.rs` | signals; what children leave behind |

mod child;
mod stop;

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use rustix::event::{PollFd, PollFlags, poll};

pub use child::{Ended, How, Job};
pub use stop::Stop;

/// Runs `count` jobs, `width` at a time. `job` makes one when its turn comes; `done` hears of each as it ends, in this
/// thread, and says whether others are to be started. Those that never were are not heard of.
///
/// # Errors
/// A sentence, if no threads can be had.
pub fn all(
    count: usize,
    width: usize,
    stop: &Stop,
    job: &(dyn Fn(usize) -> Result<Job, String> + Sync),
    done: &mut dyn FnMut(usize, Ended) -> bool,
) -> Result<(), String> {
    if stop.has_come() {
        return Ok(());
    }
    let fail = |e: std::io::Error| {
        format!(
            "cannot start a thread for a case: {}",
            uvale_tools::output::plain(&e)
        )
    };
    let (tells, hears) = channel();
    let (mut wakes, woken) = std::io::pipe().map_err(fail)?;
    let outcome = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for worker in 0..width.min(count) {
            let (gives, takes) = channel::<usize>();
            let tells = tells.clone();
            let mut woken = woken.try_clone().map_err(fail)?;
            // until nothing more is given to it
            let work = move || {
                for index in takes {
                    let ended = match job(index) {
                        Ok(job) => child::run(job, stop),
                        Err(why) => Ended::not_started(why),
                    };
                    // the receiver lives until all of these have ended
                    let _ = tells.send((worker, index, ended));
                    let _ = woken.write_all(&[0]);
                }
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, work)
                .map_err(fail)?;
            let _ = gives.send(worker);
            workers.push(Some(gives));
        }
        // the pipe ends with the last worker
        drop((tells, woken));
        let mut next = workers.len();
        let mut is_enough = false;
        loop {
            let interrupts = stop.interrupts();
            let mut fds = [
                PollFd::new(&wakes, PollFlags::IN),
                PollFd::new(&interrupts, PollFlags::IN),
            ];
            let _ = poll(&mut fds, None);
            let has_ended = !fds[0].revents().is_empty();
            if !fds[1].revents().is_empty() {
                stop.note();
            }
            let is_last = has_ended && matches!(wakes.read(&mut [0; 64]), Ok(0));
            while let Ok((worker, index, ended)) = hears.try_recv() {
                if !matches!(ended.how, How::Exited(status) if status.code().is_some()) {
                    stop.children.sweep();
                }
                is_enough |= !done(index, ended) || stop.has_come();
                match &workers[worker] {
                    Some(gives) if !is_enough && next < count => {
                        let _ = gives.send(next);
                        next += 1;
                    }
                    _ => workers[worker] = None,
                }
            }
            if is_last {
                return Ok(());
            }
        }
    });
    stop.children.sweep();
    outcome
}
