//! The host's side of a NIC port: what arrives is kept from its stack, what it sends comes to the port, and
//! what the port sends to it arrives there.
//!
//! | file | what |
//! |---|---|
//! | `classifier.rs` | tcx: stealing what arrives |
//! | `rules.rs` | nftables: diverting what the host sends, and stealing where there is no tcx for us |
//! | `tap.rs` | the device by which the two reach each other |
//!
//! ```text
//!  wire -> eth0 -+-> packet socket of the port            host -> eth0 -> egress chain -> TAP -> packet socket
//!                +-> tcx or ingress chain: dropped
//!  port -> packet socket -> eth0 -> egress chain: own     port -> packet socket -> TAP -> tc -> eth0 ->
//!          mark, goes out                                         tcx, ingress chain: own mark -> host
//! ```
//!
//! What the host sends is finished on the way by the kernel, because the TAP can do nothing for it: checksums are
//! complete and large packets taken apart, whatever the interface's offloads are.
//!
//! Nothing of this outlives its descriptors: the table dies with its netlink socket, the TAP with its descriptor, the
//! classifier with its link.
//! A mark of 32 bits, made at random for each wire, tells a port's own packets; it is taken off before anybody else
//! sees the packet, but rules of the user's that come before (tc's) see it.

mod classifier;
mod rules;
pub(crate) mod tap;

use core::fmt::Display;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, attach_filter, random, set_option};

use crate::interface::filters;
use crate::netlink::{self, Failure, Message, Socket, Subject};
use crate::packet::open::{receiver, sender, shape};
use crate::packet::{FrameShape, filter, option};
use crate::{Opened, Wanted};
use classifier::Classifier;
use rules::{Rules, of_the_host};
use tap::{RTM_GETLINK, Tap, ifinfo};

/// Frames of what the host sends, as many as a host ring has slots.
const FRAMES: u32 = 1024;

/// What [`Control`] knows of a wire besides its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    index: u32,
    mark: u32,
    tap: Option<u32>,
    /// there is a classifier: was it stealing when the wire was opened?
    classifier: Option<bool>,
    /// rules steal: alone, or what somebody's program of tcx lets pass before the classifier sees it
    has_rules: bool,
}

/// Switches what the host of a wire sees and what becomes of its packets. Whoever does this needs CAP_NET_ADMIN in
/// the user namespace of the interface's network namespace, in which it need not stand. A classifier alone takes no
/// right.
#[derive(Debug)]
pub struct Control {
    plan: Plan,
    links: Socket,
    table: Socket,
    classifier: Option<Classifier>,
    /// the TAP, and what else is kept with the wire
    _held: Vec<Fd>,
}

impl Control {
    /// From a wire's [`Opened::kept`] and the plan in its shape; `EPROTO` if they do not belong together.
    pub fn from_fds(plan: Plan, fds: Vec<Fd>) -> Result<Self, Errno> {
        let mut fds = fds.into_iter();
        let mut netlink = |subject| Socket::from_peer(fds.next().ok_or(Errno::PROTO)?, subject);
        let (links, table) = (netlink(Subject::Route)?, netlink(Subject::Netfilter)?);
        let classifier = match plan.classifier {
            Some(is_dropping) => {
                let fds: Vec<Fd> = fds.by_ref().take(Classifier::FDS).collect();
                let fds = fds.try_into().map_err(|_| Errno::PROTO)?;
                Some(Classifier::from_fds(fds, is_dropping))
            }
            None => None,
        };
        Ok(Self {
            plan,
            links,
            table,
            classifier,
            _held: fds.collect(),
        })
    }

    /// From now on: with `steal` the host does not see what arrives; with `divert` what it sends comes to the port,
    /// and is lost if nobody takes it from there. What the port sends to the host arrives there in any case, if
    /// there is a TAP; without one nothing is diverted. The interface's address is looked up for this: when it has
    /// changed, this is to be called again.
    ///
    /// The rules change all at once. A program on tcx changes before them, and back if they are refused. In between
    /// the two differ, and what arrives is dropped by one of them: the host loses for a moment what it is about to
    /// lose, or gets a moment later what it is to get.
    pub fn set(&self, steal: bool, divert: bool) -> Result<(), Refusal> {
        self.change(steal, divert)
            .map_err(|why| Refusal::new(why.errno, why.what))
    }

    /// The interface has gone, perhaps into another namespace. A program on tcx goes with it, and from now on lets the
    /// host there have everything; rules stay behind, where nothing arrives any more.
    pub fn release(&self) {
        if let Some(classifier) = &self.classifier {
            // With an interface that is deleted its program is gone, too.
            let _ = classifier.set(false);
        }
    }

