//! Who may connect, and what a connection becomes: its first message.

use rustix::io::Errno;

use super::Daemon;
use super::connection::{Answer, Answered, Role};
use uvale_control::ClientId;
use uvale_link::proto::{PROTOCOL, Reply};
use uvale_system::peer::credentials;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_system::who::{Holder, Who};

/// Checks the version of a first message.
fn speaks_ours(protocol: u32) -> Result<(), Refusal> {
    if protocol != PROTOCOL {
        return Err(of_another_version(protocol));
    }
    Ok(())
}

/// Was the other end of `socket` made by the daemon's own user?
pub(super) fn is_own_user(socket: &Fd) -> Result<(), Refusal> {
    let own = rustix::process::geteuid().as_raw();
    match uvale_system::peer::credentials(socket) {
        Ok(peer) if peer.uid == own => Ok(()),
        Ok(peer) => Err(Refusal::new(
            Errno::ACCESS,
            format!(
                "this uvale daemon serves user {own} only and you are user {}; set UVALE_DIR to a \
                 directory of your own to use a daemon of your own",
                peer.uid
            ),
        )),
        Err(e) => Err(Refusal::new(e, "cannot tell who is calling")),
    }
}

/// Is this one end of an unnamed pair of sockets, made for a session? An end of a connection to a
/// name could be our own, which would never hang up.
fn is_pair(socket: &Fd) -> bool {
    use rustix::net::{
        AddressFamily, SocketAddrAny, SocketType, getpeername, getsockname, sockopt,
    };
    let unnamed = |address: SocketAddrAny| {
        address.address_family() == AddressFamily::UNIX
            && address.addr_len() as usize == size_of::<libc::sa_family_t>()
    };
    sockopt::socket_type(socket) == Ok(SocketType::SEQPACKET)
        && getsockname(socket).is_ok_and(unnamed)
        && getpeername(socket).is_ok_and(|a| a.is_some_and(unnamed))
}

/// The refusal of a client with another protocol.
pub(super) fn of_another_version(protocol: u32) -> Refusal {
    let own = env!("CARGO_PKG_VERSION");
    Refusal::new(
        Errno::PROTO,
        format!(
            "this uvale daemon is of version {own} (protocol {PROTOCOL}), libnmshim speaks protocol \
             {protocol}: `uvale stop` ends the daemon and the next program starts one of its own"
        ),
    )
}

impl Daemon {
    /// Checks the version and the user of a first message.
    pub(super) fn admit(&self, id: u64, protocol: u32) -> Result<(), Refusal> {
        speaks_ours(protocol)?;
        self.connections
            .get(&id)
            .map_or(Ok(()), |c| is_own_user(&c.fd))
    }

    /// Notes who is at the other end of a connection, to show to people.
    pub(super) fn introduce(&mut self, id: u64, who: &Who) -> Option<Holder> {
        let runner = self.runners.process_of(id);
        let connection = self.connections.get_mut(&id)?;
        let peer = credentials(&connection.fd).ok()?;
        // A runner's connection was made here.
        let pid = runner.unwrap_or(peer.pid);
        connection.who = Some(Holder::new(who, pid, peer.uid));
        connection.who.clone()
    }

    pub(super) fn become_role(&mut self, id: u64, role: Role) {
        self.newcomers.remove(&id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = role;
            if let Role::Session(number) = role {
                self.sessions.insert(number, id);
            }
        }
    }

    pub(super) fn attach(&mut self, id: u64, protocol: u32, who: &Who) -> Answered<'_> {
        self.admit(id, protocol)?;
        Ok(self.begin_session(id, who))
    }

    /// A process that got a descriptor of the device from elsewhere sends the socket of its session.
    pub(super) fn attach_given(
        &mut self,
        protocol: u32,
        who: &Who,
        socket: Option<Fd>,
    ) -> Answered<'_> {
        speaks_ours(protocol)?;
        let no_pair = || Refusal::new(Errno::PROTO, "a session comes with a pair of sockets");
        let socket = socket.filter(is_pair).ok_or_else(no_pair)?;
        is_own_user(&socket)?;
        let id = self.accept(socket);
        Ok(self.begin_session(id, who))
    }

    fn begin_session(&mut self, id: u64, who: &Who) -> Answer<'_> {
        let session = self.next_session;
        // Numbers share a word with the lock's waiter mark.
        self.next_session = (session + 1) & 0x7fff_ffff;
        self.become_role(id, Role::Session(session));
        if let Some(holder) = self.introduce(id, who) {
            self.world.session_began(session, holder);
        }
        Answer(Reply::Attached { session }, Some(self.ctl_memfd.parts()))
    }

    pub(super) fn open(
        &mut self,
        id: u64,
        protocol: u32,
        flags: i32,
        who: &Who,
    ) -> Result<Reply, Refusal> {
        self.admit(id, protocol)?;
        let client = match self.introduce(id, who) {
            Some(holder) => self.world.open_by(holder),
            None => self.world.open(),
        };
        self.devices.insert(client.0, id);
        self.become_role(id, Role::Device { client, flags });
        Ok(self.whois(client, flags))
    }

    pub(super) fn whois(&self, client: ClientId, flags: i32) -> Reply {
        Reply::Opened {
            world: self.ctl.world(),
            client: client.0,
            flags,
            bound: self.bound(client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_may_come_with() {
        let (a, _b) = uvale_link::channel::pair().unwrap();
        assert!(is_pair(&a));
        let stream = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_pair(&std::os::fd::OwnedFd::from(stream.0).into()));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_pair(&std::os::fd::OwnedFd::from(file).into()));
        // An end of a connection to a name, and the name itself.
        let dir = uvale_link::name::new_abstract().unwrap();
        let listener = uvale_link::place::listen(&dir, 1).unwrap();
        let client = uvale_link::place::connect(&dir).unwrap();
        let server = rustix::net::accept(&listener).unwrap();
        assert!(![client, server.into(), listener].iter().any(is_pair));
    }
}
