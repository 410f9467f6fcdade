//! The data that real epoll instances carry for descriptors of ours.
//!
//! Programs put pointers and small numbers there. A cookie is neither: its top 16 bits make an address no
//! processor accepts, 24 bits are random per process, 24 say what it stands for.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::os::fd::RawFd;

const TOP: u64 = 0x5bd3 << 48;
const VALUE: u32 = (1 << 23) - 1;
const LIVENESS: u32 = 1 << 23;

static PREFIX: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a cookie stands for.
#[derive(PartialEq, Debug)]
pub enum Meaning {
    Interest(u32),
    Liveness(RawFd),
}

fn prefix() -> u64 {
    match PREFIX.load(Relaxed) {
        0 => {
            // SAFETY: AT_RANDOM is the address of 16 random bytes that the kernel gives every process.
            let random = unsafe { (libc::getauxval(libc::AT_RANDOM) as *const u64).as_ref() };
            let new = TOP | (random.copied().unwrap_or(0x9e37_79b9) & 0xff_ffff) << 24;
            PREFIX.store(new, Relaxed);
            new
        }
        p => p,
    }
}

/// A new interest's number.
pub fn new_id() -> u32 {
    NEXT.fetch_add(1, Relaxed) & VALUE
}

pub fn interest(id: u32) -> u64 {
    prefix() | u64::from(id & VALUE)
}

/// For the descriptor that hangs up when the daemon is gone.
pub fn liveness(fd: RawFd) -> u64 {
    prefix() | u64::from(LIVENESS | fd as u32 & VALUE)
}

/// `None`: the program's own data.
pub fn read(data: u64) -> Option<Meaning> {
    if data & !0xff_ffff != prefix() {
        return None;
    }
    let value = data as u32 & VALUE;
    Some(if data as u32 & LIVENESS != 0 {
        Meaning::Liveness(value as RawFd)
    } else {
        Meaning::Interest(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_told_from_data() {
        assert_eq!(read(interest(77)), Some(Meaning::Interest(77)));
        assert_eq!(read(liveness(1023)), Some(Meaning::Liveness(1023)));
        let on_stack = 0u8;
        for data in [0, 5, u64::MAX, &raw const on_stack as u64, 7 << 32 | 9] {
            assert_eq!(read(data), None);
        }
    }
}
