//! The threads: those that take calls and answer them, and the one that watches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::*;

use rustix::io::Errno;
use uvale_link::session::Session;
use uvale_system::sys::{memory_is_of, serve_others};

use crate::calls::{self, Buffers, Call};
use crate::kernel::{Answer, Listener, Notification};
use crate::supervisor::{Supervisor, World};
use crate::swapped::Made;
use crate::watch::Event;

/// Threads that wait for calls when nothing goes on.
const WAITING: usize = 2;

/// Serves whoever calls by `listener`, with threads of their own, until nobody is left. `fetches` as of
/// [`Supervisor::new`].
pub fn start(
    listener: Listener,
    world: World,
    session: Option<Arc<Session>>,
    fetches: bool,
) -> Result<Arc<Supervisor>, Errno> {
    serve_others();
    let supervisor = Supervisor::new(listener, world, session, fetches, add_thread)?;
    let supervisor = Arc::new(supervisor);
    let watching = supervisor.clone();
    spawn("watch", move || watch(&watching))?;
    for _ in 0..WAITING {
        add_thread(&supervisor)?;
    }
    Ok(supervisor)
}

fn add_thread(supervisor: &Arc<Supervisor>) -> Result<(), Errno> {
    let serving = supervisor.clone();
    supervisor.threads.fetch_add(1, Relaxed);
    spawn("serve", move || serve(&serving)).inspect_err(|_| {
        supervisor.threads.fetch_sub(1, Relaxed);
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(run);
    spawned
        .map(drop)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::AGAIN))
}

fn serve(supervisor: &Arc<Supervisor>) {
    let mut buffers = Buffers::default();
    while supervisor.waiting.fetch_add(1, AcqRel) < WAITING {
        let got = supervisor.listener.receive();
        supervisor.waiting.fetch_sub(1, AcqRel);
        match got {
            Ok(notification) => answer(supervisor, &notification, &mut buffers),
            // Its caller was interrupted, or there is none any more: then nobody waits for this thread.
            Err(Errno::NOENT | Errno::INTR) => {}
            Err(_) => return,
        }
    }
    supervisor.waiting.fetch_sub(1, AcqRel);
    supervisor.threads.fetch_sub(1, Relaxed);
}

fn answer(supervisor: &Arc<Supervisor>, notification: &Notification, buffers: &mut Buffers) {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        found(supervisor, notification, buffers)
    }));
    let answer = answer.unwrap_or(Answer::Error(Errno::IO));
    let sent = supervisor.listener.answer(notification.id, answer);
    // Its caller has been killed, or, where the kernel knows no better, a signal has come.
    if sent == Err(Errno::NOENT) && !supervisor.listener.is_patient() && answer != Answer::Continue
    {
        let process = supervisor
            .processes
            .of(notification.pid.cast_signed(), |_| {});
        if let Ok(process) = process {
            process.did_not_hear(notification, answer);
        }
    }
}

fn found(
    supervisor: &Arc<Supervisor>,
    notification: &Notification,
    buffers: &mut Buffers,
) -> Answer {
    let tid = notification.pid.cast_signed();
    let added = |process: &Arc<_>| supervisor.watch.add_process(process);
    let Ok(process) = supervisor.processes.of(tid, added) else {
        return Answer::Continue;
    };
    if !supervisor.listener.is_patient()
        && let Some(answer) = process.take_unsent(notification)
    {
        return answer;
    }
    let call = Call {
        supervisor,
        process: &process,
        tid,
        id: notification.id,
        args: notification.args,
        made: Made {
            tgid: process.tgid,
            tid,
            nr: notification.nr.into(),
        },
    };
    let _of = memory_is_of(process.tgid);
    calls::answer(&call, notification.nr.into(), buffers)
}

fn watch(supervisor: &Arc<Supervisor>) {
    let mut happened = |event| match event {
        Event::Ended(tgid) => supervisor.process_ended(tgid),
        Event::Woken(number) | Event::Closed(number) | Event::Lost(number) => {
            let Some(of) = supervisor.description(number) else {
                return;
            };
            match event {
                Event::Closed(_) => supervisor.closed(&of),
                Event::Lost(_) => {
                    supervisor.watch.remove(&of);
                    of.lose();
                }
                _ => supervisor.woken(&of),
            }
        }
    };
    // Nothing but a fault of this program makes it fail; a panic is answered by going on.
    while let Ok(Ok(())) | Err(_) =
        catch_unwind(AssertUnwindSafe(|| supervisor.watch.wait(&mut happened)))
    {}
}
