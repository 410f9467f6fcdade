//! What a process and `uvale nic-helper` say to each other: one question and one answer on a connection of their own.
//!
//! The question comes with a socket of the network namespace in which the interface is. Only who stands in a namespace
//! can make one, while anybody may open a namespace that has a name (`/run/netns`). The answer comes with the
//! descriptors of a wire. Nothing else is to be sent, and a wire belongs to whoever holds its descriptors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socket_with,
};
use serde::{Deserialize, Serialize};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::{Carrier, Opened, Shape, Wanted};

use crate::channel;
use crate::environment::{self, ENV_NIC_HELPER};
use crate::proto::{beginning, decode, encode};

/// Changes with every incompatible change of these messages, or of what is in them.
pub const PROTOCOL: u32 = 2;
/// Where a helper listens if nobody says otherwise.
pub const SOCKET: &str = "/run/uvale-nic-helper/socket";
/// Rings of a direction at most: all descriptors of a wire fit in one packet.
pub const MOST_RINGS: u32 = 64;
/// How long a question may be under way.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// Bytes of an interface's name, with the zero that ends it.
const NAME_SIZE: usize = 16;

/// May I have the wire of this interface? With it comes a socket of the interface's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// [`PROTOCOL`] of the caller
    pub protocol: u32,
    /// the interface's name
    pub name: String,
    /// and its number
    pub index: u32,
    /// rx rings, tx rings
    pub rings: [u32; 2],
    /// what is to carry its packets
    pub carrier: Carrier,
}

impl Question {
    /// Takes a question apart. Whatever the bytes are, they are a question of this protocol that makes sense, or
    /// refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let nonsense = |why: &str| Refusal::new(Errno::PROTO, format!("the question {why}"));
        match protocol_of(bytes) {
            Some(PROTOCOL) => {}
            Some(other) => return Err(Refusal::new(Errno::PROTO, difference(PROTOCOL, other))),
            None => return Err(nonsense("is none")),
        }
        let question: Self = decode(bytes).ok_or_else(|| nonsense("is cut or too long"))?;
        let is_name = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
        if question.name.is_empty()
            || question.name.len() >= NAME_SIZE
            || !question.name.chars().all(is_name)
        {
            return Err(nonsense("names no interface"));
        }
        if question.index == 0 || question.index > i32::MAX as u32 {
            return Err(nonsense("has no interface's number"));
        }
        match question.rings.iter().all(|n| (1..=MOST_RINGS).contains(n)) {
            true => Ok(question),
            false => Err(nonsense(&format!(
                "asks for {} and {} rings; 1 to {MOST_RINGS} can be had",
                question.rings[0], question.rings[1]
            ))),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`PROTOCOL`] of the helper; a refusal is understood by every version
    pub protocol: u32,
    /// the wire, or why not
    pub offer: Result<Offer, Refusal>,
}

/// A wire, with its descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// what it is
    pub shape: Shape,
    /// descriptors that it consists of
    pub fds: u32,
    /// descriptors to be kept as long as it is used, behind those
    pub kept: u32,
}

impl Answer {
    /// Refused.
    pub fn refusal(why: Refusal) -> Self {
        let protocol = PROTOCOL;
        let offer = Err(why);
        Self { protocol, offer }
    }

    /// An answer, and what comes with it.
    pub fn new(opened: Result<Opened, Refusal>) -> (Self, Vec<Fd>) {
        let Opened { shape, fds, kept } = match opened {
            Ok(opened) => opened,
            Err(why) => return (Self::refusal(why), Vec::new()),
        };
        let offer = Ok(Offer {
            shape,
            fds: fds.len() as u32,
            kept: kept.len() as u32,
        });
        let protocol = PROTOCOL;
        let all = fds.into_iter().chain(kept).collect();
        (Self { protocol, offer }, all)
    }

    /// What a process makes of an answer, and of what came with it.
    fn opened(bytes: &[u8], mut fds: Vec<Fd>) -> Result<Opened, Refusal> {
        let nonsense = || Refusal::new(Errno::PROTO, "its answer is none");
        let protocol = protocol_of(bytes).ok_or_else(nonsense)?;
        let offer = match decode(bytes) {
            Some(Answer {
                offer: Err(why), ..
            }) => return Err(why),
            _ if protocol != PROTOCOL => {
                return Err(Refusal::new(Errno::PROTO, difference(protocol, PROTOCOL)));
            }
            Some(Answer {
                offer: Ok(offer), ..
            }) => offer,
            None => return Err(nonsense()),
        };
        if fds.len() as u64 != u64::from(offer.fds) + u64::from(offer.kept) {
            // The kernel leaves out descriptors that there is no room for.
            let why = "this process has no descriptors left for what it sends (ulimit -n)";
            return Err(Refusal::new(Errno::MFILE, why));
        }
        let kept = fds.split_off(offer.fds as usize);
        let shape = offer.shape;
        Ok(Opened { shape, fds, kept })
    }
}

