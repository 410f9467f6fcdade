//! poll and select: what netmap's poll does for the descriptors of ours among those that are waited for. Then the
//! kernel waits.

use rustix::io::Errno;
use uvale_engine::Events;
use uvale_request::UserMemory;

use super::{Buffers, Call, fails};
use crate::kernel::Answer;
use crate::waits::{IN, OUT, WRONG, Wait};

/// Descriptors that are looked at in one call, at most; those beyond are the kernel's affair.
const MOST: u64 = 1 << 16;
const POLLFD: usize = size_of::<libc::pollfd>();
const WORD: usize = size_of::<u64>();

/// poll(2).
#[cfg(target_arch = "x86_64")]
pub fn poll(call: &Call<'_>, buffers: &mut Buffers) -> Answer {
    polls(call, buffers, &|| call.number(2) != 0)
}

/// ppoll(2).
pub fn ppoll(call: &Call<'_>, buffers: &mut Buffers) -> Answer {
    polls(call, buffers, &|| sleeps(call, call.args[2]))
}

/// A timeout in memory, seconds and a fraction: not over at once?
pub fn sleeps(call: &Call<'_>, addr: u64) -> bool {
    addr == 0 || call.read::<16>(addr) != Some([0; 16])
}

fn polls(call: &Call<'_>, buffers: &mut Buffers, sleeps: &dyn Fn() -> bool) -> Answer {
    let (addr, n) = (call.args[0], call.args[1].min(MOST) as usize);
    let Buffers { bytes, ours } = buffers;
    bytes.resize(n * POLLFD, 0);
    if !call.memory().read(addr, bytes) {
        return Answer::Continue;
    }
    ours.clear();
    for (i, entry) in bytes.chunks_exact(POLLFD).enumerate() {
        if let Some(of) = call.find(number(entry)) {
            ours.push((i, of));
        }
    }
    if ours.is_empty() || !call.is_waiting() {
        call.supervisor.refresh();
        return Answer::Continue;
    }
    let sleeps = sleeps();
    let (mut is_wrong, mut is_overstated) = (false, false);
    for (i, of) in &*ours {
        let entry = &bytes[i * POLLFD..][..POLLFD];
        of.is_at(call.process.place(number(entry)));
        let events = Events::from_ne_bytes([entry[4], entry[5]]);
        let wait = Wait {
            events,
            edges: false,
            sleeps,
        };
        let found = call.look(of, wait);
        let revents = found.events & (events | WRONG);
        bytes[i * POLLFD + 6..][..2].copy_from_slice(&revents.to_ne_bytes());
        is_wrong |= revents & WRONG != 0;
        is_overstated |= found.is_overstated;
    }
    if is_wrong {
        // The kernel has no such word for a socket: this is the answer, as far as it is known here.
        return wrong(call, addr, bytes, ours.iter().map(|(i, _)| *i));
    }
    if is_overstated {
        call.supervisor.hold();
    }
    Answer::Continue
}

fn number(entry: &[u8]) -> i32 {
    i32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]])
}

/// Writes the answers of a poll; those of descriptors that are not ours are none.
fn wrong(
    call: &Call<'_>,
    addr: u64,
    bytes: &mut [u8],
    ours: impl Iterator<Item = usize>,
) -> Answer {
    let (mut next, mut ready) = (ours.peekable(), 0);
    for (i, entry) in bytes.chunks_exact_mut(POLLFD).enumerate() {
        if next.next_if_eq(&i).is_none() {
            entry[6..].fill(0);
        }
        ready += i64::from(entry[6..] != [0, 0]);
    }
    match call.memory().write(addr, bytes) {
        true => Answer::Value(ready),
        false => fails(Errno::FAULT),
    }
}

/// select(2), pselect6(2).
pub fn select(call: &Call<'_>, buffers: &mut Buffers) -> Answer {
    let n = call.number(0).clamp(0, MOST as i32) as usize;
    let len = n.div_ceil(64) * WORD;
    let Buffers { bytes, ours } = buffers;
    bytes.clear();
    bytes.resize(3 * len, 0);
    for (i, set) in bytes.chunks_exact_mut(len.max(1)).enumerate() {
        let addr = call.args[1 + i];
        if addr != 0 && !call.memory().read(addr, set) {
            return Answer::Continue;
        }
    }
    ours.clear();
    for fd in 0..n {
        let is_in = (0..3).any(|i| bit(&bytes[i * len..][..len], fd));
        if is_in && let Some(of) = call.find(fd as i32) {
            ours.push((fd, of));
        }
    }
    if ours.is_empty() || !call.is_waiting() {
        call.supervisor.refresh();
        return Answer::Continue;
    }
    let sleeps = sleeps(call, call.args[4]);
    let mut answer = vec![0u8; 3 * len];
    let (mut is_wrong, mut is_overstated, mut ready) = (false, false, 0);
    for (fd, of) in &*ours {
        of.is_at(call.process.place(*fd as i32));
        let is_wanted = |i: usize| bit(&bytes[i * len..][..len], *fd);
        let wants = |i, which: Events| if is_wanted(i) { which } else { 0 };
        let wait = Wait {
            events: wants(0, libc::POLLIN) | wants(1, libc::POLLOUT),
            edges: false,
            sleeps,
        };
        let found = call.look(of, wait);
        is_wrong |= found.events & WRONG != 0;
        is_overstated |= found.is_overstated;
        // As in the kernel: what is in error is readable and writable.
        for (i, which) in [(0, IN | WRONG), (1, OUT | libc::POLLERR)] {
            if is_wanted(i) && found.events & which != 0 {
                answer[i * len + fd / 8] |= 1 << (fd % 8);
                ready += 1;
            }
        }
    }
    if is_wrong && ready > 0 {
        for (i, set) in answer.chunks_exact(len).enumerate() {
            let addr = call.args[1 + i];
            if addr != 0 && !call.memory().write(addr, set) {
                return fails(Errno::FAULT);
            }
        }
        return Answer::Value(ready);
    }
    if is_overstated {
        call.supervisor.hold();
    }
    Answer::Continue
}

fn bit(set: &[u8], i: usize) -> bool {
    set.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 != 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bits_of_a_set() {
        let set = [0b1000_0001, 2];
        let of: Vec<_> = (0..20).filter(|i| super::bit(&set, *i)).collect();
        assert_eq!(of, [0, 7, 9]);
    }
}
