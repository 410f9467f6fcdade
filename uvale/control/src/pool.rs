//! One object pool of an allocator: sizing by clusters, and the bitmap of free objects.

use rustix::io::Errno;

use super::{PoolParams, Refusal, Result};

/// Page size that cluster sizes are a multiple of.
pub(super) const PAGE: u32 = 4096;
/// Largest cluster in bytes.
const MAX_CLUSTER: u32 = 1 << 22;
/// Object sizes are rounded up to this many bytes.
const LINE: u32 = 64;

/// What a pool may be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// prefix of the parameters' names, for people ("buf" or "priv_buf")
    pub name: &'static str,
    pub min_size: u32,
    pub max_size: u32,
    pub min_num: u32,
    pub max_num: u32,
}

/// The fewest objects of this size that fill whole pages, if they fit a cluster.
fn entries_of_cluster(size: u32) -> Option<u32> {
    (1..=MAX_CLUSTER / size).find(|n| (n * size).is_multiple_of(PAGE))
}

/// Objects of one size in whole clusters, and which of them are free.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    limits: Limits,
    /// bytes of an object
    size: u32,
    /// objects
    total: u32,
    /// bytes that the pool takes in its region, whole pages
    bytes: u64,
    /// only each `step`th object is ever handed out
    step: u32,
    /// objects from this one on are never handed out
    end: u32,
    /// one bit per object, set when free; empty until the pool has memory
    bitmap: Vec<u32>,
    free: u32,
}

impl Pool {
    /// Sizes a pool: the size is rounded up to whole lines, the number to whole clusters, where a
    /// cluster is the fewest objects that fill whole pages. `EINVAL` outside `limits`.
    pub fn new(limits: Limits, wanted: PoolParams) -> Result<Self> {
        let PoolParams { size, num } = wanted;
        let name = limits.name;
        let bad = |why: String| Refusal::new(Errno::INVAL, why);
        if size >= MAX_CLUSTER {
            return Err(bad(format!(
                "{name}_size={size} is more than netmap supports: set {name}_size to {} at most",
                limits.max_size
            )));
        }
        let size = size.next_multiple_of(LINE);
        if size < limits.min_size || size > limits.max_size {
            return Err(bad(format!(
                "{name}_size={size} is out of range: set {name}_size to {} to {} bytes",
                limits.min_size, limits.max_size
            )));
        }
        if num < limits.min_num || num > limits.max_num {
            return Err(bad(format!(
                "{name}_num={num} is out of range: set {name}_num to {} to {}",
                limits.min_num, limits.max_num
            )));
        }
        let entries = entries_of_cluster(size).ok_or_else(|| {
            let good = (size..=limits.max_size)
                .step_by(LINE as usize)
                .find(|size| entries_of_cluster(*size).is_some());
            bad(format!(
                "{name}_size={size}: no number of these up to 4 MB fills whole pages; set {name}_size to {}",
                good.unwrap_or(limits.max_size)
            ))
        })?;
        let clusters = num.div_ceil(entries);
        Ok(Self {
            limits,
            size,
            total: clusters * entries,
            bytes: u64::from(clusters) * u64::from(entries * size),
            step: 1,
            end: clusters * entries,
            bitmap: Vec::new(),
            free: 0,
        })
    }

    /// A pool in a program's own memory: `total` objects of `size` bytes, one behind the other, in
    /// `bytes` bytes of whole pages. Of these, only those that begin on a multiple of `align`
    /// bytes are handed out, and the last one only if it is `whole`.
    pub fn external(
        name: &'static str,
        PoolParams { size, num: total }: PoolParams,
        bytes: u64,
        align: u32,
        whole: bool,
    ) -> Self {
        let limits = Limits {
            name,
            min_size: size,
            max_size: size,
            min_num: total,
            max_num: total,
        };
        Self {
            limits,
            size,
            total,
            bytes,
            step: align / gcd(size, align),
            end: if whole {
                total
            } else {
                total.saturating_sub(1)
            },
            bitmap: Vec::new(),
            free: 0,
        }
    }

    /// Bytes that the pool takes in its region.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Objects from 0 on that lie in the region as a whole.
    pub fn whole(&self) -> u32 {
        self.end
    }

    /// Bytes of one object.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Objects in the pool.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Free objects.
    pub fn free_count(&self) -> u32 {
        self.free
    }

