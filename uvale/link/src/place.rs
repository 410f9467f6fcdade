//! Where a world lives: its runtime directory, and the socket in it.
//!
//! A socket's name has room for 107 bytes. A directory with a longer name is reached through a
//! descriptor, `/proc/self/fd/N/uvale.sock`. A world that has no directory, because nothing can be
//! written, has a name that begins with `@`: an abstract socket, which is found only in the network
//! namespace where it was made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

use crate::environment::{self, ENV_DIR};
use crate::name::is_abstract;

/// Name of the listening socket in it. A descriptor whose peer has this name may be ours.
pub const SOCKET: &str = "uvale.sock";
/// Mode bit: only the owner of a file in the directory may remove it.
const STICKY: u32 = 0o1000;
/// Longest path that `sockaddr_un` takes, with its final zero.
const SUN_PATH: usize = 108;
/// First descriptor that systemd passes.
const LISTEN_FDS_START: i32 = 3;

/// The runtime directory: `UVALE_DIR`, else `$XDG_RUNTIME_DIR/uvale`, else `/run/uvale` for root
/// and `/tmp/uvale-UID` for others.
pub fn runtime_dir() -> PathBuf {
    if let Some(dir) = environment::get(ENV_DIR) {
        return dir.into();
    }
    let uid = rustix::process::getuid().as_raw();
    match environment::get("XDG_RUNTIME_DIR") {
        Some(dir) => Path::new(&dir).join("uvale"),
        None if uid == 0 => "/run/uvale".into(),
        None => format!("/tmp/uvale-{uid}").into(),
    }
}

/// The address of a socket.
struct Address {
    address: SocketAddrUnix,
    /// the directory that it goes through
    _dir: Option<Fd>,
}

/// The address of the socket in `dir`, which must be there if its name is long.
fn address(dir: &Path) -> Result<Address, Refusal> {
    let path = dir.join(SOCKET);
    let bytes = path.as_os_str().as_bytes();
    let short = |address: Result<SocketAddrUnix, Errno>| match address {
        Ok(address) => Ok(Address {
            address,
            _dir: None,
        }),
        Err(e) => Err(Refusal::new(
            e,
            format!("{} cannot be a socket's name: {e}", path.display()),
        )),
    };
    if is_abstract(dir) {
        return short(SocketAddrUnix::new_abstract_name(&bytes[1..]));
    }
    if bytes.len() < SUN_PATH {
        return short(SocketAddrUnix::new(&path));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = Fd::from(rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| absent(dir, e))?);
    let name = format!("/proc/self/fd/{}", dir.raw());
    if rustix::fs::stat(name.as_str()).is_err() {
        return Err(Refusal::new(
            Errno::NAMETOOLONG,
            format!(
                "{} is too long for a socket's name, and cannot be reached in another way because \
                 /proc is not mounted; set {ENV_DIR} to a directory with a shorter name",
                path.display()
            ),
        ));
    }
    Ok(Address {
        address: SocketAddrUnix::new(format!("{name}/{SOCKET}").as_str())?,
        _dir: Some(dir),
    })
}

/// Why no daemon can be reached in `dir`.
fn absent(dir: &Path, errno: Errno) -> Refusal {
    let place = dir.join(SOCKET);
    let place = place.display();
    let why = match errno {
        Errno::NOENT | Errno::NOTDIR => {
            format!("no uvale daemon answers at {place}: there is no such socket")
        }
        Errno::CONNREFUSED => format!(
            "no uvale daemon answers at {place}: it is gone, and has left its socket behind as one does \
             that is killed"
        ),
        Errno::TIMEDOUT => format!(
            "the uvale daemon at {place} accepts no connection: it is stopped, or the machine is overloaded"
        ),
        other => format!("{place}: {}", Refusal::from(other)),
    };
    Refusal::new(errno, why)
}

fn socket(flags: SocketFlags) -> Result<Fd, Errno> {
    let kind = SocketType::SEQPACKET;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).map(Fd::from)
}

/// Connects to the daemon of `dir`. The descriptor is close-on-exec.
pub fn connect(dir: &Path) -> Result<Fd, Refusal> {
    let to = address(dir)?;
    let fd = socket(SocketFlags::CLOEXEC)?;
    crate::waiting::connect(&fd, &to.address).map_err(|e| absent(dir, e))?;
    // No permissions guard a name without a directory: another user can take it when its daemon
    // is gone.
    if is_abstract(dir) && !uvale_system::peer::is_own_user(&fd)? {
        let why = format!("what answers at {} is another user's", dir.display());
        return Err(Refusal::new(Errno::ACCESS, why));
    }
    Ok(fd)
}

/// A socket that listens in `dir`.
pub fn listen(dir: &Path, backlog: i32) -> Result<Fd, Refusal> {
    let at = address(dir)?;
    let fd = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let listening =
        rustix::net::bind(&fd, &at.address).and_then(|()| rustix::net::listen(&fd, backlog));
    listening.map_err(|e| {
        let why = format!("cannot listen at {}: {e}", dir.join(SOCKET).display());
        Refusal::new(e, why)
    })?;
    Ok(fd)
}

