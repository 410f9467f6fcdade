//! Where metrics are served: a Unix socket, or a port of the loopback interface.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use uvale_tools::output::plain;

/// A listening socket.
pub enum Listener {
    /// of the loopback interface
    Tcp(TcpListener),
    /// a name in the file system
    Unix(UnixListener),
}

/// Removes a Unix socket's name when the daemon ends.
pub struct Name {
    path: PathBuf,
    /// of the socket that we made
    inode: (u64, u64),
}

impl Drop for Name {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|of| (of.dev(), of.ino()))
}

/// An address with what is relative in it made absolute.
pub fn absolute(address: &str) -> String {
    match address.strip_prefix("unix:") {
        Some(path) => match std::path::absolute(path) {
            Ok(path) => format!("unix:{}", path.display()),
            Err(_) => address.to_owned(),
        },
        None => address.to_owned(),
    }
}

impl Listener {
    /// Listens at `unix:PATH`, `ADDRESS:PORT` or `PORT`. A group may be let in at a Unix socket.
    pub fn new(address: &str, group: Option<u32>) -> Result<(Self, Option<Name>), String> {
        let wrong = |why: &str| format!("metrics at {address}: {why}");
        if let Some(path) = address.strip_prefix("unix:") {
            let path = Path::new(path);
            let (listener, name) = unix(path, group).map_err(|why| wrong(&why))?;
            return Ok((Self::Unix(listener), Some(name)));
        }
        let at = tcp(address).map_err(|why| wrong(&why))?;
        let listener = TcpListener::bind(at).map_err(|e| match e.kind() {
            ErrorKind::AddrInUse => wrong("another process has this port; give another one"),
            _ => wrong(&format!("cannot listen there: {}", plain(&e))),
        })?;
        Ok((Self::Tcp(listener), None))
    }

    /// The next connection.
    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// The address with the port that the system chose.
    pub fn said(&self, address: &str) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or(address.to_owned(), |at| format!("http://{at}/metrics")),
            Self::Unix(_) => address.to_owned(),
        }
    }
}

fn tcp(address: &str) -> Result<SocketAddr, String> {
    let text = match address.trim_start_matches(':') {
        port if port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{}:{port}", Ipv4Addr::LOCALHOST)
        }
        _ => address.replace("localhost:", "127.0.0.1:"),
    };
    let at: SocketAddr = text.parse().map_err(|_| {
        "it takes unix:PATH, ADDRESS:PORT or PORT, such as 127.0.0.1:9464".to_owned()
    })?;
    match at.ip().to_canonical().is_loopback() {
        true => Ok(at),
        false => Err("only addresses of loopback (127.0.0.1, [::1]) are served, as whoever can connect can read; \
             have a proxy or ssh bring them further"
            .to_owned()),
    }
}

fn unix(path: &Path, group: Option<u32>) -> Result<(UnixListener, Name), String> {
    let cannot = |e: io::Error| format!("cannot make the socket: {}", plain(&e));
    if !path.is_absolute() {
        return Err("the path has to begin with /".to_owned());
    }
    match path.symlink_metadata() {
        Ok(there) if !there.file_type().is_socket() => {
            return Err("this exists and is no socket; remove it or give another path".to_owned());
        }
        Ok(_) => match is_left(path) {
            true => std::fs::remove_file(path).map_err(cannot)?,
            false => {
                return Err(
                    "this exists, and another process may listen there; give another path"
                        .to_owned(),
                );
            }
        },
        Err(_) => {}
    }
    // Nobody else may connect at any time. No other thread runs yet that could make files.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(cannot)?;
    let inode = inode(path).map_err(cannot)?;
    let path = path.to_owned();
    let name = Name { path, inode };
    let mode = match group {
        Some(_) => 0o660,
        None => 0o600,
    };
    std::os::unix::fs::chown(&name.path, None, group).map_err(cannot)?;
    std::fs::set_permissions(&name.path, std::fs::Permissions::from_mode(mode)).map_err(cannot)?;
    Ok((listener, name))
}

/// Is that the socket of a process that was killed? Does not wait for one that lives.
fn is_left(path: &Path) -> bool {
    let connect = || {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)
    };
    connect() == Err(Errno::CONNREFUSED)
}

/// A connection.
pub enum Stream {
    /// of the loopback interface
    Tcp(TcpStream),
    /// of a Unix socket
    Unix(UnixStream),
}

impl Stream {
    /// Ends it, whoever reads or writes.
    pub fn end(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Nothing more comes from us.
    pub fn end_writing(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Reads what is there, waiting so long at most.
    pub fn read_within(&self, time: Duration, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream
                .set_read_timeout(Some(time))
                .and_then(|()| (&*stream).read(to)),
            Self::Unix(stream) => stream
                .set_read_timeout(Some(time))
                .and_then(|()| (&*stream).read(to)),
        }
    }

    /// Writes what there is room for, waiting so long at most.
    pub fn write_within(&self, time: Duration, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream
                .set_write_timeout(Some(time))
                .and_then(|()| (&*stream).write(bytes)),
            Self::Unix(stream) => stream
                .set_write_timeout(Some(time))
                .and_then(|()| (&*stream).write(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served() {
        for (address, at) in [
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:1", "127.0.0.1:1"),
            ("127.1.2.3:5", "127.1.2.3:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(
                tcp(address).map(|at| at.to_string()),
                Ok(at.to_owned()),
                "{address}"
            );
        }
        for (address, why) in [
            ("0.0.0.0:9464", "only addresses of loopback"),
            ("[::]:9464", "only addresses of loopback"),
            ("192.0.2.1:9464", "only addresses of loopback"),
            ("[::ffff:192.0.2.1]:1", "only addresses of loopback"),
            ("127.0.0.1", "it takes unix:PATH"),
            ("99999", "it takes unix:PATH"),
            ("", "it takes unix:PATH"),
            ("example:80", "it takes unix:PATH"),
        ] {
            assert!(
                tcp(address).is_err_and(|said| said.contains(why)),
                "{address}"
            );
        }
    }

    /// A process that accepts nothing, and has no room for another connection, is not waited for; one that is gone
    /// leaves its socket to us. Nobody but its owner may connect.
    #[test]
    fn sockets_that_are_left_and_those_that_are_not() {
        let name = format!("uvale-metrics-left-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert!(unix(&path, None).is_err_and(|why| why.contains("another process may listen")));
        drop(listener);
        let (_listener, name) = unix(&path, None).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(name);
        assert!(!path.exists());
    }
}