    /// Prefix of this pool's parameters.
    pub fn name(&self) -> &'static str {
        self.limits.name
    }

    /// Marks all objects from `reserved` on as free, the first `reserved` ones as in use.
    pub fn reset(&mut self, reserved: u32) {
        self.bitmap.clear();
        self.bitmap
            .resize(self.total.div_ceil(32) as usize, u32::MAX);
        let tail = self.total % 32;
        if tail != 0
            && let Some(last) = self.bitmap.last_mut()
        {
            *last = (1 << tail) - 1;
        }
        self.free = self.total;
        if self.step > 1 || self.end < self.total {
            for i in 0..self.total {
                if !self.is_usable(i) {
                    self.bitmap[i as usize / 32] &= !(1 << (i % 32));
                    self.free -= 1;
                }
            }
        }
        for i in 0..reserved.min(self.total) {
            if self.is_free(i) {
                self.bitmap[0] &= !(1 << i);
                self.free -= 1;
            }
        }
    }

    /// Takes the free object with the lowest number. `hint` is the word of the bitmap to start
    /// at and is moved on, so that a row of allocations does not scan from the start each time.
    pub fn take(&mut self, hint: &mut usize) -> Option<u32> {
        while let Some(word) = self.bitmap.get_mut(*hint) {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= !(1 << bit);
                self.free -= 1;
                return Some(*hint as u32 * 32 + bit);
            }
            *hint += 1;
        }
        None
    }

    /// Frees object `i`; false if it is out of range or free already.
    pub fn give_back(&mut self, i: u32) -> bool {
        if !self.is_usable(i) || self.is_free(i) {
            return false;
        }
        let Some(word) = self.bitmap.get_mut(i as usize / 32) else {
            return false;
        };
        *word |= 1 << (i % 32);
        self.free += 1;
        true
    }

    /// Is object `i` one that can be handed out?
    pub fn is_usable(&self, i: u32) -> bool {
        i < self.end && i.is_multiple_of(self.step)
    }

    /// Is object `i` free?
    pub fn is_free(&self, i: u32) -> bool {
        self.bitmap
            .get(i as usize / 32)
            .is_some_and(|word| word & 1 << (i % 32) != 0)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        name: "buf",
        min_size: 64,
        max_size: 65536,
        min_num: 4,
        max_num: 1_000_000,
    };

    fn pool(size: u32, num: u32) -> Pool {
        Pool::new(LIMITS, PoolParams { size, num }).unwrap()
    }

    #[test]
    fn sizes_are_those_of_netmap() {
        // size, num -> object size, total, bytes
        for (size, num, want) in [
            (2048, 4098, (2048, 4098, 8_392_704)),
            (2048, 163_840, (2048, 163_840, 335_544_320)),
            (2000, 100, (2048, 100, 204_800)),
            (20480, 20, (20480, 20, 409_600)),
            (192, 5, (192, 64, 12_288)),
        ] {
            let p = pool(size, num);
            assert_eq!((p.size(), p.total(), p.bytes()), want, "{size} x {num}");
        }
    }

    #[test]
    fn out_of_range_says_which_parameter() {
        for (size, num) in [(1 << 22, 10), (65537, 10), (2048, 3), (2048, 1_000_001)] {
            let refusal = Pool::new(LIMITS, PoolParams { size, num }).unwrap_err();
            assert_eq!(refusal.errno, Errno::INVAL);
            assert!(refusal.why.contains("buf_"), "{}", refusal.why);
        }
    }

    #[test]
    fn lowest_first_and_no_double_free() {
        let mut p = pool(2048, 70);
        p.reset(2);
        assert_eq!(p.free_count(), 68);
        let mut hint = 0;
        assert_eq!(
            (0..68)
                .map(|_| p.take(&mut hint).unwrap())
                .collect::<Vec<_>>(),
            (2..70).collect::<Vec<_>>()
        );
        assert_eq!(p.take(&mut hint), None);
        assert!(p.give_back(40) && !p.give_back(40) && !p.give_back(70) && !p.give_back(u32::MAX));
        assert_eq!(p.free_count(), 1);
        assert_eq!(p.take(&mut 0), Some(40));
        p.reset(2);
        assert!(!p.is_free(1) && p.is_free(2) && p.is_free(69) && !p.is_free(70));
    }
}