/// The protocol of a question or an answer, which begin alike in all versions.
fn protocol_of(bytes: &[u8]) -> Option<u32> {
    beginning(bytes)
}

fn difference(helper: u32, caller: u32) -> String {
    format!(
        "the nic-helper speaks protocol {helper}, the program's libnmshim {caller}: they are of different versions \
         of uvale"
    )
}

/// The socket of the helper that a process may ask; `None` if it is to ask none.
pub fn place() -> Option<PathBuf> {
    match environment::get(ENV_NIC_HELPER) {
        Some(named) if named.is_empty() => None,
        Some(named) => Some(named.into()),
        None => Some(SOCKET.into())
            .filter(|path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()),
    }
}

/// Asks the helper at `place` for a wire, of an interface in the namespace of this thread.
pub fn ask(place: &Path, wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let question = Question {
        protocol: PROTOCOL,
        name: wanted.name.to_owned(),
        index: wanted.interface.index,
        rings: wanted.rings,
        carrier: wanted.carrier,
    };
    let fds = own_network().map_err(|e| Refusal::new(e, format!("no socket: {e}")))?;
    let at = place.display();
    let connection = connect(place)
        .map_err(|e| Refusal::new(e, format!("the nic-helper at {at}: {}", absent(e))))?;
    exchange(connection.as_fd(), &question, fds.as_fd()).map_err(|refusal| {
        let why = format!("the nic-helper at {at} refuses: {}", refusal.why);
        Refusal::new(refusal.errno, why)
    })
}

/// A socket that shows which network namespace this thread is in.
fn own_network() -> Result<Fd, Errno> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    socket_with(AddressFamily::UNIX, kind, flags, None).map(Fd::from)
}

fn connect(place: &Path) -> Result<Fd, Errno> {
    let address = SocketAddrUnix::new(place)?;
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let fd = Fd::from(socket_with(AddressFamily::UNIX, kind, flags, None)?);
    set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&fd, &address))?;
    Ok(fd)
}

fn absent(errno: Errno) -> String {
    match errno {
        Errno::NOENT | Errno::NOTDIR => "there is no such socket".into(),
        Errno::CONNREFUSED => "it is gone, and has left its socket behind".into(),
        Errno::AGAIN => "it accepts no connection: it is stopped, or busy".into(),
        other => other.to_string(),
    }
}

fn exchange(
    to: BorrowedFd<'_>,
    question: &Question,
    with: BorrowedFd<'_>,
) -> Result<Opened, Refusal> {
    let silent = |e| match e {
        Errno::TIMEDOUT => Refusal::new(e, "it does not answer"),
        Errno::PIPE | Errno::CONNRESET => Refusal::new(Errno::NXIO, "it hung up"),
        other => Refusal::new(other, other.to_string()),
    };
    // Who refuses a connection answers and hangs up without a look at the question.
    let sent = channel::send(to, question, &[with], SendFlags::DONTWAIT);
    channel::wait_within(to, PollFlags::IN, PATIENCE).map_err(silent)?;
    let received = channel::receive(to, RecvFlags::DONTWAIT);
    match received.or_else(|_| channel::receive(to, RecvFlags::DONTWAIT)) {
        Ok(Some(packet)) => Answer::opened(&packet.bytes, packet.fds),
        Ok(None) => Err(silent(sent.err().unwrap_or(Errno::PIPE))),
        Err(e) => Err(silent(e)),
    }
}

