//! The listening socket: made here, or handed over by systemd.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use uvale_link::place::activated;
use uvale_system::sys::Fd;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How often a socket that is in use is looked at again, and how long after the last time.
const LOOKS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at `path`, for every user: the rules say who gets what.
pub fn listener(path: &Path) -> Result<Fd, String> {
    if let Some(passed) = activated() {
        return Ok(passed);
    }
    let fail = |e: Errno| format!("cannot listen at {}: {e}", path.display());
    if let Some(dir) = path.parent() {
        let made = rustix::fs::mkdir(dir, Mode::from(0o755));
        if made.is_ok() {
            // Whatever the umask is.
            let _ = rustix::fs::chmod(dir, Mode::from(0o755));
        }
    }
    let address = SocketAddrUnix::new(path).map_err(fail)?;
    let socket = socket().map_err(fail)?;
    let mut looks = 0;
    let bound = loop {
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) if is_left_over(&address) => {
                let _ = unlink(path);
                break bind(&socket, &address);
            }
            // Requests of a helper that was killed have its socket until they end.
            Err(Errno::ADDRINUSE) if looks < LOOKS => {
                looks += 1;
                std::thread::sleep(PAUSE);
            }
            other => break other,
        }
    };
    bound.map_err(fail)?;
    rustix::fs::chmod(path, Mode::from(0o666)).map_err(fail)?;
    listen(&socket, BACKLOG).map_err(fail)?;
    Ok(socket)
}

fn socket() -> Result<Fd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket.into())
}

/// Has a helper that is gone left its socket?
fn is_left_over(address: &SocketAddrUnix) -> bool {
    socket().and_then(|s| connect(&s, address)) == Err(Errno::CONNREFUSED)
}
