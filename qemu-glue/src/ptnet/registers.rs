//! The registers of the network device: what a guest reads and writes in BAR 0.
//!
//! Addresses of the CSB's arrays come in halves, the high one first; the low one completes them.

use nm_abi::virt::*;

/// Bytes of BAR 0.
pub const BAR_LEN: u32 = PTNET_IO_MASK + 1;
/// Rings at most: each has a kick register.
pub const MOST_RINGS: usize = ((BAR_LEN - PTNET_IO_KICK_BASE) / 4) as usize;

/// What a guest reads of its port. Does not change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// features that there are, `PTNETMAP_F_*`
    pub features: u32,
    /// address of the interface
    pub mac: [u8; 6],
    /// where in the region the `netmap_if` is
    pub nifp_ofs: u32,
    /// tx rings
    pub tx_rings: u32,
    /// rx rings
    pub rx_rings: u32,
    /// slots of a tx ring
    pub tx_slots: u32,
    /// slots of an rx ring
    pub rx_slots: u32,
    /// id of its memory
    pub mem_id: u16,
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// nothing more
    Nothing,
    /// look at ring so much, tx rings first
    Kick(usize),
    /// PTCTL: start the sync loop; [`Registers::answer`] says how it went
    Start,
    /// PTCTL: stop it
    Stop,
    /// there is another CSB
    NewCsb,
    /// headers of so many bytes; [`Registers::set_header`] says how many there are
    Header(u32),
}

/// The registers.
#[derive(Default)]
pub struct Registers {
    facts: Facts,
    features: u32,
    status: u32,
    header: u32,
    /// high halves of addresses that are not complete: guest to host, host to guest
    high: [u32; 2],
    csb: [u64; 2],
}

