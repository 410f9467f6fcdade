//! `/dev/netmap` as `uvale ctl` uses it: `open` and `ioctl` of libc, where a preloaded shim steps
//! in and which reach the kernel where it has netmap.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nm_abi::{AbiBytes, NETMAP_API, NETMAP_DEVICE_NAME, NIOCCTRL, nmreq_header};
use uvale_link::waiting::{ENV_PATIENCE, PATIENCE};

/// Header of a request; version and body are filled in when it is sent.
pub type Header = nmreq_header;

/// An open `/dev/netmap`, bound to nothing.
pub struct Device(File);

impl Device {
    /// Opens it.
    pub fn open() -> Result<Self, String> {
        let open = File::options()
            .read(true)
            .write(true)
            .open(NETMAP_DEVICE_NAME);
        open.map(Self).map_err(|e| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or(0));
            format!("{NETMAP_DEVICE_NAME}: {}", errno.desc())
        })
    }

    /// Sends a request whose type has a body of type `T`.
    pub fn request<T: AbiBytes>(&self, header: &mut Header, body: &mut T) -> Result<(), Errno> {
        header.nr_body = (&raw mut *body) as u64;
        // The body lives, exclusively borrowed, until after the call.
        let result = self.control(header);
        header.nr_body = 0;
        result
    }

    /// Sends a request whose type has no body.
    pub fn request_without_body(&self, header: &mut Header) -> Result<(), Errno> {
        header.nr_body = 0;
        self.control(header)
    }

    fn control(&self, header: &mut Header) -> Result<(), Errno> {
        header.nr_version = NETMAP_API;
        let number = NIOCCTRL as _;
        // SAFETY: the header is exclusively borrowed, has no options, and names either no body or
        // one that the caller borrows exclusively and whose type goes with `nr_reqtype`. What
        // netmap writes are integers (promise of `AbiBytes`). Nobody else knows the addresses.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), number, &raw mut *header) };
        Errno::result(result).map(drop)
    }
}

/// Tells the shim of this process, or of the one that takes its place, which world is meant, and
/// whether to say why a request is refused, unless the user has set how much it says.
pub fn prepare_environment(dir: Option<&Path>, explain: bool) {
    const VERBOSE: &str = "NMSHIM_VERBOSE";
    let dir = dir.map(uvale_link::name::absolute);
    // SAFETY: the command line is parsed and handled by the first and only thread; no other can be
    // reading the environment.
    unsafe {
        if let Some(dir) = dir {
            std::env::set_var(uvale_link::environment::ENV_DIR, dir);
        }
        // A command is not worth waiting for as long as a program does.
        if std::env::var_os(ENV_PATIENCE).is_none() {
            std::env::set_var(ENV_PATIENCE, PATIENCE.to_string());
        }
        if explain && std::env::var_os(VERBOSE).is_none() {
            std::env::set_var(VERBOSE, "1");
        }
    }
}
