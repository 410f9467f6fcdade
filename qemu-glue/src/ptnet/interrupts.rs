//! Interrupts of a guest: eventfds that QEMU has given us, one for each vector.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event_fd::EventFd;

/// By vector: that of a ring has the number of its entry in the CSB.
pub struct Interrupts {
    vectors: Mutex<Vec<Option<EventFd>>>,
    raised: AtomicU64,
}

impl Interrupts {
    /// `n` vectors that nobody hears of.
    pub fn new(n: usize) -> Self {
        let vectors = std::iter::repeat_with(|| None).take(n).collect();
        Self {
            vectors: Mutex::new(vectors),
            raised: AtomicU64::new(0),
        }
    }

    fn vectors(&self) -> MutexGuard<'_, Vec<Option<EventFd>>> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Interrupts since the beginning.
    pub fn raised(&self) -> u64 {
        self.raised.load(Relaxed)
    }

    /// Raises `vector`, if somebody hears of it. Never blocks.
    pub fn raise(&self, vector: usize) {
        if let Some(Some(event)) = self.vectors().get(vector) {
            event.signal();
            self.raised.fetch_add(1, Relaxed);
        }
    }

    /// Vectors from `start` on have these eventfds from now on.
    ///
    /// # Errors
    /// A sentence, and nothing has changed: there are not so many vectors, or one is no eventfd.
    pub fn set(&self, start: usize, events: Vec<File>) -> Result<(), String> {
        let events: Vec<EventFd> = events
            .into_iter()
            .map(EventFd::new)
            .collect::<Result<_, _>>()?;
        let mut vectors = self.vectors();
        for (vector, event) in some(&mut vectors, start, events.len())?
            .iter_mut()
            .zip(events)
        {
            *vector = Some(event);
        }
        Ok(())
    }

    /// Nobody hears of `count` vectors from `start` on any more.
    pub fn unset(&self, start: usize, count: usize) -> Result<(), String> {
        some(&mut self.vectors(), start, count)?.fill_with(|| None);
        Ok(())
    }

    /// Nor of any.
    pub fn clear(&self) {
        self.vectors().fill_with(|| None);
    }
}

fn some<T>(vectors: &mut [T], start: usize, count: usize) -> Result<&mut [T], String> {
    let most = vectors.len();
    let end = start.checked_add(count);
    let some = end.and_then(|end| vectors.get_mut(start..end));
    some.ok_or_else(|| format!("{count} interrupts from {start} on: there are {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    /// `None`: nothing has been counted.
    fn count(event: &File) -> Option<u64> {
        let mut bytes = [0; 8];
        let n = rustix::io::read(event, &mut bytes).ok()?;
        (n == 8).then(|| u64::from_ne_bytes(bytes))
    }

    #[test]
    fn a_vector_is_raised_while_somebody_hears_of_it() {
        let event =
            || File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
        let interrupts = Interrupts::new(2);
        interrupts.raise(0);
        interrupts.raise(9);
        let (a, b) = (event(), event());
        let given = vec![a.try_clone().unwrap(), b.try_clone().unwrap()];
        interrupts.set(0, given).unwrap();
        interrupts.raise(1);
        interrupts.raise(1);
        // Full, and yet it does not wait.
        rustix::io::write(&a, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        interrupts.raise(0);
        assert_eq!([count(&a), count(&b)], [Some(u64::MAX), Some(2)]);
        assert_eq!(interrupts.raised(), 3);
        for (start, n) in [(1, 2), (2, 1), (usize::MAX, 2)] {
            let events = (0..n).map(|_| event()).collect();
            assert!(interrupts.set(start, events).is_err() && interrupts.unset(start, n).is_err());
        }
        let mixed = vec![event(), File::open("/").unwrap()];
        assert!(interrupts.set(0, mixed).is_err());
        interrupts.unset(1, 1).unwrap();
        interrupts.raise(1);
        assert_eq!(count(&b), None);
        assert_eq!(interrupts.raised(), 3);
    }
}
