//! A guest's RAM as a PCI device has it: pieces that QEMU maps and unmaps at any time, and words in them.
//!
//! | who | what it may do at any time |
//! |---|---|
//! | the guest | write any byte of it |
//! | QEMU | the same; unmap it (we stop using it first); truncate its file (`sigbus.rs`) |
//!
//! Everything is seen through atomics of 32 bits, which are valid whatever is written to them.

use core::sync::atomic::AtomicU32;
use std::fs::File;
use std::sync::Arc;

use vm_memory::volatile_memory::VolatileMemory;
use vm_memory::{FileOffset, MmapRegion};

/// Mappings at most. QEMU has about ten for each kind of memory of a machine.
const MOST: usize = 4096;
const WORD: usize = size_of::<AtomicU32>();

/// A part of a guest's RAM, mapped as long as somebody has it.
struct Mapping {
    /// its physical address in the guest
    guest: u64,
    region: MmapRegion,
}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on.
    fn new(guest: u64, len: u64, file: File, offset: u64) -> Result<Self, String> {
        let size = usize::try_from(len).ok().filter(|len| *len > 0);
        let size = size.ok_or("its length cannot be mapped")?;
        guest
            .checked_add(len)
            .ok_or("it goes beyond the last address")?;
        check_file(&file, offset, len)?;
        let region = MmapRegion::from_file(FileOffset::new(file, offset), size);
        let region = region.map_err(|e| e.to_string())?;
        Ok(Self { guest, region })
    }

    fn end(&self) -> u64 {
        self.guest + self.region.len() as u64
    }
}

/// Does `file` have `len` bytes from `offset` on? What is mapped beyond its end is SIGBUS (`sigbus.rs`).
pub fn check_file(file: &File, offset: u64, len: u64) -> Result<(), String> {
    let stat = file.metadata().map_err(|e| e.to_string())?;
    let end = offset.checked_add(len).filter(|end| *end <= stat.len());
    match (stat.is_file(), end) {
        (false, _) => Err("it is not in a file".into()),
        (true, None) => Err(format!("its file is too short: {} bytes", stat.len())),
        (true, Some(_)) => Ok(()),
    }
}

/// Words of a guest's RAM one behind the other, mapped as long as this lives.
#[derive(Clone)]
pub struct Words {
    mapping: Arc<Mapping>,
    /// in bytes from the mapping's beginning, a multiple of 4
    offset: usize,
    count: usize,
}

impl Words {
    /// Word `i`; `None` beyond the end.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&AtomicU32> {
        let at = (i < self.count).then_some(self.offset + i * WORD)?;
        self.mapping.region.get_atomic_ref(at).ok()
    }

    /// Does any of them lie in `len` bytes from guest address `guest` on?
    pub fn touches(&self, guest: u64, len: u64) -> bool {
        let start = self.mapping.guest + self.offset as u64;
        let end = start + (self.count * WORD) as u64;
        start < guest.saturating_add(len) && guest < end
    }
}

/// The RAM of a guest by physical addresses.
#[derive(Default)]
pub struct GuestMemory {
    mappings: Vec<Arc<Mapping>>,
    /// there is some that is not mapped
    is_partial: bool,
}

impl GuestMemory {
    /// Maps `len` bytes from guest address `guest` on, which lie in `file` at `offset`. Without a file they are none
    /// of ours: a device's registers, or RAM that is not shared.
    pub fn map(
        &mut self,
        guest: u64,
        len: u64,
        file: Option<File>,
        offset: u64,
    ) -> Result<(), String> {
        let before = std::mem::replace(&mut self.is_partial, true);
        let Some(file) = file else { return Ok(()) };
        if self.mappings.len() >= MOST {
            return Err("there are too many pieces of memory".into());
        }
        let mapping = Mapping::new(guest, len, file, offset)?;
        if self
            .mappings
            .iter()
            .any(|m| m.guest < mapping.end() && mapping.guest < m.end())
        {
            return Err("another piece of memory is at the same address".into());
        }
        self.mappings.push(Arc::new(mapping));
        self.is_partial = before;
        Ok(())
    }

