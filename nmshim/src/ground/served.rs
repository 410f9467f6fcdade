//! Which call `syscall(2)` serves in a thread: a library that interposes as well makes its calls through `syscall`,
//! and they come back to us.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// A thread's call. Read and written by the thread itself and by handlers that interrupt it.
#[repr(C)]
pub struct Served {
    /// where on the stack it is served
    at: AtomicUsize,
    /// one more than its number; 0: none
    number: AtomicU32,
}

impl Served {
    /// Serves the system call `nr` with `serve`, or with `plain` if this thread is in the middle of serving that very
    /// call. What a jump has left behind lies above on the stack.
    #[inline(always)]
    pub fn serve(&self, nr: u32, serve: impl FnOnce() -> i64, plain: impl FnOnce() -> i64) -> i64 {
        let (here, mark) = (core::ptr::from_ref(&nr) as usize, nr.wrapping_add(1));
        let outer = (self.number.load(Relaxed), self.at.load(Relaxed));
        if outer.0 == mark && here < outer.1 {
            return plain();
        }
        self.at.store(here, Relaxed);
        self.number.store(mark, Relaxed);
        let result = serve();
        self.number.store(outer.0, Relaxed);
        self.at.store(outer.1, Relaxed);
        result
    }

    /// Runs `handler`, whose calls are none of those that it interrupts. Not to come back from it leaves none served.
    pub fn aside(&self, handler: impl FnOnce()) {
        let number = self.number.swap(0, Relaxed);
        handler();
        self.number.store(number, Relaxed);
    }
}
