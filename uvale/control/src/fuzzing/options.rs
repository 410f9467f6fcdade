//! Lists of options, most of them nearly right.

use nm_abi::*;

use super::{Arena, OPTIONS, Run, Source};

impl Run<'_> {
    /// Puts a list of options into memory; where it begins.
    pub(super) fn options(&mut self, arena: &Arena) -> u64 {
        let n = match self.source.below(4) {
            0 => self.source.below(6),
            1 => 1,
            _ => 0,
        };
        let mut at = OPTIONS;
        for i in 0..n {
            let mut option = self.option();
            let next = at + option.len().next_multiple_of(8) as u64;
            let link = match (i + 1 == n, self.source.below(32)) {
                (_, 31) => self.source.word(),
                (_, 30) => OPTIONS,
                (true, _) => 0,
                (false, _) => next,
            };
            option[..8].copy_from_slice(&link.to_le_bytes());
            arena.put(at, &option);
            at = next;
        }
        match n {
            0 => 0,
            _ if self.source.one_in(32) => self.source.word(),
            _ => OPTIONS,
        }
    }

    /// An option's bytes.
    fn option(&mut self) -> Vec<u8> {
        let head = |reqtype: u32, size: u64| nmreq_option {
            nro_reqtype: reqtype,
            nro_size: size,
            nro_status: 0x55,
            nro_next: 0,
        };
        match self.source.below(8) {
            0 | 1 => nmreq_opt_extmem {
                nro_opt: head(NETMAP_REQ_OPT_EXTMEM, 0),
                nro_usrptr: self.source.word(),
                nro_info: self.pools_info(),
            }
            .as_bytes()
            .to_vec(),
            2 => nmreq_opt_csb {
                nro_opt: head(NETMAP_REQ_OPT_CSB, 0),
                csb_atok: self.source.about(4).wrapping_mul(64),
                csb_ktoa: self.source.about(4).wrapping_mul(64),
            }
            .as_bytes()
            .to_vec(),
            3 | 4 => nmreq_opt_offsets {
                nro_opt: head(NETMAP_REQ_OPT_OFFSETS, 0),
                nro_max_offset: self.source.about(2200),
                nro_initial_offset: self.source.about(256),
                nro_offset_bits: self.source.about(66) as u32,
                nro_tx_align: self.source.below(3),
                nro_min_gap: self.source.below(3).into(),
            }
            .as_bytes()
            .to_vec(),
            5 => nmreq_opt_sync_kloop_mode {
                nro_opt: head(NETMAP_REQ_OPT_SYNC_KLOOP_MODE, 0),
                mode: self.source.about(5) as u32,
                _pad0: 0,
            }
            .as_bytes()
            .to_vec(),
            6 => {
                let n = self.source.below(6) as usize;
                let size = (24 + 8 * n) as u64 + u64::from(self.source.one_in(8));
                let head = head(NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, size);
                let mut bytes = head.as_bytes().to_vec();
                bytes.extend((0..8 * n).map(|_| self.source.byte()));
                bytes
            }
            _ => {
                let (reqtype, size) = (self.source.about(9) as u32, self.source.about(64));
                head(reqtype, size).as_bytes().to_vec()
            }
        }
    }

    fn pools_info(&mut self) -> nmreq_pools_info {
        let size = |source: &mut Source<'_>| source.about(5000) as u32;
        nmreq_pools_info {
            nr_memsize: self.source.about(60_000).wrapping_mul(20),
            nr_if_pool_objtotal: self.source.about(12) as u32,
            nr_ring_pool_objtotal: self.source.about(24) as u32,
            nr_buf_pool_objtotal: self.source.about(256) as u32,
            nr_if_pool_objsize: size(&mut self.source),
            nr_ring_pool_objsize: size(&mut self.source),
            nr_buf_pool_objsize: size(&mut self.source),
            ..nmreq_pools_info::default()
        }
    }
}
