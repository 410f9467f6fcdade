//! The structures of `libnetmap.h`. Programs make, read and write them; `tests/layout.rs` holds
//! them against the header.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use nm_abi::{netmap_if, nmreq_header, nmreq_opt_extmem, nmreq_opt_offsets, nmreq_register};

use crate::given::{Given, Text};

/// Receives an error sentence.
pub type nmctx_error_cb = Option<unsafe extern "C" fn(*mut nmctx, *const c_char)>;
/// As `malloc`.
pub type nmctx_malloc_cb = Option<unsafe extern "C" fn(*mut nmctx, usize) -> *mut c_void>;
/// As `free`.
pub type nmctx_free_cb = Option<unsafe extern "C" fn(*mut nmctx, *mut c_void)>;
/// Locks (1) or unlocks (0).
pub type nmctx_lock_cb = Option<unsafe extern "C" fn(*mut nmctx, c_int)>;

/// How the library reports errors and gets memory, and which regions are mapped.
#[repr(C)]
#[derive(Debug)]
pub struct nmctx {
    /// 0: `error` is not called.
    pub verbose: c_int,
    /// Where sentences go.
    pub error: nmctx_error_cb,
    /// Where memory comes from.
    pub malloc: nmctx_malloc_cb,
    /// Where memory goes.
    pub free: nmctx_free_cb,
    /// Guards `mem_descs`; none: one thread only.
    pub lock: nmctx_lock_cb,
    /// First of the mapped regions.
    pub mem_descs: Option<NonNull<nmem_d>>,
}

/// A context that a program hands over, or that something was made in: it lives as long as it is
/// used, and its callbacks are not changed while they may be called. Other threads may use it too.
/// Its methods, in `context`, do what the program's callbacks say.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Context(NonNull<nmctx>);

impl Context {
    /// # Safety
    /// `ctx` is there as long as the result is used, and its callbacks are not changed while they
    /// may be called.
    pub(crate) unsafe fn new(ctx: NonNull<nmctx>) -> Self {
        Self(ctx)
    }

    pub(crate) fn as_ptr(self) -> *mut nmctx {
        self.0.as_ptr()
    }
}

/// A mapped region.
#[repr(C)]
#[derive(Debug)]
pub struct nmem_d {
    /// netmap's number of it.
    pub mem_id: u16,
    /// Ports that use it.
    pub refcount: c_int,
    /// Where it is mapped.
    pub mem: *mut c_void,
    /// Its bytes.
    pub size: usize,
    /// Not 0: the program's own memory.
    pub is_extmem: c_int,
    /// The next region of the context.
    pub next: Option<NonNull<nmem_d>>,
    /// The one before.
    pub prev: Option<NonNull<nmem_d>>,
}

/// One thing to undo.
#[derive(Debug)]
pub(crate) enum Cleanup {
    /// Take the extmem option out of the request and free it.
    Extmem,
    /// Unmap a file.
    File(*mut c_void, usize),
    /// Take an offsets option out of the request and free it.
    Offsets(Given<nmreq_opt_offsets>),
}

/// Something to undo when a port goes.
#[repr(C)]
#[derive(Debug)]
pub struct nmport_cleanup_d {
    pub(crate) next: Option<Given<nmport_cleanup_d>>,
    pub(crate) what: Cleanup,
}

/// A port.
#[repr(C)]
#[derive(Debug)]
pub struct nmport_d {
    /// The request and netmap's answer to it.
    pub hdr: nmreq_header,
    /// Its body.
    pub reg: nmreq_register,
    /// The mapped region.
    pub mem: Option<NonNull<nmem_d>>,
    /// The context the port was made in.
    pub ctx: Context,
    /// Not 0 when it is registered.
    pub register_done: c_int,
    /// Not 0 when it is mapped.
    pub mmap_done: c_int,
    /// The extmem option in `hdr`.
    pub extmem: Option<Given<nmreq_opt_extmem>>,
    /// Descriptor of `/dev/netmap`, or -1.
    pub fd: c_int,
    /// The port's place in the region.
    pub nifp: *mut netmap_if,
    /// First tx ring that may be used.
    pub first_tx_ring: u16,
    /// Last tx ring that may be used.
    pub last_tx_ring: u16,
    /// First rx ring that may be used.
    pub first_rx_ring: u16,
    /// Last rx ring that may be used.
    pub last_rx_ring: u16,
    /// Where `nmport_inject` tries first.
    pub cur_tx_ring: u16,
    /// First rx ring to begin with, then the program's.
    pub cur_rx_ring: u16,
    /// What to undo, last first.
    pub clist: Option<Given<nmport_cleanup_d>>,
}

/// Most keys that an option has.
pub const NMREQ_OPT_MAXKEYS: usize = 16;
/// Key flag: the key alone will do.
pub const NMREQ_OPTK_ALLOWEMPTY: c_uint = 1 << 0;
/// Key flag: the key must be given.
pub const NMREQ_OPTK_MUSTSET: c_uint = 1 << 1;
/// Key flag: this is the default key.
pub const NMREQ_OPTK_DEFAULT: c_uint = 1 << 2;
/// Option flag: refused.
pub const NMREQ_OPTF_DISABLED: c_uint = 1 << 0;
/// Option flag: the option alone will do.
pub const NMREQ_OPTF_ALLOWEMPTY: c_uint = 1 << 1;

/// A key of an option.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nmreq_opt_key {
    /// Its name, with `_`; none ends the list.
    pub key: Option<Text>,
    /// Its place among the values.
    pub id: c_int,
    /// `NMREQ_OPTK_*`
    pub flags: c_uint,
}

/// Understands an option: 0, or -1 with errno set.
pub type nmreq_opt_parser_cb = Option<unsafe extern "C" fn(&mut nmreq_parse_ctx) -> c_int>;

/// An option, its keys and who understands them.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct nmreq_opt_parser {
    /// Name of the option.
    pub prefix: Text,
    /// Who understands it.
    pub parse: nmreq_opt_parser_cb,
    /// Id of the key that `option=value` sets, or -1.
    pub default_key: c_int,
    /// Number of keys; informative.
    pub nr_keys: c_int,
    /// `NMREQ_OPTF_*`
    pub flags: AtomicU32,
    /// The next option, or null.
    pub next: *const nmreq_opt_parser,
    /// The keys.
    pub keys: [nmreq_opt_key; NMREQ_OPT_MAXKEYS],
}

/// The values of an option's keys.
#[repr(C)]
#[derive(Debug)]
pub struct nmreq_parse_ctx {
    /// For errors and memory.
    pub ctx: Context,
    /// As given to `nmreq_options_decode`.
    pub token: *mut c_void,
    /// Values by key id.
    pub keys: [Option<Text>; NMREQ_OPT_MAXKEYS],
}
