//! Options of requests, all in one place. An option that is not served keeps the status it was copied
//! in with, EOPNOTSUPP; a REGISTER with such an option is refused at its end.
//!
//! | option | served by | when |
//! |---|---|---|
//! | EXTMEM | REGISTER | before the port is looked up |
//! | OFFSETS | REGISTER | when the rings exist |
//! | CSB | REGISTER, CSB_ENABLE | when the descriptor is bound |
//! | SYNC_KLOOP_MODE, SYNC_KLOOP_EVENTFDS | SYNC_KLOOP_START | before the loop |
//!
//! EXTMEM is in `extmem.rs`, those of loops in `kloop.rs`.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, Kind, Kring, Offsets};
use super::caller::Caller;
use super::registration::{Bound, Selection};
use super::{ClientId, Refusal, Result, World};
use uvale_request::OptionCopy;
use uvale_shared::ctl::KLOOP_CSB;

pub(super) fn find(options: &mut [OptionCopy], reqtype: u32) -> Option<&mut OptionCopy> {
    options.iter_mut().find(|o| o.header.nro_reqtype == reqtype)
}

/// Writes an option's result into its status.
pub(super) fn conclude(option: &mut OptionCopy, result: Result<()>) -> Result<()> {
    let errno = result.as_ref().err().map_or(0, |r| r.errno.raw_os_error());
    option.header.nro_status = errno as u32;
    result
}

/// The option as its own type; `None` if the copy is too short for it.
pub(super) fn typed<T: AbiBytes>(option: &OptionCopy) -> Option<T> {
    let mut bytes = option.header.as_bytes().to_vec();
    bytes.extend_from_slice(&option.body);
    T::from_bytes(&bytes)
}

/// Puts an option's body back.
pub(super) fn put_back<T: AbiBytes>(option: &mut OptionCopy, whole: &T) {
    option.body = whole.as_bytes()[size_of::<nmreq_option>()..].to_vec();
}

/// nmreq_checkoptions: has every option been served?
pub(super) fn all_served(options: &[OptionCopy]) -> Result<()> {
    let unserved = Errno::OPNOTSUPP.raw_os_error() as u32;
    match options.iter().find(|o| o.header.nro_status == unserved) {
        None => Ok(()),
        Some(option) => Err(Refusal::new(
            Errno::OPNOTSUPP,
            format!("option {} is not supported", option.header.nro_reqtype),
        )),
    }
}

impl World {
    /// The CSB option of a REGISTER that has bound its descriptor.
    pub(super) fn register_csb(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        match find(options, NETMAP_REQ_OPT_CSB) {
            None => Ok(()),
            Some(option) => self.csb_option(client, caller, option),
        }
    }

    /// CSB_ENABLE.
    pub(super) fn csb_enable(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        match find(options, NETMAP_REQ_OPT_CSB) {
            None => Err(Refusal::new(
                Errno::INVAL,
                "CSB_ENABLE needs the CSB option",
            )),
            Some(option) => self.csb_option(client, caller, option),
        }
    }

    fn csb_option(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        option: &mut OptionCopy,
    ) -> Result<()> {
        let checked = match typed::<nmreq_opt_csb>(option) {
            Some(csb) => check_csb(self.bound(client), &csb),
            None => Err(Refusal::new(Errno::INVAL, "the CSB option is too short")),
        };
        let result = checked.map(|entries| caller.csb_entries = entries);
        conclude(option, result)
    }

    /// The process that asked has set its CSB up: from now on the descriptor is in CSB mode.
    pub fn set_csb(&mut self, client: ClientId, atok: u64, ktoa: u64) {
        let Some(Some(bound)) = self.clients.get_mut(&client.0) else {
            return;
        };
        bound.binding.csb = Some((atok, ktoa));
        if let Some(k) = self.kloop_word(client) {
            k.fetch_or(KLOOP_CSB, Relaxed);
        }
    }

    /// netmap_offsets_init: the OFFSETS option of a REGISTER, on the rings it has selected.
    pub(super) fn offsets_option(
        &mut self,
        id: AdapterId,
        selection: &Selection,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        let Some(option) = find(options, NETMAP_REQ_OPT_OFFSETS) else {
            return Ok(());
        };
        let Some(mut asked) = typed::<nmreq_opt_offsets>(option) else {
            return Ok(());
        };
        let result = self.init_offsets(id, selection, &mut asked);
        put_back(option, &asked);
        conclude(option, result)
    }