/// For a helper: the question on `connection`, and the socket that came with it.
pub fn hear(connection: BorrowedFd<'_>, patience: Duration) -> Result<(Question, Fd), Refusal> {
    let late = |e| match e {
        Errno::TIMEDOUT => Refusal::new(
            e,
            format!("no question came within {} s", patience.as_secs()),
        ),
        other => Refusal::new(other, format!("the question could not be read: {other}")),
    };
    channel::wait_within(connection, PollFlags::IN, patience).map_err(late)?;
    let mut space = [core::mem::MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let packet =
        channel::receive_into(connection, RecvFlags::DONTWAIT, &mut space).map_err(late)?;
    let mut packet = packet.ok_or_else(|| Refusal::new(Errno::NXIO, "the caller hung up"))?;
    let question = Question::decode(&packet.bytes)?;
    let socket = packet.fds.pop();
    let none = || {
        Refusal::new(
            Errno::PROTO,
            "the question came without a socket of its network namespace",
        )
    };
    Ok((question, socket.ok_or_else(none)?))
}

/// For a helper: gives an answer. Whoever does not read it costs nobody anything.
pub fn answer(connection: BorrowedFd<'_>, opened: Result<Opened, Refusal>) -> Result<(), Errno> {
    let (answer, fds) = Answer::new(opened);
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    channel::send_bytes(connection, &encode(&answer), &fds, SendFlags::DONTWAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question() -> Question {
        Question {
            protocol: PROTOCOL,
            name: "eth1".into(),
            index: 2,
            rings: [1, 1],
            carrier: Carrier::Best,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_refused(bytes: Vec<u8>) {
            if let Ok(question) = Question::decode(&bytes) {
                prop_assert_eq!(encode(&question), bytes);
            }
        }

        /// Near a question, where random bytes hardly ever are.
        #[test]
        fn whatever_is_in_it(protocol in 0u32..3, name: String, index: u32, rings in [0u32..70, 0u32..70]) {
            let asked = Question { protocol, name, index, rings, carrier: Carrier::Best };
            if let Ok(question) = Question::decode(&encode(&asked)) {
                prop_assert!(question.protocol == PROTOCOL && question.index > 0);
                prop_assert!((1..16).contains(&question.name.len()));
                prop_assert!(question.rings.iter().all(|n| (1..=MOST_RINGS).contains(n)));
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_refused(bytes: Vec<u8>) {
            let _ = Answer::opened(&bytes, Vec::new());
        }

        #[test]
        fn a_question_that_is_cut_or_goes_on_is_refused(cut in 0usize..9, more in 1usize..9) {
            let whole = encode(&question());
            prop_assert!(Question::decode(&whole[..cut.min(whole.len() - 1)]).is_err());
            prop_assert!(Question::decode(&[whole, vec![0; more]].concat()).is_err());
        }
    }

    #[test]
    fn names_and_numbers_that_are_none() {
        assert_eq!(Question::decode(&encode(&question())), Ok(question()));
        for name in ["", "a b", "a/b", "a:1", "a\n", "a\0", "sixteencharacter"] {
            let name = name.into();
            assert!(Question::decode(&encode(&Question { name, ..question() })).is_err());
        }
        for index in [0, 1 << 31] {
            assert!(
                Question::decode(&encode(&Question {
                    index,
                    ..question()
                }))
                .is_err()
            );
        }
        for rings in [[0, 1], [1, 0], [MOST_RINGS + 1, 1]] {
            assert!(
                Question::decode(&encode(&Question {
                    rings,
                    ..question()
                }))
                .is_err()
            );
        }
    }

    /// Each side tells that the other is of another version, whichever is newer.
    #[test]
    fn versions_that_differ_are_told() {
        let newer = [encode(&(PROTOCOL + 1)), vec![9; 40]].concat();
        let why = Question::decode(&newer).unwrap_err().why;
        assert!(why.contains("different versions"), "{why}");
        let why = Answer::opened(&newer, Vec::new()).unwrap_err().why;
        assert!(why.contains("different versions"), "{why}");
        let refusal = Answer {
            protocol: PROTOCOL + 1,
            offer: Err(Refusal::new(Errno::ACCESS, "no")),
        };
        let why = Answer::opened(&encode(&refusal), Vec::new()).unwrap_err();
        assert_eq!((why.errno, why.why.as_str()), (Errno::ACCESS, "no"));
    }

    #[test]
    fn descriptors_that_are_lost_on_the_way_are_missed() {
        let shape = Shape {
            kind: uvale_wire::Kind::Nothing,
            frames: Vec::new(),
            senders: 0,
            host: None,
            is_stolen: false,
            plan: None,
            lacks: Vec::new(),
        };
        let fd = || own_network().unwrap();
        let (fds, kept) = (vec![fd(), fd()], vec![fd()]);
        let (answer, fds) = Answer::new(Ok(Opened { shape, fds, kept }));
        let bytes = encode(&answer);
        let opened = Answer::opened(&bytes, fds).unwrap();
        assert_eq!((opened.fds.len(), opened.kept.len()), (2, 1));
        assert_eq!(
            Answer::opened(&bytes, vec![fd()]).unwrap_err().errno,
            Errno::MFILE
        );
    }
}
