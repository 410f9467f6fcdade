//! How a program comes to be under the filter: its process installs it before exec, and sends what it got here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use uvale_link::channel::{pair, receive};
use uvale_system::sys::Fd;

use crate::filter::{Instruction, PASS_ON, program};
use crate::kernel::{Listener, fetch};
use crate::say::{self, Level, say};
use crate::serve::start;
use crate::supervisor::{Supervisor, World, attach};

/// Tells a run within another one which world is served.
const ENV_WORLD: &str = "UVALE_REACH_DIR";
/// What a process says before its exec: it sends its listener; another run serves it already.
const LISTENS: u8 = b'L';
const LISTENS_PATIENTLY: u8 = b'P';
const IS_SERVED: u8 = b'S';

const NEW_LISTENER: usize = 1 << 3;
/// Signals wait until a call that has been received is answered (Linux 5.19).
const WAIT_KILLABLE: usize = 1 << 5;

/// A program that is served from here.
pub struct Reached {
    /// the child's end of what its listener is sent by
    theirs: Option<Fd>,
    supervisor: Receiver<Option<Arc<Supervisor>>>,
}

/// Has `command`, not started yet, run under the filter, its processes served in `world` by threads of this one.
/// `verbose` as `uvale run -v`. Start it in a thread that stays: when that ends the program is killed. This process is
/// to have room for several descriptors for each of the program's.
///
/// # Errors
/// A sentence: what this system lacks.
pub fn reach(command: &mut Command, world: World, verbose: Option<i8>) -> Result<Reached, String> {
    say::set(verbose);
    let filter = is_possible()?;
    let (ours, theirs) = pair().map_err(|e| format!("cannot serve the program: {e}"))?;
    // A daemon that the program's children started would be under the filter, too.
    let session = match attach(&world) {
        Ok(session) => Some(Arc::new(session)),
        Err(refusal) => {
            say(Level::Trouble, &refusal.why);
            None
        }
    };
    let outer = std::env::var_os(ENV_WORLD);
    command
        .env(ENV_WORLD, &world.dir)
        .env(uvale_link::environment::ENV_AUTOSTART, "0");
    install(command, filter, theirs.raw());
    let (tell, supervisor) = channel();
    std::thread::Builder::new()
        .name("install".to_owned())
        .spawn(move || {
            let started = serve(ours, world, session, outer.as_deref());
            // A program that cannot be served would wait for ever: without a listener its calls fail.
            let _ = tell.send(started.unwrap_or_else(|why| {
                say(Level::Trouble, &why);
                None
            }));
        })
        .map_err(|e| format!("cannot serve the program: {e}"))?;
    Ok(Reached {
        theirs: Some(theirs),
        supervisor,
    })
}

/// Waits for the listener, and serves.
fn serve(
    ours: Fd,
    world: World,
    session: Option<Arc<uvale_link::session::Session>>,
    outer: Option<&OsStr>,
) -> Result<Option<Arc<Supervisor>>, String> {
    let failed = |errno: Errno| format!("the program cannot be served: {errno}");
    let Some(packet) = receive(ours.as_fd(), RecvFlags::empty()).map_err(failed)? else {
        return Ok(None);
    };
    let (said, pid) = packet
        .bytes
        .split_first()
        .ok_or_else(|| failed(Errno::PROTO))?;
    if *said == IS_SERVED {
        if outer.is_some_and(|outer| outer != world.dir.as_os_str()) {
            let why =
                "the program is served by the uvale run around this one, in the world of that";
            say(Level::Trouble, why);
        }
        return Ok(None);
    }
    let pid = pid.try_into().map(i32::from_ne_bytes);
    let fetches = pid.is_ok_and(can_fetch);
    if !fetches {
        say(
            Level::Refusal,
            "the kernel gives no descriptors of the program (pidfd_getfd; container engines that need --cap-add \
             SYS_PTRACE for it): waits for its ports end early, and each can be mapped once",
        );
    }
    let listener = packet
        .fds
        .into_iter()
        .next()
        .ok_or_else(|| failed(Errno::PROTO))?;
    let listener = Listener::new(OwnedFd::from(listener), *said == LISTENS_PATIENTLY);
    start(listener, world, session, fetches)
        .map(Some)
        .map_err(failed)
}

/// Does the kernel give descriptors of that child?
fn can_fetch(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return false;
    };
    // A number that is not open tells as well.
    let fetched = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| fetch(pidfd.as_fd(), 0));
    matches!(fetched, Ok(_) | Err(Errno::BADF))
}

