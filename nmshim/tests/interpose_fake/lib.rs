//! A device for tests of interposition alone: its readiness is in a page of shared memory, and its own
//! ioctls move it. Built as a library like nmshim itself, with this driver in place of netmap's.
//!
//! `FAKE_DIR` names an empty directory. Every open makes a listening socket `N/uvale.sock` there, connects the
//! program's descriptor to it, keeps the other end at a high number, and puts the page into `N/state`. So a process
//! that inherits a descriptor finds the page by the socket's name.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use libc::{
    POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, c_int, c_short, c_ulong, c_void,
};
use nmshim::device::{Driver, Errno, File, Inet, Interface, InterfaceChange, Parameter, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The shared page; `interpose_c/fake.h` has the same in C.
#[repr(C)]
struct State {
    rx: AtomicU32,
    room: AtomicU32,
    bound: AtomicU32,
    gone: AtomicU32,
    edges: AtomicU64,
    armed: AtomicU32,
    polls: AtomicU32,
    arms: AtomicU32,
    disarms: AtomicU32,
    drains: AtomicU32,
    spins: AtomicU32,
    last_closes: AtomicU32,
    spin_finds: AtomicU32,
    forks: AtomicU32,
    flags: AtomicU32,
    arm_finds: AtomicU32,
}

struct FakeFile {
    state: &'static State,
    dir: PathBuf,
    /// The daemon's end, if this process (or the one it was forked from) opened the device.
    far_end: RawFd,
    alive: RawFd,
    life: RawFd,
    flags: c_int,
    adopted: bool,
    /// [`HERE`] as long as it is
    here: AtomicU32,
}

const HERE: u32 = 0x4845_5245;
/// How many files there are.
static LIVING: AtomicU32 = AtomicU32::new(0);

impl FakeFile {
    /// A short call: looks `n` times whether the file is still there.
    fn look(&self, n: u32) -> Result<c_int> {
        for _ in 0..n {
            if self.here.load(SeqCst) != HERE {
                std::process::abort();
            }
            std::thread::yield_now();
        }
        Ok(0)
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        self.here.store(0, SeqCst);
        LIVING.fetch_sub(1, SeqCst);
    }
}

const PRIVATE: Range<RawFd> = 700..760;
static FORKS: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Fake;
static FAKE: &'static dyn Driver = &Fake;

extern "C" fn start() {
    nmshim::install(&FAKE);
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// Closes past everybody: OwnedFd would call whatever `close` comes first.
fn shut(fd: OwnedFd) {
    // SAFETY: owned until now.
    unsafe { rustix::io::close(fd.into_raw_fd()) };
}

/// Moves a descriptor to a high number.
fn hide(fd: OwnedFd) -> RawFd {
    let high = rustix::io::fcntl_dupfd_cloexec(&fd, PRIVATE.start).expect("a high number");
    shut(fd);
    high.into_raw_fd()
}

fn file_at(flags: c_int, adopted: bool, dir: &Path, far_end: RawFd) -> FakeFile {
    let page = rustix::fs::open(
        dir.join("state"),
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("state");
    // SAFETY: a fresh shared mapping of one page, never unmapped; State is made of atomics.
    let state = unsafe {
        let p = rustix::mm::mmap(
            core::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &page,
            0,
        );
        &*p.expect("map").cast::<State>()
    };
    shut(page);
    let (alive, life) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    state.flags.store(flags as u32, SeqCst);
    LIVING.fetch_add(1, SeqCst);
    FakeFile {
        state,
        dir: dir.into(),
        far_end,
        alive: hide(alive),
        life: hide(life),
        flags,
        adopted,
        here: AtomicU32::new(HERE),
    }
}

impl Driver for Fake {
    fn open(&self, flags: c_int) -> Result<(RawFd, Arc<dyn File>)> {
        let base = CString::new("FAKE_DIR").expect("no zero");
        // SAFETY: getenv's answer is a C string that the tests never change.
        let base = unsafe { std::ffi::CStr::from_ptr(libc::getenv(base.as_ptr())) };
        let n = COUNT.fetch_add(1, SeqCst);
        let dir = Path::new(std::ffi::OsStr::from_bytes(base.to_bytes())).join(format!(
            "{}-{n}",
            rustix::process::getpid().as_raw_nonzero()
        ));
        rustix::fs::mkdir(&dir, Mode::RWXU).expect("mkdir");
        let page = rustix::fs::open(
            dir.join("state"),
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        );
        let page = page.expect("state");
        rustix::fs::ftruncate(&page, 4096).expect("a page");
        shut(page);
        let address = SocketAddrUnix::new(dir.join("uvale.sock")).expect("address");
        let socket = |flags| {
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        };
        let listener = socket(SocketFlags::CLOEXEC).expect("socket");
        rustix::net::bind(&listener, &address).expect("bind");
        rustix::net::listen(&listener, 1).expect("listen");
        let mut kind = SocketFlags::empty();
        kind.set(SocketFlags::CLOEXEC, flags & libc::O_CLOEXEC != 0);
        let near = socket(kind).expect("socket");
        rustix::net::connect(&near, &address).expect("connect");
        rustix::io::ioctl_fionbio(&near, flags & libc::O_NONBLOCK != 0).expect("nonblocking");
        let far_end =
            hide(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("accept"));
        shut(listener);
        let file = file_at(flags, false, &dir, far_end);
        Ok((near.into_raw_fd(), Arc::new(file)))
    }

    fn adopt(&self, fd: RawFd) -> Option<Arc<dyn File>> {
        // SAFETY: `fd` is open: the caller has just looked at it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let peer = SocketAddrUnix::try_from(rustix::net::getpeername(fd).ok()??).ok()?;
        let dir = Path::new(std::ffi::OsStr::from_bytes(peer.path_bytes()?))
            .parent()?
            .to_owned();
        Some(Arc::new(file_at(libc::O_RDWR, true, &dir, -1)))
    }

    fn after_fork_in_child(&self) {
        FORKS.fetch_add(1, SeqCst);
    }

    fn is_private(&self, fd: RawFd) -> bool {
        PRIVATE.contains(&fd)
    }

    fn private_range(&self) -> Range<RawFd> {
        PRIVATE
    }

    fn interfaces(&self) -> Vec<Interface> {
        interfaces().clone()
    }

    fn change_interface(&self, index: u32, change: InterfaceChange) -> Result<()> {
        let mut all = interfaces();
        let interface = all.iter_mut().find(|i| i.index == index);
        let interface = interface.ok_or(Errno(libc::ENODEV))?;
        match change {
            InterfaceChange::Flags(flags) => interface.flags = flags,
            InterfaceChange::Mtu(mtu) => interface.mtu = mtu,
            InterfaceChange::Address(address) => interface.address = address,
            InterfaceChange::Inet(inet) => interface.inet = inet,
        }
        Ok(())
    }

    fn parameter(&self, name: &str) -> Option<Parameter> {
        (name == "buf_size").then(|| Parameter {
            text: "2048".into(),
            writable: false,
        })
    }
}

/// What this process has set up.
fn interfaces() -> MutexGuard<'static, Vec<Interface>> {
    static ALL: Mutex<Vec<Interface>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As it is at first. The second one has an IPv4 address.
fn interface(n: u32) -> Interface {
    Interface {
        name: format!("fake{n}").into_bytes(),
        index: 0x4000_0000 + n,
        address: [2, 0, 0, 0, (n >> 8) as u8, n as u8],
        mtu: 1500,
        flags: (libc::IFF_BROADCAST | libc::IFF_MULTICAST) as u32,
        inet: (n == 1).then_some(Inet {
            address: [10, 9, 8, 7],
            netmask: [255, 255, 255, 0],
            broadcast: [10, 9, 8, 255],
        }),
    }
}

/// As many, and with `WITH_LO` one whose name is the kernel's.
fn set_up(n: u32) -> Vec<Interface> {
    let mut all: Vec<Interface> = (0..n & !WITH_LO).map(interface).collect();
    if n & WITH_LO != 0 {
        all.push(Interface {
            name: b"lo".to_vec(),
            ..interface(9)
        });
    }
    all
}

impl FakeFile {
    fn token(&self) {
        if self.far_end >= 0 {
            // SAFETY: the far end stays open as long as the process lives.
            let far = unsafe { BorrowedFd::borrow_raw(self.far_end) };
            let _ = rustix::net::send(far, b"!", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn event(&self) {
        self.state.edges.fetch_add(1, SeqCst);
        if self.state.armed.load(SeqCst) != 0 {
            self.token();
        }
    }
}

/// 'F', number.
const fn io(n: c_ulong) -> c_ulong {
    0x4600 + n
}

const BIND: c_ulong = io(1);
const PUSH: c_ulong = io(2);
const TAKE: c_ulong = io(3);
const ROOM: c_ulong = io(4);
const GONE: c_ulong = io(5);
const TOKEN: c_ulong = io(6);
const PANIC: c_ulong = io(7);
const FORKED: c_ulong = io(8);
const HANG_UP: c_ulong = io(9);
const INTERFACES: c_ulong = io(10);
/// One of the seam's `SHORT_CALLS`.
const SHORT: c_ulong = 0x6901;
const COUNTED: c_ulong = io(11);
const WITH_LO: u32 = 0x1000;

impl File for FakeFile {
    fn ioctl(&self, _fd: RawFd, request: c_ulong, arg: *mut c_void) -> Result<c_int> {
        let n = arg as usize as u32;
        match request {
            BIND => self.state.bound.store(1, SeqCst),
            PUSH => {
                self.state.rx.fetch_add(n, SeqCst);
                self.event();
            }
            TAKE => {
                self.state.rx.fetch_sub(n, SeqCst);
            }
            ROOM => {
                self.state.room.store(n, SeqCst);
                self.event();
            }
            GONE => {
                self.state.gone.store(1, SeqCst);
                // SAFETY: the write end is this file's own. Not OwnedFd: its close is the shim's, which refuses.
                unsafe { rustix::io::close(self.life) };
            }
            TOKEN => self.token(),
            PANIC => panic!("the driver panics"),
            SHORT => return self.look(n),
            COUNTED => return Ok(LIVING.load(SeqCst) as c_int),
            FORKED => return Ok(FORKS.load(SeqCst) as c_int),
            HANG_UP => {
                // SAFETY: the far end is this file's own.
                unsafe { rustix::io::close(self.far_end) };
            }
            INTERFACES => *interfaces() = set_up(n),
            _ => return Err(Errno(libc::EOPNOTSUPP)),
        }
        Ok(0)
    }

    fn mmap(
        &self,
        _fd: RawFd,
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<*mut c_void> {
        if self.state.bound.load(SeqCst) == 0 || offset != 0 || len > 4096 {
            return Err(Errno(libc::EINVAL));
        }
        let path = self.dir.join("state");
        let page =
            rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("state");
        // SAFETY: the program's own mapping of the page.
        let p = unsafe {
            rustix::mm::mmap(
                addr,
                len,
                ProtFlags::from_bits_retain(prot as u32),
                MapFlags::from_bits_retain(flags as u32),
                page.as_fd(),
                0,
            )
        };
        shut(page);
        p.map_err(|e| Errno(e.raw_os_error()))
    }

    fn poll(&self, _fd: RawFd, events: c_short) -> c_short {
        self.state.polls.fetch_add(1, SeqCst);
        if self.state.gone.load(SeqCst) != 0 {
            return POLLERR | POLLHUP;
        }
        if self.state.bound.load(SeqCst) == 0 {
            return POLLERR;
        }
        let mut r = 0;
        if self.state.rx.load(SeqCst) != 0 {
            r |= POLLIN | POLLRDNORM;
        }
        if self.state.room.load(SeqCst) != 0 {
            r |= POLLOUT | POLLWRNORM;
        }
        r & events
    }

    fn spin(&self, _fd: RawFd, _events: c_short) -> c_short {
        self.state.spins.fetch_add(1, SeqCst);
        if self.state.spin_finds.load(SeqCst) != 0 {
            self.state.rx.fetch_add(1, SeqCst);
            return POLLIN;
        }
        0
    }

    fn drain(&self, fd: RawFd) {
        self.state.drains.fetch_add(1, SeqCst);
        let mut token = [0u8; 8];
        // SAFETY: the number the program used; in use during the call.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        while rustix::net::recv(fd, &mut token[..], RecvFlags::DONTWAIT).is_ok_and(|(_, n)| n != 0)
        {
        }
    }

    fn arm(&self, _fd: RawFd, _events: c_short) {
        self.state.arms.fetch_add(1, SeqCst);
        // What comes in just before somebody is armed sends no token.
        self.state
            .rx
            .fetch_add(self.state.arm_finds.load(SeqCst), SeqCst);
        self.state.armed.fetch_add(1, SeqCst);
    }

    fn disarm(&self, _fd: RawFd, _events: c_short) {
        self.state.disarms.fetch_add(1, SeqCst);
        self.state.armed.fetch_sub(1, SeqCst);
    }

    fn edges(&self) -> u64 {
        self.state.edges.load(SeqCst)
    }

    fn liveness(&self) -> RawFd {
        self.alive
    }

    fn open_flags(&self) -> c_int {
        self.flags
    }

    fn longest_nap(&self, _events: c_short) -> u64 {
        match self.adopted || FORKS.load(SeqCst) != 0 {
            true => 100_000_000,
            false => u64::MAX,
        }
    }

    fn last_close(&self, fd: RawFd) {
        assert!(fd.as_raw_fd() >= 0);
        self.state.last_closes.fetch_add(1, SeqCst);
    }

    fn describe(&self) -> String {
        "fake".into()
    }
}