    fn change(&self, steal: bool, divert: bool) -> Result<(), Why> {
        let Some(classifier) = &self.classifier else {
            return self.replace_rules(steal, divert);
        };
        let refused = |errno| match errno {
            Errno::NOLINK => Why::gone(),
            other => Why::new(other, format!("a program of tcx: {other}")),
        };
        let was_dropping = classifier.set(steal).map_err(refused)?;
        if !self.plan.has_rules {
            return Ok(());
        }
        self.replace_rules(steal, divert).inspect_err(|_| {
            let _ = classifier.set(was_dropping);
        })
    }

    fn replace_rules(&self, steal: bool, divert: bool) -> Result<(), Why> {
        let Plan {
            index, mark, tap, ..
        } = self.plan;
        let link = link_by_index(&self.links, index)?;
        let rules = Rules {
            index,
            device: &link.name,
            address: link.address,
            mark,
            steal,
            host: tap.is_some(),
            divert: tap.filter(|_| divert),
        };
        let (requests, lacks): (Vec<_>, Vec<_>) = rules.steps().into_iter().unzip();
        let asked = self.table.ask_together(netlink::batch(requests));
        asked.map(drop).map_err(|failure| {
            // The batch has a beginning.
            let step = failure.at.checked_sub(1).and_then(|at| lacks.get(at));
            Why::lacks(&failure, step.unwrap_or(&rules::NO_TABLES))
        })
    }
}

/// Adds to a wire of packet sockets what of this the rights allow, and says what they do not.
pub(crate) fn add(wanted: &Wanted<'_>, opened: &mut Opened) {
    let is_seen = wanted.steal && !opened.shape.is_stolen;
    let mut control = match begin(wanted) {
        Ok(control) => control,
        Err(why) => {
            let both = [(is_seen, ALSO_SEES), (wanted.host, NO_HOST)];
            let lacking = both.into_iter().filter(|(is_lacking, _)| *is_lacking);
            let sentences = lacking.map(|(_, what)| format!("{what}: {}", why.what));
            opened.shape.lacks.extend(sentences);
            return;
        }
    };
    opened.shape.is_stolen |= wanted.steal;
    if wanted.host
        && let Err(why) = connect(wanted, &mut control, opened)
    {
        opened.shape.lacks.push(format!("{NO_HOST}: {}", why.what));
    }
    opened.shape.plan = Some(control.plan);
    let first = [control.links.into_fd(), control.table.into_fd()];
    let classifier = control.classifier.map(Classifier::into_fds);
    let all = first.into_iter().chain(classifier.into_iter().flatten());
    let all = all.chain(control._held);
    opened.kept = all.chain(core::mem::take(&mut opened.kept)).collect();
}

const ALSO_SEES: &str = "the host also sees what arrives";
const NO_HOST: &str = "host rings carry nothing";

/// What steals, which it does if it is wanted, and the sockets that the rest takes.
fn begin(wanted: &Wanted<'_>) -> Result<Control, Why> {
    let links = Socket::open(Subject::Route).map_err(|e| Why::new(e, format!("netlink: {e}")))?;
    let table =
        Socket::open(Subject::Netfilter).map_err(|e| Why::lacks(&e.into(), rules::NO_TABLES))?;
    let index = wanted.interface.index;
    // The host's mark is this one and 1.
    let mark = random() as u32 & !1 | 2;
    // Without the rights or the kernel for it, rules of nftables do the same, for more time by packet.
    let has_filters = !filters(&links, index).is_empty();
    let classifier =
        (wanted.programs && !has_filters).then(|| Classifier::attach(index, mark).ok());
    let classifier = classifier.flatten();
    let plan = Plan {
        index,
        mark,
        tap: None,
        classifier: classifier.is_some().then_some(wanted.steal),
        has_rules: true,
    };
    let mut control = Control {
        plan,
        links,
        table,
        classifier,
        _held: Vec::new(),
    };
    if let Err(why) = control.change(wanted.steal, false) {
        if control.classifier.is_none() {
            return Err(why);
        }
        // A classifier steals without rules, too, unless somebody's program comes before it.
        control.plan.has_rules = false;
        control.change(wanted.steal, false)?;
    }
    Ok(control)
}

