//! Whether anything that a guest writes arrives. With RAM that is not shared QEMU may have sent a file all the same:
//! the guest has copies of its pages, kicks, and its CSB stays here as it was.

use std::sync::atomic::Ordering::Relaxed;

use crate::guest_memory::Words;

/// A driver that works has moved a head long before.
const KICKS_FOR_NOTHING: u32 = 16;

/// What there was to see at a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kicked {
    /// nothing strange
    Well,
    /// the guest has kicked often, and has never written anything into its CSB
    ForNothing,
}

/// The guest's array as it was at the start, until it is seen to have changed.
pub struct Still {
    words: Vec<u32>,
    kicks: u32,
}

impl Still {
    /// As it is now.
    pub fn new(array: &Words) -> Self {
        Self {
            words: read(array),
            kicks: 0,
        }
    }

    /// The guest has kicked.
    pub fn kick(&mut self, array: &Words) -> Kicked {
        if self.words.is_empty() {
            return Kicked::Well;
        }
        if read(array) != self.words {
            self.words = Vec::new();
            return Kicked::Well;
        }
        self.kicks += 1;
        match self.kicks < KICKS_FOR_NOTHING {
            true => Kicked::Well,
            false => {
                self.words = Vec::new();
                Kicked::ForNothing
            }
        }
    }
}

fn read(array: &Words) -> Vec<u32> {
    let words = (0..).map_while(|i| array.get(i));
    words.map(|word| word.load(Relaxed)).collect()
}
