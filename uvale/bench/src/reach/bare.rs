//! The kernel's part alone: a call that is handed over and answered, and one that is trapped.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use uvale_link::channel;
use uvale_reach::{Answer, Listener};

use super::raw;
use crate::board::Stage;

/// Makes calls that are handed over to the worker at the other end of standard output.
pub fn call(stage: &Stage<'_>) -> Result<(), String> {
    let listener = raw::hand_over().map_err(|e| format!("no filter that hands calls over: {e}"))?;
    channel::send_bytes(
        std::io::stdout().as_fd(),
        b"L",
        &[listener.as_fd()],
        SendFlags::empty(),
    )
    .map_err(|e| format!("the listener cannot be sent: {e}"))?;
    drop(listener);
    stage.perform(|running| stage.count(running, || raw::nobodys_call().map(|()| 1)))
}

/// Answers whoever sends its listener to standard output, in a thread that ends with this process.
pub fn answer(stage: &Stage<'_>) -> Result<(), String> {
    std::thread::spawn(answer_all);
    stage.perform(|running| {
        while running.is_set() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}

fn answer_all() -> Option<()> {
    let packet = channel::receive(std::io::stdout().as_fd(), RecvFlags::empty()).ok()??;
    let listener = packet.fds.into_iter().next()?;
    let listener = Listener::new(OwnedFd::from(listener), false);
    loop {
        let called = listener.receive().ok()?;
        let answer = Answer::Value(raw::ANSWER);
        listener.answer(called.id, answer).ok()?;
    }
}

/// Makes calls that are trapped.
pub fn trap(stage: &Stage<'_>) -> Result<(), String> {
    raw::trap_calls().map_err(|e| format!("the kernel traps no calls: {e}"))?;
    stage.perform(|running| stage.count(running, || raw::trapped_call().map(|()| 1)))
}
