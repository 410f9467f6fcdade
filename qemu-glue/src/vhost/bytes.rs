//! Bytes that lie in several places, of a guest or of a port.

use vm_memory::{Bytes, VolatileSlice};

/// A place in a row of buffers.
pub struct Cursor<'a, 'm> {
    parts: &'a [VolatileSlice<'m>],
    /// bytes of the first one that are behind us
    ofs: usize,
}

impl<'a, 'm> Cursor<'a, 'm> {
    /// At the beginning of `parts`.
    pub fn new(parts: &'a [VolatileSlice<'m>]) -> Self {
        Self { parts, ofs: 0 }
    }

    /// Bytes from here on.
    pub fn left(&self) -> usize {
        self.parts.iter().map(VolatileSlice::len).sum::<usize>() - self.ofs
    }

    /// The next bytes, up to `most` of them, as they lie in one place; `None` at the end.
    pub fn next(&mut self, most: usize) -> Option<VolatileSlice<'m>> {
        loop {
            let (first, rest) = self.parts.split_first()?;
            let n = most.min(first.len() - self.ofs);
            if n > 0 {
                let piece = first.subslice(self.ofs, n).ok()?;
                self.ofs += n;
                return Some(piece);
            }
            if most == 0 {
                return None;
            }
            (self.parts, self.ofs) = (rest, 0);
        }
    }

    /// Copies from here to `to`, as long as there is something at both. Answers with the number of bytes.
    pub fn copy_to(&mut self, to: &mut Cursor<'_, '_>) -> usize {
        let mut copied = 0;
        while let Some(room) = to.next(usize::MAX) {
            let mut done = 0;
            while let Some(piece) = self.next(room.len() - done) {
                if let Ok(target) = room.offset(done) {
                    piece.copy_to_volatile_slice(target);
                }
                done += piece.len();
            }
            copied += done;
            if done < room.len() {
                break;
            }
        }
        copied
    }

    /// A private copy of the next bytes; answers with how many there were.
    pub fn read(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(piece) = self.next(to.len() - done) {
            let _ = piece.read_slice(&mut to[done..done + piece.len()], 0);
            done += piece.len();
        }
        done
    }

    /// Puts `bytes` here; answers with how many fitted.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(piece) = self.next(bytes.len() - done) {
            let _ = piece.write_slice(&bytes[done..done + piece.len()], 0);
            done += piece.len();
        }
        done
    }
}
