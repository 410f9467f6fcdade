//! The configuration space of a PCI function: its bytes, and which of their bits a guest may change.

/// Bytes of a configuration space.
pub const LEN: u64 = 256;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CLASS: usize = 0x09;
const BARS: usize = 0x10;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
/// Where the only capability is.
const MSIX: usize = 0x40;

/// I/O and memory decoding, bus mastering, INTx off.
const COMMAND_BITS: u16 = 0x0407;
const STATUS_HAS_CAPABILITIES: u8 = 1 << 4;
const MSIX_ID: u8 = 0x11;
/// MSI-X enable and function mask.
const MSIX_CONTROL_BITS: u8 = 0xc0;

/// What a function says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// vendor
    pub vendor: u16,
    /// device
    pub device: u16,
    /// class, subclass and programming interface, from the highest byte down
    pub class: u32,
}

/// Subsystem of QEMU's own devices.
const QEMU_SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

/// A base address register. Sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// 32-bit memory of so many bytes
    Memory(u32),
    /// prefetchable 64-bit memory; takes the next register, too
    Wide(u64),
    /// I/O ports
    Io(u32),
}

/// The MSI-X capability.
#[derive(Clone, Copy, Debug)]
pub struct Msix {
    /// interrupts, at least 1
    pub vectors: u16,
    /// the BAR in which table and pending bits are
    pub bar: u8,
    /// where in it the pending bits begin; the table is at 0
    pub pending: u32,
}

/// A configuration space.
pub struct ConfigSpace {
    bytes: [u8; LEN as usize],
    writable: [u8; LEN as usize],
    was_read: bool,
}

impl ConfigSpace {
    /// That of a function with `bars` by their numbers.
    pub fn new(identity: Identity, bars: &[(usize, Bar)], msix: Option<Msix>) -> Self {
        let mut it = Self {
            bytes: [0; LEN as usize],
            writable: [0; LEN as usize],
            was_read: false,
        };
        it.put(0, &identity.vendor.to_le_bytes());
        it.put(2, &identity.device.to_le_bytes());
        it.put(CLASS, &identity.class.to_le_bytes()[..3]);
        it.put(SUBSYSTEM, &QEMU_SUBSYSTEM.0.to_le_bytes());
        it.put(SUBSYSTEM + 2, &QEMU_SUBSYSTEM.1.to_le_bytes());
        it.allow(COMMAND, &COMMAND_BITS.to_le_bytes());
        it.allow(INTERRUPT_LINE, &[0xff]);
        for &(number, bar) in bars {
            it.put_bar(BARS + 4 * number, bar);
        }
        if let Some(msix) = msix {
            it.put_msix(msix);
        }
        it
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    /// A guest finds the size of a BAR by the bits that it cannot set.
    fn put_bar(&mut self, at: usize, bar: Bar) {
        const IO: u32 = 1;
        const PREFETCHABLE_64: u32 = 0xc;
        match bar {
            Bar::Memory(size) => self.allow(at, &(!(size - 1) & !0xf).to_le_bytes()),
            Bar::Io(size) => {
                self.put(at, &IO.to_le_bytes());
                self.allow(at, &(!(size - 1) & !3).to_le_bytes());
            }
            Bar::Wide(size) => {
                self.put(at, &PREFETCHABLE_64.to_le_bytes());
                // Both registers: they are one number.
                self.allow(at, &(!(size - 1) & !0xf).to_le_bytes());
            }
        }
    }

    fn put_msix(&mut self, msix: Msix) {
        self.bytes[STATUS] |= STATUS_HAS_CAPABILITIES;
        self.bytes[CAPABILITIES] = MSIX as u8;
        self.put(MSIX, &[MSIX_ID, 0]);
        self.put(MSIX + 2, &(msix.vectors - 1).to_le_bytes());
        self.allow(MSIX + 3, &[MSIX_CONTROL_BITS]);
        let bar = u32::from(msix.bar);
        self.put(MSIX + 4, &bar.to_le_bytes());
        self.put(MSIX + 8, &(msix.pending | bar).to_le_bytes());
    }

    /// Has it been read since the last call?
    pub fn was_read(&mut self) -> bool {
        std::mem::take(&mut self.was_read)
    }

    /// Reads; zeroes beyond the end.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.was_read = true;
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = index(offset, i).map_or(0, |at| self.bytes[at]);
        }
    }

    /// Writes the bits that may be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (i, byte) in data.iter().enumerate() {
            if let Some(at) = index(offset, i) {
                let mask = self.writable[at];
                self.bytes[at] = self.bytes[at] & !mask | byte & mask;
            }
        }
    }
}

fn index(offset: u64, i: usize) -> Option<usize> {
    let at = offset.checked_add(i as u64)?;
    (at < LEN).then_some(at as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        vendor: 0x1b36,
        device: 0xd,
        class: 0x02_00_00,
    };

    fn word(config: &mut ConfigSpace, at: u64) -> u32 {
        let mut bytes = [0; 4];
        config.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn a_guest_finds_the_sizes_of_bars() {
        let bars = [
            (0, Bar::Io(256)),
            (1, Bar::Wide(1 << 33)),
            (3, Bar::Memory(4096)),
        ];
        let mut config = ConfigSpace::new(IDENTITY, &bars, None);
        for at in (0x10..0x28).step_by(4) {
            config.write(at, &[0xff; 4]);
        }
        let found: Vec<u32> = (0x10..0x28)
            .step_by(4)
            .map(|at| word(&mut config, at))
            .collect();
        assert_eq!(found, [0xffff_ff01, 0xc, 0xffff_fffe, 0xffff_f000, 0, 0]);
    }

    #[test]
    fn what_says_what_it_is_stays() {
        let msix = Msix {
            vectors: 4,
            bar: 2,
            pending: 0x800,
        };
        let mut config = ConfigSpace::new(IDENTITY, &[(0, Bar::Memory(256))], Some(msix));
        let before: Vec<u32> = (0..LEN)
            .step_by(4)
            .map(|at| word(&mut config, at))
            .collect();
        (0..LEN).for_each(|at| config.write(at, &[0xff]));
        config.write(LEN - 1, &[0xff; 8]);
        config.write(u64::MAX, &[0xff; 8]);
        assert_eq!(word(&mut config, 0), 0x000d_1b36);
        assert_eq!(word(&mut config, 8), 0x0200_0000);
        assert_eq!(word(&mut config, 4), 0x0010_0407);
        assert_eq!(word(&mut config, 0x34), 0x40);
        assert_eq!(word(&mut config, 0x40), 0xc003_0011);
        assert_eq!(
            [word(&mut config, 0x44), word(&mut config, 0x48)],
            [2, 0x802]
        );
        let after = (0..LEN).step_by(4).map(|at| (at, word(&mut config, at)));
        let changed = after.zip(before).filter(|((_, now), before)| now != before);
        let changed: Vec<u64> = changed.map(|((at, _), _)| at).collect();
        assert_eq!(changed, [4, 0x10, 0x3c, 0x40]);
    }
}