    /// Forgets all mappings that have a byte among `len` from `guest` on.
    pub fn unmap(&mut self, guest: u64, len: u64) {
        let end = guest.saturating_add(len);
        self.mappings.retain(|m| m.end() <= guest || end <= m.guest);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Has the guest RAM, but none that is shared?
    pub fn is_unshared(&self) -> bool {
        self.mappings.is_empty() && self.is_partial
    }

    /// Has nobody ever written any of it? A guest that runs has, unless what is mapped here are files of which QEMU
    /// has copies of its own.
    pub fn is_untouched(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let is_empty = |m: &Arc<Mapping>| {
            let file = m.region.file_offset().map(|file| file.file().metadata());
            file.is_some_and(|stat| stat.is_ok_and(|stat| stat.blocks() == 0))
        };
        !self.mappings.is_empty() && self.mappings.iter().all(is_empty)
    }

    /// `count` words from guest address `guest` on. `None`: they do not lie in one mapping, or not at a multiple of 4.
    pub fn words(&self, guest: u64, count: usize) -> Option<Words> {
        let len = count.checked_mul(WORD)? as u64;
        let end = guest.checked_add(len)?;
        let mapping = self
            .mappings
            .iter()
            .find(|m| m.guest <= guest && end <= m.end())?;
        let offset = (guest - mapping.guest) as usize;
        offset.is_multiple_of(WORD).then(|| Words {
            mapping: mapping.clone(),
            offset,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    const PAGE: u64 = 4096;

    fn file(pages: u64) -> File {
        let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&fd, pages * PAGE).unwrap();
        File::from(fd)
    }

    fn another(file: &File) -> Option<File> {
        Some(file.try_clone().unwrap())
    }

    #[test]
    fn words_lie_in_one_mapping() {
        let (mut memory, ram) = (GuestMemory::default(), file(4));
        memory.map(0x10000, 2 * PAGE, another(&ram), PAGE).unwrap();
        memory
            .map(0x10000 + 2 * PAGE, PAGE, another(&ram), 3 * PAGE)
            .unwrap();
        let words = memory.words(0x10000 + PAGE, 1024).unwrap();
        assert!(memory.is_untouched());
        words.get(1023).unwrap().store(7, Relaxed);
        let mut bytes = [0; 4];
        rustix::io::pread(&ram, &mut bytes, 3 * PAGE - 4).unwrap();
        assert_eq!(u32::from_ne_bytes(bytes), 7);
        assert!(!memory.is_untouched());
        assert!(words.get(1024).is_none());
        for (guest, count) in [
            (0xffff, 1),
            (0x10002, 1),
            (0x10000, 2049),
            (0xfffc, 2),
            (u64::MAX, 1),
            (0x10000, usize::MAX),
        ] {
            assert!(memory.words(guest, count).is_none(), "{guest:#x} {count}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let (mut memory, ram) = (GuestMemory::default(), file(2));
        for (guest, len, offset) in [
            (0, 0, 0),
            (0, 3 * PAGE, 0),
            (0, PAGE, 2 * PAGE),
            (0, PAGE, u64::MAX),
            (u64::MAX, PAGE, 0),
            (0, PAGE, 1),
        ] {
            assert!(
                memory.map(guest, len, another(&ram), offset).is_err(),
                "{guest:#x} {len:#x} {offset:#x}"
            );
        }
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(memory.map(0, PAGE, Some(File::from(reader)), 0).is_err());
        memory.map(PAGE, PAGE, another(&ram), 0).unwrap();
        assert!(
            memory.map(0, 2 * PAGE, another(&ram), 0).is_err(),
            "two at one address"
        );
        assert!(memory.words(0, 1).is_none());
    }

    #[test]
    fn a_mapping_lives_as_long_as_its_words() {
        let (mut memory, ram) = (GuestMemory::default(), file(1));
        assert!(!memory.is_unshared());
        memory.map(0, PAGE, None, 0).unwrap();
        assert!(memory.is_unshared());
        memory.map(0, PAGE, another(&ram), 0).unwrap();
        assert!(!memory.is_unshared());
        let words = memory.words(64, 16).unwrap();
        assert!(words.touches(0, PAGE) && words.touches(127, 1) && words.touches(0, u64::MAX));
        assert!(!words.touches(0, 64) && !words.touches(128, u64::MAX));
        memory.unmap(PAGE, PAGE);
        assert!(memory.words(64, 16).is_some());
        memory.unmap(PAGE - 1, 1);
        assert!(memory.words(64, 16).is_none());
        words.get(0).unwrap().store(1, Relaxed);
        assert_eq!(words.get(0).unwrap().load(Relaxed), 1);
    }
}