impl Registers {
    /// Those of a port, as after a reset.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            ..Self::default()
        }
    }

    /// As they were in the beginning.
    pub fn reset(&mut self) {
        *self = Self::new(self.facts);
    }

    /// Guest addresses of the arrays, guest to host first; 0: there is none.
    pub fn csb(&self) -> [u64; 2] {
        self.csb
    }

    /// How the last command went: an errno, or 0.
    pub fn answer(&mut self, status: u32) {
        self.status = status;
    }

    /// Can packets have a header of so many bytes, and do they not have it already?
    pub fn may_have_header(&self, len: u32) -> bool {
        let can = self.facts.features & PTNETMAP_F_VNET_HDR != 0;
        can && [0, 10, 12].contains(&len) && len != self.header
    }

    /// Bytes of the header that packets have.
    pub fn set_header(&mut self, header: u32) {
        self.header = header;
    }

    /// Reads register `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        let facts = &self.facts;
        let [m0, m1, m2, m3, m4, m5] = facts.mac;
        match (offset & u64::from(PTNET_IO_MASK)) as u32 {
            PTNET_IO_PTFEAT => self.features,
            PTNET_IO_PTCTL => self.status,
            PTNET_IO_MAC_LO => u32::from_be_bytes([m2, m3, m4, m5]),
            PTNET_IO_MAC_HI => u32::from_be_bytes([0, 0, m0, m1]),
            PTNET_IO_NIFP_OFS => facts.nifp_ofs,
            PTNET_IO_NUM_TX_RINGS => facts.tx_rings,
            PTNET_IO_NUM_RX_RINGS => facts.rx_rings,
            PTNET_IO_NUM_TX_SLOTS => facts.tx_slots,
            PTNET_IO_NUM_RX_SLOTS => facts.rx_slots,
            PTNET_IO_VNET_HDR_LEN => self.header,
            PTNET_IO_HOSTMEMID => facts.mem_id.into(),
            PTNET_IO_CSB_GH_BAH => (self.csb[0] >> 32) as u32,
            PTNET_IO_CSB_GH_BAL => self.csb[0] as u32,
            PTNET_IO_CSB_HG_BAH => (self.csb[1] >> 32) as u32,
            PTNET_IO_CSB_HG_BAL => self.csb[1] as u32,
            _ => 0,
        }
    }

    /// Writes register `offset`.
    pub fn write(&mut self, offset: u64, value: u32) -> Command {
        match (offset & u64::from(PTNET_IO_MASK)) as u32 {
            PTNET_IO_PTFEAT => self.features = value & self.facts.features,
            PTNET_IO_PTCTL => match value {
                PTNETMAP_PTCTL_CREATE => return Command::Start,
                PTNETMAP_PTCTL_DELETE => return Command::Stop,
                _ => self.status = libc::EINVAL as u32,
            },
            PTNET_IO_VNET_HDR_LEN => return Command::Header(value),
            PTNET_IO_CSB_GH_BAH => self.high[0] = value,
            PTNET_IO_CSB_HG_BAH => self.high[1] = value,
            PTNET_IO_CSB_GH_BAL => return self.set_csb(0, value),
            PTNET_IO_CSB_HG_BAL => return self.set_csb(1, value),
            kick if kick >= PTNET_IO_KICK_BASE => {
                let ring = (kick - PTNET_IO_KICK_BASE) / 4;
                return Command::Kick(ring as usize);
            }
            _ => {}
        }
        Command::Nothing
    }

    fn set_csb(&mut self, array: usize, low: u32) -> Command {
        self.csb[array] = u64::from(self.high[array]) << 32 | u64::from(low);
        Command::NewCsb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        Registers::new(Facts {
            features: PTNETMAP_F_VNET_HDR,
            mac: [2, 0xab, 0xcd, 1, 2, 3],
            nifp_ofs: 4096,
            tx_rings: 2,
            rx_rings: 3,
            tx_slots: 1024,
            rx_slots: 512,
            mem_id: 7,
        })
    }

    #[test]
    fn a_driver_finds_what_it_needs() {
        let mut r = registers();
        // As the Linux driver puts the address together.
        assert_eq!(r.read(PTNET_IO_MAC_HI.into()), 0x02ab);
        assert_eq!(r.read(PTNET_IO_MAC_LO.into()), 0xcd01_0203);
        let facts = (PTNET_IO_NIFP_OFS..=PTNET_IO_HOSTMEMID).step_by(4);
        let facts: Vec<u32> = facts.map(|at| r.read(at.into())).collect();
        assert_eq!(facts, [4096, 2, 3, 1024, 512, 0, 7]);
        r.write(PTNET_IO_PTFEAT.into(), u32::MAX);
        assert_eq!(r.read(PTNET_IO_PTFEAT.into()), PTNETMAP_F_VNET_HDR);
        // What only reads is not written, and the window repeats.
        for at in (8..68).step_by(4) {
            if !(44..48).contains(&at) && at < 52 {
                assert_eq!(r.write(at, 99), Command::Nothing);
            }
        }
        assert_eq!(r.read(0x100 + u64::from(PTNET_IO_NUM_TX_SLOTS)), 1024);
    }

    #[test]
    fn an_address_is_complete_with_its_low_half() {
        let mut r = registers();
        assert_eq!(r.write(PTNET_IO_CSB_GH_BAH.into(), 1), Command::Nothing);
        assert_eq!(r.csb(), [0, 0]);
        assert_eq!(r.write(PTNET_IO_CSB_GH_BAL.into(), 0x1000), Command::NewCsb);
        r.write(PTNET_IO_CSB_HG_BAH.into(), 0);
        r.write(PTNET_IO_CSB_HG_BAL.into(), 0x2000);
        assert_eq!(r.csb(), [0x1_0000_1000, 0x2000]);
        assert_eq!(r.read(PTNET_IO_CSB_GH_BAH.into()), 1);
        assert_eq!(r.read(PTNET_IO_CSB_HG_BAL.into()), 0x2000);
        r.reset();
        assert_eq!(r.csb(), [0, 0]);
        assert_eq!(r.read(PTNET_IO_NIFP_OFS.into()), 4096);
    }

    #[test]
    fn commands() {
        let mut r = registers();
        assert_eq!(r.write(PTNET_IO_PTCTL.into(), 1), Command::Start);
        assert_eq!(r.write(PTNET_IO_PTCTL.into(), 2), Command::Stop);
        assert_eq!(r.write(PTNET_IO_PTCTL.into(), 3), Command::Nothing);
        assert_eq!(r.read(PTNET_IO_PTCTL.into()), libc::EINVAL as u32);
        r.answer(0);
        assert_eq!(r.read(PTNET_IO_PTCTL.into()), 0);
        assert_eq!(
            r.write(PTNET_IO_VNET_HDR_LEN.into(), 12),
            Command::Header(12)
        );
        assert_eq!(
            [0, 10, 11, 12].map(|n| r.may_have_header(n)),
            [false, true, false, true]
        );
        let none = Registers::new(Facts::default());
        assert!(!none.may_have_header(12));
        assert_eq!(r.write(128, 0), Command::Kick(0));
        assert_eq!(r.write(252, 0), Command::Kick(MOST_RINGS - 1));
        assert_eq!(r.write(u64::MAX, 0), Command::Kick(MOST_RINGS - 1));
    }
}
