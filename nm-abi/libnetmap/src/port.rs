//! `nmport_*`: a port's way from its name to its rings and back.

use core::ffi::c_int;
use core::ptr::null_mut;

use nm_abi::{NETMAP_REQ_REGISTER, NIOCCTRL, nmreq_header, nmreq_register};

use crate::abi::{Context, nmport_d};
use crate::context::{errno, error_text, set_errno, status};
use crate::descriptor::Port;
use crate::given::{Text, shown};
use crate::options::decode as decode_options;
use crate::port_options::parsers;
use crate::request::{
    close, decode_header, decode_register, new_header, open_device, option_name, options,
};

impl Port {
    /// A port in a context, with an empty register request; `None` after saying that there is no
    /// memory.
    fn make(ctx: Context) -> Option<Port> {
        let d = nmport_d {
            hdr: new_header(NETMAP_REQ_REGISTER, null_mut()),
            reg: nmreq_register::default(),
            mem: None,
            ctx,
            register_done: 0,
            mmap_done: 0,
            extmem: None,
            fd: -1,
            nifp: null_mut(),
            first_tx_ring: 0,
            last_tx_ring: 0,
            first_rx_ring: 0,
            last_rx_ring: 0,
            cur_tx_ring: 0,
            cur_rx_ring: 0,
            clist: None,
        };
        let mut port = ctx.allocate(d, "a port descriptor").ok()?;
        port.hdr.nr_body = (&raw mut port.reg) as u64;
        Some(port)
    }

    /// Frees the descriptor.
    fn delete(self) {
        // SAFETY: the port was made in this context, and the program gives it up.
        unsafe { self.ctx.free(self.as_ptr()) };
    }

    /// Fills the requests from a name; after a failure, which was said, they are as before.
    fn parse(&mut self, text: Text) -> Option<()> {
        let (hdr, reg, before) = (self.hdr, self.reg, self.cleanup_mark());
        let done = self.fill(text.bytes());
        if done.is_none() {
            self.cleanup_until(before);
            self.hdr = hdr;
            self.reg = reg;
        }
        done
    }

    fn fill(&mut self, text: &[u8]) -> Option<()> {
        let (name, rest) = decode_header(text, self.ctx)?;
        self.hdr.nr_name = name;
        let (register, rest) = decode_register(text, rest, self.reg.nr_mem_id, self.ctx)?;
        register.store(&mut self.reg);
        let done = decode_options(rest, parsers(), self.as_ptr().cast(), self.ctx);
        (done >= 0).then_some(())
    }

    /// Takes back options and everything a name has set.
    fn undo_parse(&mut self) {
        self.cleanup_until(null_mut());
        self.hdr = new_header(NETMAP_REQ_REGISTER, (&raw mut self.reg).cast());
        self.reg = nmreq_register::default();
    }

    /// Opens `/dev/netmap` and sends the request; `None` after saying why not.
    fn register(&mut self) -> Option<()> {
        if self.register_done != 0 {
            self.refuse("is registered already");
            return None;
        }
        let fd = open_device(self.ctx)?;
        // SAFETY: the request is the program's and whole; netmap writes its answer into it.
        let rc = unsafe { libc::ioctl(fd, NIOCCTRL as _, &raw mut self.hdr) };
        if rc < 0 {
            self.say_refusal(errno());
            close(fd);
            return None;
        }
        self.fd = fd;
        self.register_done = 1;
        Some(())
    }

    /// Says which options netmap did not like, or else that it did not like the request.
    fn say_refusal(&self, code: c_int) {
        let name = shown(self.name());
        let mut said = false;
        for option in options(&self.hdr).filter(|option| option.nro_status != 0) {
            let what = option_name(option.nro_reqtype).to_string_lossy();
            let why = error_text(option.nro_status.cast_signed());
            self.ctx
                .fail(code, format_args!("{name}: option {what}: {why}"));
            said = true;
        }
        if !said {
            let why = error_text(code);
            self.ctx.fail(code, format_args!("{name}: {why}"));
        }
        set_errno(code);
    }

    /// Closes the descriptor, if there is one.
    fn undo_register(&mut self) {
        if self.fd >= 0 {
            close(self.fd);
        }
        self.fd = -1;
        self.register_done = 0;
    }

    /// Registers and maps; `None` after saying why not, and nothing is open then.
    fn open(&mut self) -> Option<()> {
        let done = self.register().and_then(|()| self.map());
        if done.is_none() {
            self.undo_open();
        }
        done
    }

    fn undo_open(&mut self) {
        self.unmap();
        self.undo_register();
    }
}

/// A descriptor in the default context, with an empty register request; null without memory.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_new() -> Option<Port> {
    Port::make(Context::default())
}

/// Frees a descriptor that is not parsed, registered or mapped.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_delete(d: Port) {
    d.delete();
}

/// Fills the port's requests from a name. After a failure they are as before.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_parse(mut d: Port, portspec: Text) -> c_int {
    status(d.parse(portspec))
}

/// Takes back options and everything a name has set, of a port that is not registered.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_undo_parse(mut d: Port) {
    d.undo_parse();
}

/// [`nmport_new`] and [`nmport_parse`].
#[unsafe(no_mangle)]
pub extern "C" fn nmport_prepare(portspec: Text) -> Option<Port> {
    let mut port = nmport_new()?;
    if port.parse(portspec).is_none() {
        port.delete();
        return None;
    }
    Some(port)
}

/// Takes [`nmport_prepare`] back; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_undo_prepare(d: Option<Port>) {
    if let Some(mut port) = d {
        port.undo_parse();
        port.delete();
    }
}

/// Opens `/dev/netmap` and sends the port's request.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_register(mut d: Port) -> c_int {
    status(d.register())
}

/// Closes the port's descriptor, if it has one.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_undo_register(mut d: Port) {
    d.undo_register();
}

/// Maps the region of a registered port, or takes part in the mapping that there is, and finds the
/// port's rings.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_mmap(mut d: Port) -> c_int {
    status(d.map())
}

/// Lets go of the port's region, which is unmapped after its last user. Nobody uses the port's
/// rings any more.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_undo_mmap(mut d: Port) {
    d.unmap();
}

/// [`nmport_register`] and [`nmport_mmap`].
#[unsafe(no_mangle)]
pub extern "C" fn nmport_open_desc(mut d: Port) -> c_int {
    status(d.open())
}

/// Takes [`nmport_open_desc`] back. Nobody uses the port's rings any more.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_undo_open_desc(mut d: Port) {
    d.undo_open();
}

/// [`nmport_prepare`] and [`nmport_open_desc`].
#[unsafe(no_mangle)]
pub extern "C" fn nmport_open(portspec: Text) -> Option<Port> {
    let mut port = nmport_prepare(portspec)?;
    if port.open().is_none() {
        nmport_undo_prepare(Some(port));
        return None;
    }
    Some(port)
}

/// Takes [`nmport_open`] back; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_close(d: Option<Port>) {
    if let Some(mut port) = d {
        port.undo_open();
        nmport_undo_prepare(Some(port));
    }
}

/// A new descriptor with the same requests, options left out.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_clone(d: Port) -> Option<Port> {
    if d.extmem.is_some() && d.register_done == 0 {
        d.refuse("uses extmem, so it must be registered before it can be cloned");
        return None;
    }
    let mut clone = Port::make(d.ctx)?;
    clone.hdr = nmreq_header {
        nr_body: clone.hdr.nr_body,
        nr_options: 0,
        ..d.hdr
    };
    clone.reg = d.reg;
    Some(clone)
}
