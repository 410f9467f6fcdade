//! Kinds of pages that a memory lies on.

use rustix::mm::Advice;
use serde::{Deserialize, Serialize};

/// Bytes of a huge page.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// Pages that the person who configures a world asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// huge pages, and which
    pub huge: Huge,
    /// the NUMA node to take them from, as long as it has any
    pub node: Option<u32>,
}

/// Huge pages that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Huge {
    /// none
    #[default]
    Off,
    /// reserved ones if there are enough, else transparent ones if these are allowed, else none
    Auto,
    /// reserved ones: hugetlb
    Hugetlb,
    /// transparent ones
    Thp,
}

impl Huge {
    /// What a person writes for each.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("off", Self::Off),
        ("auto", Self::Auto),
        ("hugetlb", Self::Hugetlb),
        ("thp", Self::Thp),
    ];

    /// By its word.
    pub fn of(word: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(name, _)| *name == word);
        let found = found.map(|(_, huge)| *huge);
        found.ok_or_else(|| format!("huge pages are off, auto, hugetlb or thp, not '{word}'"))
    }

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, huge)| *huge == self);
        found.map_or("", |(name, _)| name)
    }
}

impl core::fmt::Display for Huge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}

/// Pages that a memory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pages {
    /// whichever the system gives
    #[default]
    Any,
    /// small ones, even where the system would give huge ones: most of the memory is never touched
    Small,
    /// huge ones where the system has some when they are touched
    Transparent,
    /// reserved huge ones, but for the rest that fills none
    Reserved,
}

impl Pages {
    /// Asks for such pages where a memory is mapped. In vain on kernels that know nothing of it.
    pub(super) fn advise(self, start: *mut u8, len: usize) {
        let advice = match self {
            Self::Any | Self::Reserved => return,
            Self::Small => Advice::LinuxNoHugepage,
            Self::Transparent => Advice::LinuxHugepage,
        };
        // SAFETY: changes nothing but which pages hold what is there; an error if some of it is not mapped.
        let _ = unsafe { rustix::mm::madvise(start.cast(), len, advice) };
    }
}