    fn init_offsets(
        &mut self,
        id: AdapterId,
        selection: &Selection,
        asked: &mut nmreq_opt_offsets,
    ) -> Result<()> {
        let na = &self.adapters[id];
        let label = na.label();
        if matches!(na.kind, Kind::Monitor { flags, .. } if flags & NR_ZCOPY_MON != 0) {
            return Err(Refusal::new(
                Errno::OPNOTSUPP,
                format!("{label}: zero-copy monitors have no offsets of their own"),
            ));
        }
        let mut agreed = check_offsets(asked, na.buf_size)
            .map_err(|why| Refusal::new(Errno::INVAL, format!("{label}: {why}")))?;
        // Joined ports exchange whole buffers.
        self.part_nic(id);
        // rx rings first, as netmap goes through them
        for dir in DIRS {
            for i in selection.range(dir) {
                let k = &mut self.adapters[id].krings_mut(dir)[i as usize];
                let (alone, agrees) = (k.users <= 1, agree(k, agreed));
                agreed = agrees.ok_or_else(|| {
                    let by = self.by_holders_of_ring(id, dir, i);
                    Refusal::new(
                        Errno::BUSY,
                        format!("{label}: ring {i} is open{by} with offsets that do not go so far"),
                    )
                })?;
                self.show_offsets(id, dir, i)?;
                if asked.nro_initial_offset != 0 && alone {
                    self.set_initial_offset(id, dir, i, asked.nro_initial_offset)?;
                }
            }
        }
        asked.nro_max_offset = agreed.max;
        Ok(())
    }
}

/// netmap_csb_validate, except for the access to the program's memory. Returns the number of
/// entries in each array; 0 for a descriptor without rings, whose CSB is not looked at.
fn check_csb(bound: Option<&Bound>, csb: &nmreq_opt_csb) -> Result<u32> {
    let Some(bound) = bound else { return Ok(0) };
    let binding = &bound.binding;
    let bad = |errno, why: &str| Err(Refusal::new(errno, format!("{}: {why}", binding.name)));
    if bound.kloop.running.is_some() {
        return bad(Errno::BUSY, "the CSB cannot change while a sync loop runs");
    }
    let entries = DIRS
        .iter()
        .map(|&dir| binding.rings(dir).len() as u32)
        .sum();
    if entries == 0 {
        return Ok(0);
    }
    if !bound.exclusive {
        return bad(Errno::INVAL, "CSB mode needs NR_EXCLUSIVE");
    }
    let aligned = |addr: u64, size: usize| addr.is_multiple_of(size as u64);
    let aligned_atok = aligned(csb.csb_atok, size_of::<nm_csb_atok>());
    if !aligned_atok || !aligned(csb.csb_ktoa, size_of::<nm_csb_ktoa>()) {
        return bad(
            Errno::INVAL,
            "the CSB's entries must lie on multiples of 64 bytes",
        );
    }
    Ok(entries)
}

/// Checks the offsets that are asked for.
fn check_offsets(
    asked: &nmreq_opt_offsets,
    buf_size: u32,
) -> core::result::Result<Offsets, String> {
    let (bits, max) = (asked.nro_offset_bits, asked.nro_max_offset);
    let mask = match bits {
        0 | 64 => u64::MAX,
        1..64 => (1 << bits) - 1,
        _ => return Err(format!("nro_offset_bits={bits}: slots have 64")),
    };
    if max > buf_size.into() {
        return Err(format!(
            "nro_max_offset={max} is beyond the buffers of {buf_size} bytes"
        ));
    }
    if max & mask != max {
        return Err(format!(
            "nro_max_offset={max} needs more than nro_offset_bits={bits}"
        ));
    }
    if asked.nro_initial_offset > max {
        return Err(format!(
            "nro_initial_offset={} is more than nro_max_offset={max}",
            asked.nro_initial_offset
        ));
    }
    Ok(Offsets { mask, max })
}

/// Combines the offsets that are asked for with those of a ring. `None` if the ring's are smaller;
/// else the result, which is also what the rings that follow are asked for.
fn agree(k: &mut Kring, asked: Offsets) -> Option<Offsets> {
    let has = k.offsets;
    if has.mask == 0 {
        k.offsets = asked;
        return Some(asked);
    }
    (has.mask & asked.mask == asked.mask && has.max >= asked.max).then_some(has)
}