/// The filter, if this system can serve programs.
fn is_possible() -> Result<Vec<Instruction>, String> {
    const WHAT: &str = "programs that a preloaded library does not reach cannot be served";
    let rings = std::env::var_os("NMSHIM_IO_URING").is_some_and(|value| value == "allow");
    let filter = program(rings).ok_or_else(|| format!("{WHAT} on this processor"))?;
    let release = uvale_system::who::read_start("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = String::from_utf8_lossy(&release);
    let release = release.trim_end();
    if release.is_empty() {
        return Err(format!("{WHAT}: /proc is not mounted"));
    }
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let version: (u32, u32) = (next(), next());
    if version < (5, 14) {
        return Err(format!(
            "{WHAT}: that needs Linux 5.14, and this is {release}"
        ));
    }
    if !notifies() {
        return Err(format!(
            "{WHAT}: this kernel, or the container's seccomp profile, has no user notification"
        ));
    }
    Ok(filter)
}

#[allow(unsafe_code)]
fn notifies() -> bool {
    const GET_ACTION_AVAIL: usize = 2;
    let action = libc::SECCOMP_RET_USER_NOTIF;
    let args = [GET_ACTION_AVAIL, 0, &raw const action as usize, 0, 0, 0];
    // SAFETY: the kernel reads the action.
    unsafe { uvale_system::raw::call(libc::SYS_seccomp, args) == 0 }
}

/// Has the child install the filter and send its listener by `to`.
#[allow(unsafe_code)]
fn install(command: &mut Command, filter: Vec<Instruction>, to: i32) {
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: only system calls, on memory that the closure owns.
        unsafe { install_here(&program, to) }.map_err(std::io::Error::from)
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(install) };
}

/// In the child: dies with its parent, gives up to gain rights by exec, and is served from now on.
///
/// # Safety
/// In a child that will exec; the program is alive.
#[allow(unsafe_code)]
unsafe fn install_here(program: &libc::sock_fprog, to: i32) -> Result<(), Errno> {
    use uvale_system::raw::{call, check};
    const SET_MODE_FILTER: usize = 1;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the kernel reads the program, whose instructions are alive.
    let set = |flags| unsafe {
        let args = [
            SET_MODE_FILTER,
            flags,
            core::ptr::from_ref(program) as usize,
            0,
            0,
            0,
        ];
        check(call(libc::SYS_seccomp, args))
    };
    let (word, set) = match set(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno::INVAL) => (LISTENS, set(NEW_LISTENER)),
        set => (LISTENS_PATIENTLY, set),
    };
    match set {
        Ok(listener) => tell(to, word, Some(listener as i32)),
        // A filter above this one has a listener, and there can be one.
        Err(Errno::BUSY) => tell(to, IS_SERVED, None),
        Err(errno) => Err(errno),
    }
}

/// Sends a word, this process's number, and a descriptor, by a call that the filter lets through.
#[allow(unsafe_code)]
fn tell(to: i32, word: u8, fd: Option<i32>) -> Result<(), Errno> {
    let mut bytes = [word, 0, 0, 0, 0];
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    bytes[1..].copy_from_slice(&pid.to_ne_bytes());
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    #[repr(C)]
    struct Control {
        head: libc::cmsghdr,
        fd: i32,
    }
    // SAFETY: integers, for which zero is valid.
    let mut control: Control = unsafe { core::mem::zeroed() };
    let len = core::mem::offset_of!(Control, fd) + size_of::<i32>();
    control.head.cmsg_len = len as _;
    control.head.cmsg_level = libc::SOL_SOCKET;
    control.head.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: as above.
    let mut message: libc::mmsghdr = unsafe { core::mem::zeroed() };
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    if let Some(fd) = fd {
        control.fd = fd;
        message.msg_hdr.msg_control = (&raw mut control).cast();
        message.msg_hdr.msg_controllen = size_of::<Control>() as _;
    }
    let flags = PASS_ON as usize;
    let args = [to as usize, &raw mut message as usize, 1, flags, 0, 0];
    // SAFETY: the kernel reads the message and what it points to, all alive, and writes its length.
    let sent = unsafe { uvale_system::raw::call(libc::SYS_sendmmsg, args) };
    uvale_system::raw::check(sent).map(drop)
}

impl Reached {
    /// To be called when the command has been started, or could not be.
    pub fn started(&mut self) {
        self.theirs = None;
    }

    /// The program has ended: `alone` is called, by another thread, when nobody is left that it has left behind.
    pub fn when_alone(mut self, alone: impl FnOnce() + Send + 'static) {
        self.theirs = None;
        let wait = move || {
            if let Ok(Some(supervisor)) = self.supervisor.recv() {
                supervisor.wait_until_alone();
            }
            alone();
        };
        // Without a thread nobody is waited for: they are served until this process ends.
        let _ = std::thread::Builder::new()
            .name("linger".to_owned())
            .spawn(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_word_and_a_descriptor_arrive() {
        let (ours, theirs) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        tell(theirs.raw(), LISTENS, Some(file.as_raw_fd())).unwrap();
        let packet = receive(ours.as_fd(), RecvFlags::empty()).unwrap().unwrap();
        assert_eq!(packet.bytes[0], LISTENS);
        assert_eq!(packet.bytes[1..], (std::process::id() as i32).to_ne_bytes());
        assert_eq!(packet.fds.len(), 1);
        tell(theirs.raw(), IS_SERVED, None).unwrap();
        let packet = receive(ours.as_fd(), RecvFlags::empty()).unwrap().unwrap();
        assert_eq!((packet.bytes[0], packet.fds.len()), (IS_SERVED, 0));
    }
}
