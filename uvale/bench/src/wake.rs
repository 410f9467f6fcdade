//! How long a receiver that blocks in poll takes to wake up: over VALE ports and, for comparison,
//! over a bare socketpair.
//!
//! *Ping-pong* is two processes that answer each other as fast as they can, both blocking in poll (or, for the suite
//! `latency`, spinning).
//! *Asleep* is one that sends its clock after a pause in which the receiver is sure to have gone to
//! sleep in the kernel, and one that compares it with its own clock when poll returns.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, Timespec};
use serde::{Deserialize, Serialize};

use super::board::Stage;
use super::nic::socket;
use super::port::Port;
use super::ring::Ring;

/// How the two reach each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Way {
    /// a VALE port or one end of a pipe; own address and the peer's; a loop of NIOCRXSYNC (`spins`), or poll
    Netmap {
        port: String,
        mac: u64,
        peer: u64,
        spins: bool,
    },
    /// an AF_PACKET socket on that interface
    Packet(String),
    /// a socket that is this process's standard output
    Socket,
}

/// Pause before a packet to a sleeper: longer than any spin before a sleep.
const PAUSE_NS: u64 = 300_000;
/// Longest wait in one poll, after which the worker looks whether it is to stop.
const TIMEOUT_MS: i32 = 100;
/// Where in the packet the clock lies (word 2: behind the Ethernet header).
pub const STAMP: usize = 2;

/// Nanoseconds since the machine started.
pub fn now() -> u64 {
    let t = rustix::time::clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// One side of a connection over which 60-byte messages with a number in them go.
enum Link<'a> {
    Netmap {
        port: &'a Port,
        tx: Ring<'a>,
        rx: Ring<'a>,
        spins: bool,
    },
    Socket(BorrowedFd<'a>),
}

impl Link<'_> {
    fn send(&mut self, stamp: u64) -> Result<(), String> {
        match self {
            Self::Netmap { port, tx, .. } => {
                if tx.space() > 0 {
                    if let Some(words) = tx.packet(tx.head()) {
                        words[STAMP].store(stamp, Relaxed);
                    }
                    tx.fill(1, 60);
                }
                port.txsync()
            }
            Self::Socket(fd) => {
                let mut message = [0u8; 60];
                message[STAMP * 8..][..8].copy_from_slice(&stamp.to_ne_bytes());
                rustix::net::send(*fd, &message, SendFlags::empty())
                    .map(|_| ())
                    .map_err(|e| format!("send: {e}"))
            }
        }
    }

    /// Blocks in poll, unless it spins; the number in the last message, or `None` if none came in time.
    fn receive(&mut self) -> Result<Option<u64>, String> {
        match self {
            Self::Netmap {
                port, rx, spins, ..
            } => {
                if *spins {
                    port.rxsync()?;
                } else {
                    port.wait(TIMEOUT_MS)?;
                }
                // What came before it is of an earlier run, or tells where a port is.
                let stamp = rx.space().checked_sub(1).and_then(|more| {
                    let last = (rx.head() + more) % rx.num_slots();
                    rx.packet(last).map(|words| words[STAMP].load(Relaxed))
                });
                rx.drain();
                Ok(stamp)
            }
            Self::Socket(fd) => {
                let mut set = [PollFd::new(fd, PollFlags::IN)];
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: i64::from(TIMEOUT_MS) * 1_000_000,
                };
                match rustix::event::poll(&mut set, Some(&timeout)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
                    Ok(_) => {}
                    Err(e) => return Err(format!("poll: {e}")),
                }
                let mut message = [0u8; 64];
                match rustix::net::recv(*fd, &mut message, RecvFlags::DONTWAIT) {
                    Ok((_, n)) if n >= 24 => {
                        let stamp = message[STAMP * 8..][..8].try_into().unwrap_or_default();
                        Ok(Some(u64::from_ne_bytes(stamp)))
                    }
                    // A peer that has gone is the conductor's to notice.
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
                    Err(e) => Err(format!("recv: {e}")),
                }
            }
        }
    }
}

fn with_link(
    way: &Way,
    part: impl FnOnce(&mut Link<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match way {
        Way::Netmap {
            port,
            mac,
            peer,
            spins,
        } => {
            let port = Port::open(port)?;
            port.introduce(&[*mac])?;
            let (tx, rx) = (port.tx()?, port.rx()?);
            tx.address(&[(*peer, *mac)]);
            part(&mut Link::Netmap {
                port: &port,
                tx,
                rx,
                spins: *spins,
            })
        }
        Way::Packet(interface) => {
            let socket = socket::open(interface, true)?;
            part(&mut Link::Socket(socket.as_fd()))
        }
        Way::Socket => part(&mut Link::Socket(std::io::stdout().as_fd())),
    }
}

/// Sends and waits for the answer; counts and times the round trips.
pub fn ping(stage: &Stage<'_>, way: &Way) -> Result<(), String> {
    with_link(way, |link| {
        let me = stage.me();
        stage.perform(|running| {
            // What was left over from the run before is not an answer to the next message.
            while running.is_set() {
                let start = now();
                link.send(start)?;
                while running.is_set() {
                    if link.receive()? == Some(start) {
                        me.latencies.add(now() - start);
                        me.count.store(me.count.load(Relaxed) + 1, Release);
                        break;
                    }
                }
            }
            Ok(())
        })
    })
}

/// Answers with the number that came.
pub fn pong(stage: &Stage<'_>, way: &Way) -> Result<(), String> {
    with_link(way, |link| {
        stage.perform(|running| {
            while running.is_set() {
                if let Some(stamp) = link.receive()? {
                    link.send(stamp)?;
                }
            }
            Ok(())
        })
    })
}

/// Sends the time, and stays awake in between so that only the receiver has to wake up.
pub fn pace(stage: &Stage<'_>, way: &Way) -> Result<(), String> {
    with_link(way, |link| {
        let me = stage.me();
        stage.perform(|running| {
            while running.is_set() {
                let until = now() + PAUSE_NS;
                while now() < until {
                    std::hint::spin_loop();
                }
                link.send(now())?;
                me.count.store(me.count.load(Acquire) + 1, Release);
            }
            Ok(())
        })
    })
}

/// Blocks in poll and says how old the time in each message is.
pub fn wake(stage: &Stage<'_>, way: &Way) -> Result<(), String> {
    with_link(way, |link| {
        let me = stage.me();
        stage.perform(|running| {
            while running.is_set() {
                if let Some(stamp) = link.receive()? {
                    me.latencies.add(now().saturating_sub(stamp));
                }
            }
            Ok(())
        })
    })
}
