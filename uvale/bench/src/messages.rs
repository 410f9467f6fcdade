//! What programs use that have no packets: 60-byte messages through a socketpair of two processes, and through a
//! channel of two threads.

use std::hint::black_box;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::{Sender, TryRecvError, TrySendError, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::board::{SLOTS, Stage};

/// Bytes of a message.
pub const LEN: usize = 60;
/// Messages between two looks at whether the worker is to stop.
pub const ROUND: u32 = 64;

/// Sends messages to the socket that is standard output, one call each, as long as there is room.
pub fn send_all(stage: &Stage<'_>) -> Result<(), String> {
    let (socket, message) = (std::io::stdout(), [1; LEN]);
    stage.perform(|running| {
        stage.count(running, || {
            let one = || send(socket.as_fd(), &message, SendFlags::DONTWAIT);
            several(|| one().map(|_| ()), "send")
        })
    })
}

/// Receives them.
pub fn receive_all(stage: &Stage<'_>) -> Result<(), String> {
    let socket = std::io::stdout();
    stage.perform(|running| {
        let mut message = [0; LEN];
        stage.count(running, || {
            let n = several(
                || recv(socket.as_fd(), &mut message[..], RecvFlags::DONTWAIT).map(|_| ()),
                "recv",
            );
            black_box(message);
            n
        })
    })
}

fn several(mut one: impl FnMut() -> Result<(), Errno>, what: &str) -> Result<u32, String> {
    for n in 0..ROUND {
        match one() {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => return Ok(n),
            Err(e) => return Err(format!("{what}: {e}")),
        }
    }
    Ok(ROUND)
}

/// Messages from a thread on that processor to this one, through a channel with room for as many as a ring has.
pub fn channel(stage: &Stage<'_>, sender_cpu: usize) -> Result<(), String> {
    let (sender, receiver) = bounded::<[u8; LEN]>(SLOTS);
    let sending = Arc::new(AtomicBool::new(false));
    let theirs = sending.clone();
    std::thread::spawn(move || {
        // On another processor it would only be slower.
        let _ = super::cpus::pin(sender_cpu);
        send_messages(&sender, &theirs);
    });
    stage.perform(|running| {
        sending.store(true, Relaxed);
        let result = stage.count(running, || match receiver.try_recv() {
            Ok(message) => {
                black_box(message);
                Ok(1)
            }
            Err(TryRecvError::Empty) => {
                std::hint::spin_loop();
                Ok(0)
            }
            Err(TryRecvError::Disconnected) => Err("the sender has gone".into()),
        });
        sending.store(false, Relaxed);
        result
    })
}

/// Until the receiver has gone; the thread ends with the process anyway.
fn send_messages(sender: &Sender<[u8; LEN]>, sending: &AtomicBool) {
    loop {
        if !sending.load(Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        }
        match sender.try_send([1; LEN]) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => std::hint::spin_loop(),
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}
