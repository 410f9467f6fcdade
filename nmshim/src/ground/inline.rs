//! A growing list that stays on the stack while it is short, for code that must not allocate as a rule.

use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

/// Up to `N` elements in place, all of them in a `Vec` beyond that.
pub struct Inline<T, const N: usize> {
    near: [MaybeUninit<T>; N],
    len: usize,
    far: Vec<T>,
}

impl<T, const N: usize> Inline<T, N> {
    pub const fn new() -> Self {
        Self {
            near: [const { MaybeUninit::uninit() }; N],
            len: 0,
            far: Vec::new(),
        }
    }

    pub fn push(&mut self, value: T) {
        if self.far.is_empty() && self.len < N {
            self.near[self.len].write(value);
            self.len += 1;
            return;
        }
        if self.far.is_empty() {
            self.far.reserve(2 * N + 1);
            for place in &self.near[..core::mem::take(&mut self.len)] {
                // SAFETY: the first `len` places were written and `len` is 0 from here on, so each value
                // is moved out once; nobody else has access.
                self.far.push(unsafe { place.assume_init_read() });
            }
        }
        self.far.push(value);
    }
}

impl<T, const N: usize> Deref for Inline<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        if !self.far.is_empty() {
            return &self.far;
        }
        // SAFETY: the first `len` places are initialised, and MaybeUninit<T> has T's layout.
        unsafe { core::slice::from_raw_parts(self.near.as_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> DerefMut for Inline<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        if !self.far.is_empty() {
            return &mut self.far;
        }
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.near.as_mut_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> Drop for Inline<T, N> {
    fn drop(&mut self) {
        for place in &mut self.near[..self.len] {
            // SAFETY: initialised, and dropped once: `len` is 0 when the values live in `far`.
            unsafe { place.assume_init_drop() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Inline;
    use std::rc::Rc;

    #[test]
    fn keeps_order_and_drops_once_across_the_border() {
        let witness = Rc::new(());
        for n in 0..12 {
            let mut list: Inline<(usize, Rc<()>), 4> = Inline::new();
            for i in 0..n {
                list.push((i, witness.clone()));
            }
            assert_eq!(list.len(), n);
            assert!(list.iter().enumerate().all(|(i, v)| v.0 == i));
            assert_eq!(Rc::strong_count(&witness), n + 1);
            drop(list);
            assert_eq!(Rc::strong_count(&witness), 1);
        }
    }
}