/// The socket systemd passed to this process, if it did.
pub fn activated() -> Option<Fd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    if number("LISTEN_PID")? != pid || number("LISTEN_FDS")? < 1 {
        return None;
    }
    let socket = Fd::from_raw(LISTEN_FDS_START);
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    Some(socket)
}

/// Is `dir` a directory of ours that nobody else can write to? `Ok(false)` if it does not exist.
pub fn is_safe(dir: &Path) -> Result<bool, String> {
    if is_abstract(dir) {
        return Ok(true);
    }
    let stat = match rustix::fs::lstat(dir) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(format!("cannot look at {}: {e}", dir.display())),
    };
    let uid = rustix::process::getuid().as_raw();
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return Err(format!(
            "{} is not a directory; remove it or set {ENV_DIR}",
            dir.display()
        ));
    }
    if stat.st_uid != uid {
        return Err(format!(
            "{} belongs to user {}, not to you ({uid}); set {ENV_DIR} to a directory of your own, \
             such as {}",
            dir.display(),
            stat.st_uid,
            inside(dir, stat.st_mode, uid).display()
        ));
    }
    // A directory such as /tmp belongs to everybody, and must stay so.
    if stat.st_mode & STICKY != 0 && stat.st_mode & 0o022 != 0 {
        return Err(format!(
            "{} is a directory of everybody's; set {ENV_DIR} to one of your own, such as {}",
            dir.display(),
            inside(dir, stat.st_mode, uid).display()
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(format!(
            "{} can be written by others; do: chmod go-w {}",
            dir.display(),
            dir.display()
        ));
    }
    Ok(true)
}

/// Why something in the runtime directory cannot be created, and what to do.
pub fn cannot_make(path: &Path, e: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let hint = match e.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => format!(
            "; set {ENV_DIR} to a directory that you can write, or let programs have a world of \
             their own: uvale run --private -- PROGRAM"
        ),
        _ => String::new(),
    };
    format!("cannot make {}: {e}{hint}", path.display())
}

/// A directory for `uid`: in a shared one if that can be written, as the volumes of containers can.
fn inside(dir: &Path, mode: u32, uid: u32) -> PathBuf {
    let name = format!("uvale-{uid}");
    match mode & 0o002 {
        0 => Path::new(OsStr::new("/tmp")).join(name),
        _ => dir.join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{absolute, new_abstract};
    use std::os::unix::fs::DirBuilderExt;

    /// A directory of the test's own, gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("uvale-place-{}", std::process::id()));
            let dir = dir.join(name);
            let mut make = std::fs::DirBuilder::new();
            make.recursive(true).mode(0o700).create(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn meets(dir: &Path) {
        let listener = listen(dir, 1).unwrap();
        let client = connect(dir).unwrap();
        let server = Fd::from(rustix::net::accept(&listener).unwrap());
        let peer = rustix::net::getpeername(&client).unwrap().unwrap();
        let peer = SocketAddrUnix::try_from(peer).unwrap();
        let name = peer.path_bytes().or(peer.abstract_name()).unwrap();
        let end = name.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        assert!(name[..end].ends_with(b"/uvale.sock"), "{name:?}");
        rustix::net::send(&client, b"x", rustix::net::SendFlags::empty()).unwrap();
        assert!(
            crate::channel::receive(
                rustix::fd::AsFd::as_fd(&server),
                rustix::net::RecvFlags::empty()
            )
            .unwrap()
            .is_some()
        );
    }

    #[test]
    fn directories_of_any_length() {
        // Around the longest name, and far beyond it.
        let base = Scratch::new("lengths");
        let room = SUN_PATH - base.0.as_os_str().len() - SOCKET.len() - 2;
        for n in [room - 2, room - 1, room, room + 1, 200, 250] {
            let dir = base.0.join("x".repeat(n));
            std::fs::create_dir(&dir).unwrap();
            meets(&dir);
        }
    }

    #[test]
    fn names_without_a_directory() {
        let dir = new_abstract().unwrap();
        assert_ne!(dir, new_abstract().unwrap());
        assert_eq!(absolute(&dir), dir);
        assert_eq!(is_safe(&dir), Ok(true));
        assert_eq!(
            connect(&dir).err().map(|f| f.errno),
            Some(Errno::CONNREFUSED)
        );
        meets(&dir);
        let long = PathBuf::from(format!("@{}", "x".repeat(200)));
        assert!(connect(&long).is_err());
    }

    #[test]
    fn a_directory_of_everybodys_is_left_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let base = Scratch::new("modes");
        for (mode, part) in [(0o1777, "such as "), (0o777, "chmod go-w")] {
            std::fs::set_permissions(&base.0, std::fs::Permissions::from_mode(mode)).unwrap();
            let why = is_safe(&base.0).unwrap_err();
            assert!(why.contains(part), "{mode:o}: {why}");
        }
    }

    #[test]
    fn what_is_not_there() {
        let base = Scratch::new("absent");
        for name in ["short".to_owned(), "x".repeat(200)] {
            let refusal = connect(&base.0.join(name)).err().unwrap();
            assert_eq!(refusal.errno, Errno::NOENT, "{refusal}");
            assert!(refusal.why.contains("no uvale daemon answers"), "{refusal}");
        }
    }
}
