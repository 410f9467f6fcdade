//! Options of requests, all in one place. One that nobody serves keeps the status that copying in
//! has given it, EOPNOTSUPP; a REGISTER with such an option is refused at its end.
//!
//! | option | today |
//! |---|---|
//! | CSB | checked as far as netmap checks the descriptor; then not supported |
//! | EXTMEM, OFFSETS, SYNC_KLOOP_* | not supported |

use nm_abi::{NETMAP_REQ_OPT_CSB, NR_EXCLUSIVE};
use rustix::io::Errno;

use super::adapter::DIRS;
use super::register::Bound;
use super::{ClientId, Refusal, Result, World};
use crate::request::OptionCopy;

fn find(options: &mut [OptionCopy], reqtype: u32) -> Option<&mut OptionCopy> {
    options.iter_mut().find(|o| o.header.nro_reqtype == reqtype)
}

/// Notes in an option what became of it.
fn conclude(option: &mut OptionCopy, result: Result<()>) -> Result<()> {
    let errno = result.as_ref().err().map_or(0, |r| r.errno.raw_os_error());
    option.header.nro_status = errno as u32;
    result
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
    /// The options of a REGISTER that has bound its descriptor.
    pub(super) fn register_options(
        &mut self,
        client: ClientId,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        match find(options, NETMAP_REQ_OPT_CSB) {
            None => Ok(()),
            Some(option) => conclude(option, csb(self.bound(client))),
        }
    }

    /// CSB_ENABLE.
    pub(super) fn csb_enable(
        &mut self,
        client: ClientId,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        match find(options, NETMAP_REQ_OPT_CSB) {
            None => Err(Refusal::new(
                Errno::INVAL,
                "CSB_ENABLE needs the CSB option",
            )),
            Some(option) => conclude(option, csb(self.bound(client))),
        }
    }
}

/// netmap_csb_validate, up to where the program's memory comes in.
fn csb(bound: Option<&Bound>) -> Result<()> {
    let Some(Bound { public, .. }) = bound else {
        return Ok(());
    };
    if DIRS
        .iter()
        .all(|&dir| public.first[dir] == public.last[dir])
    {
        return Ok(());
    }
    if public.flags & NR_EXCLUSIVE == 0 {
        return Err(Refusal::new(
            Errno::INVAL,
            format!("{}: CSB mode needs NR_EXCLUSIVE", public.name),
        ));
    }
    Err(Refusal::new(
        Errno::OPNOTSUPP,
        "CSB mode is not supported yet",
    ))
}