/// The TAP, its sockets, and the way there. What the host sends is lost to it as long as the interface's rings are
/// open, as in netmap, and only then.
fn connect(wanted: &Wanted<'_>, control: &mut Control, opened: &mut Opened) -> Result<(), Why> {
    let Plan { index, mark, .. } = control.plan;
    let link = link_by_index(&control.links, index)?;
    let Tap { fd, index: tap } = tap::open(&control.links, &link, mark)?;
    let sockets = sockets(tap, wanted.interface.mtu, mark, opened)
        .map_err(|e| Why::new(e, format!("packet sockets: {e}")))?;
    let before = control.plan;
    control.plan.tap = Some(tap);
    control.plan.has_rules = true;
    if let Err(why) = control.change(wanted.steal, wanted.steal) {
        control.plan = before;
        return Err(why);
    }
    control._held.push(fd);
    let ((hears, shape), speaks) = sockets;
    opened.shape.host = Some(shape);
    opened.fds.extend([hears, speaks]);
    Ok(())
}

/// A receiving socket for what the host sends, and a sending one for what it is to get. The wire's own packet sockets
/// are given the mark; AF_XDP passes by all of this.
fn sockets(
    tap: u32,
    mtu: u32,
    mark: u32,
    opened: &Opened,
) -> Result<((Fd, FrameShape), Fd), Errno> {
    let mut packet_sockets = opened.fds.iter();
    for fd in packet_sockets.by_ref().take(opened.shape.frames.len()) {
        filter::arriving(fd, Some(mark))?;
    }
    let speaks = sender(tap)?;
    // Packets that bypass the queue bypass tc, too.
    option::set(&speaks, option::QDISC_BYPASS, [0])?;
    let senders = packet_sockets.take(opened.shape.senders.into());
    for fd in senders.chain([&speaks]) {
        set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, &mark.to_ne_bytes())?;
    }
    let shape = FrameShape {
        count: FRAMES,
        ..shape(mtu, 1)
    };
    let hears = receiver(tap, shape, |fd| {
        attach_filter(fd, &tap::has_mark(of_the_host(mark)))
    })?;
    // What it is to see leaves by the TAP.
    option::set(&hears.0, option::IGNORE_OUTGOING, [0])?;
    Ok((hears, speaks))
}

/// An interface as it is now.
pub(crate) struct Link {
    index: u32,
    name: String,
    address: [u8; 6],
}

fn link_by_index(links: &Socket, index: u32) -> Result<Link, Why> {
    link(links, Message::new(RTM_GETLINK, 0, &ifinfo(index, 0, 0)))
}

fn link(links: &Socket, question: Message) -> Result<Link, Why> {
    let answers = links.ask(question).map_err(|failure| match failure.errno {
        Errno::NODEV => Why::gone(),
        other => Why::new(other, format!("an interface looked up: {failure}")),
    })?;
    let link = answers.first().and_then(read_link);
    link.ok_or_else(|| {
        Why::new(
            Errno::PROTO,
            "the kernel describes an interface in a way not understood",
        )
    })
}

fn read_link(answer: &netlink::Answer) -> Option<Link> {
    let head = answer.family(tap::IFINFO)?;
    let attributes = answer.attributes(tap::IFINFO);
    let name = attributes.find(tap::IFNAME)?.text();
    Some(Link {
        index: u32::from_ne_bytes(head[4..8].try_into().ok()?),
        name: String::from_utf8(name.to_vec()).ok()?,
        address: attributes.find(tap::ADDRESS)?.value.try_into().ok()?,
    })
}

/// Why something is not to be had, as the end of a sentence.
#[derive(Debug)]
struct Why {
    errno: Errno,
    what: String,
}

impl Why {
    fn new(errno: Errno, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { errno, what }
    }

    fn gone() -> Self {
        Self::new(Errno::NXIO, "the interface has gone")
    }

    fn rights() -> Self {
        let what = "this process lacks CAP_NET_ADMIN in the interface's network namespace: docker and podman give \
                    it with --cap-add NET_ADMIN; elsewhere run the program with sudo";
        Self::new(Errno::PERM, what)
    }

    /// The kernel refuses something that it may lack.
    fn lacks(failure: &Failure, what: impl Display) -> Self {
        match failure.errno {
            Errno::PERM | Errno::ACCESS => Self::rights(),
            Errno::NOENT
            | Errno::OPNOTSUPP
            | Errno::AFNOSUPPORT
            | Errno::PROTONOSUPPORT
            | Errno::INVAL => Self::new(
                Errno::OPNOTSUPP,
                format!("this kernel lacks {what}: {failure}"),
            ),
            other => Self::new(other, format!("{what}: {failure}")),
        }
    }
}
