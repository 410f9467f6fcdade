//! Extra buffers: handed out by number, and chained through their first words by the process that
//! has asked for them. So it is that process' memory they count as, and however many there are, the
//! daemon touches none.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::shm::RegionMap;

/// Buffers that a REGISTER has got and that are to be chained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// where in the region the head of the list is (`ni_bufs_head`)
    pub head_at: u64,
    /// first buffer and number of buffers
    pub ranges: Vec<(u32, u32)>,
}

impl Extra {
    /// One buffer more; they come in rising order.
    pub fn push(&mut self, buffer: u32) {
        match self.ranges.last_mut() {
            Some((first, n)) if *first + *n == buffer => *n += 1,
            _ => self.ranges.push((buffer, 1)),
        }
    }

    /// The buffers.
    pub fn buffers(&self) -> impl Iterator<Item = u32> {
        self.ranges
            .iter()
            .flat_map(|&(first, n)| first..first.saturating_add(n))
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|(_, n)| n).sum()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// netmap_extra_alloc's list: each buffer names the one before it, 0 ends the list. Numbers
    /// that are none of the region's buffers are left out.
    pub fn chain(&self, region: &RegionMap) {
        let word = |at: usize| region.map.at::<AtomicU32>(at);
        let pool = &region.pool;
        let mut head = 0;
        for &(first, n) in &self.ranges {
            let end = first.saturating_add(n).min(pool.count());
            for buffer in (first..end).filter(|b| pool.is_valid(*b)) {
                if let Some(next) = word(pool.offset(buffer)) {
                    next.store(head, Relaxed);
                    head = buffer;
                }
            }
        }
        if let Some(list) = usize::try_from(self.head_at).ok().and_then(word) {
            list.store(head, Relaxed);
        }
    }
}
