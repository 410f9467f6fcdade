//! `uvale vm dgram`: frames over a Unix socket, one a datagram or, in a stream, each behind its length: what QEMU's
//! `-netdev dgram` and `-netdev stream` speak, and passt.
//!
//! No virtio-net headers pass, so the guest does its own checksums and segments, and any port will do.

mod link;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nm_abi::NR_EXCLUSIVE;
use rustix::event::PollFlags;
use rustix::fd::AsFd;
use uvale_port::{Port, RX, TX, Woken};
use uvale_tools::output;

use crate::guest_port::{PortArgs, absolute};
use crate::guest_shown::GuestShown;
use crate::qemu_options::{dgram, lines, stream};
use link::{Link, Sent};
use uvale_tools::signals::Signals;

/// Shown under --help.
pub const EXAMPLE: &str = "\
The guest's side, for --socket /tmp/vm1: -device virtio-net-pci,netdev=n0 with
  -netdev dgram,id=n0,local.type=unix,local.path=/tmp/vm1.qemu,remote.type=unix,remote.path=/tmp/vm1
or, with --stream: -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/vm1

Examples:
  uvale vm dgram --port vale0:vm1 --socket /tmp/vm1
  passt --socket /tmp/passt && uvale vm dgram --port vale0:out --connect /tmp/passt";

/// Options of `uvale vm dgram`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub port: PortArgs,
    /// Path of the socket to make: QEMU's remote.path, or with --stream its addr.path
    #[arg(long, value_name = "PATH", required_unless_present = "connect")]
    socket: Option<PathBuf>,
    /// Use a stream, in which each frame follows its length (QEMU's -netdev stream)
    #[arg(long, requires = "socket")]
    stream: bool,
    /// Connect to a listening stream socket instead: QEMU's -netdev stream with server=on, or passt
    #[arg(long, value_name = "PATH", conflicts_with = "socket")]
    connect: Option<PathBuf>,
}

/// Frames that are moved in one direction before the other is looked at.
const TURN: usize = 256;
/// Sleep while a datagram socket has no room: nothing says when it has again.
const SOON: Duration = Duration::from_millis(1);
/// Time between two tries to let somebody in who cannot be.
const AGAIN: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let signals = Signals::take()?;
    let port = args
        .port
        .open(&|register| register.nr_flags |= NR_EXCLUSIVE)?;
    let link = match (&args.socket, &args.connect) {
        (Some(path), _) if args.stream => Link::listen(path)?,
        (Some(path), _) => Link::datagrams(path)?,
        (None, Some(path)) => Link::connect(path)?,
        (None, None) => return Err("either --socket or --connect is needed".into()),
    };
    output::write(&args.describe())?;
    let mut guest = Guest {
        port,
        link,
        shown: GuestShown::new(
            args.socket
                .as_deref()
                .or(args.connect.as_deref())
                .as_slice(),
        ),
        to_guest: Outgoing::default(),
        from_guest: Outgoing::default(),
        lost: 0,
    };
    let ended = guest.serve(&signals, args);
    let Guest {
        port,
        lost,
        to_guest,
        from_guest,
        ..
    } = guest;
    port.close();
    output::line(format_args!(
        "uvale vm: {}: {} frames to the guest, {} from it, {lost} lost",
        args.port.port, to_guest.count, from_guest.count
    ));
    ended.map(|()| ExitCode::SUCCESS)
}

impl Args {
    /// What to type.
    fn describe(&self) -> String {
        let port = &self.port.port;
        let options = match (&self.socket, &self.connect) {
            (None, other) => {
                let other = other.as_deref().unwrap_or(Path::new(""));
                return format!("{port}: connected to {}\n", other.display());
            }
            (Some(path), _) if self.stream => stream(0, &absolute(path), None),
            (Some(path), _) => dgram(0, &absolute(path), None),
        };
        format!(
            "{port}: start QEMU with these options:\n{}",
            lines(&options)
        )
    }
}

/// A frame that has been taken from one side and not been accepted by the other yet.
#[derive(Default)]
struct Outgoing {
    frame: Vec<u8>,
    waits: bool,
    count: u64,
}

/// A guest and its port.
struct Guest {
    port: Port,
    link: Link,
    shown: GuestShown,
    to_guest: Outgoing,
    from_guest: Outgoing,
    /// frames that came for the guest while there was none, or that are longer than it or the port's ring takes
    lost: u64,
}

impl Guest {
    fn serve(&mut self, signals: &Signals, args: &Args) -> Result<(), String> {
        let mut turns = 0u32;
        loop {
            let moved = self.deliver()? | self.collect()?;
            turns = turns.wrapping_add(1);
            if moved && !turns.is_multiple_of(64) {
                continue;
            }
            if signals.has_come() || self.link.is_over() {
                return Ok(());
            }
            self.shown.tell(&self.port, self.link.peer());
            if moved {
                continue;
            }
            if self.sleep(signals) == Woken::Lost || !self.port.is_alive() {
                return Err(args.port.lost());
            }
        }
    }

    /// What has arrived at the port, to the guest. True if something moved.
    fn deliver(&mut self) -> Result<bool, String> {
        self.port.rxsync();
        let mut moved = false;
        for ring in self.port.attachment().binding().rings(RX) {
            let Some(mut slots) = self.port.slots(RX, ring) else {
                continue;
            };
            for _ in 0..TURN {
                if !self.to_guest.waits && !slots.take(&mut self.to_guest.frame) {
                    break;
                }
                self.to_guest.waits = false;
                match self.link.send(&self.to_guest.frame)? {
                    Sent::Gone => self.to_guest.count += 1,
                    Sent::Lost => self.lost += 1,
                    Sent::NoRoom => {
                        self.to_guest.waits = true;
                        break;
                    }
                }
                moved = true;
            }
            slots.finish();
        }
        Ok(moved)
    }

    /// What the guest sends, to the port. True if something moved.
    fn collect(&mut self) -> Result<bool, String> {
        let ring = self.port.attachment().binding().rings(TX).next();
        let Some(mut slots) = ring.and_then(|ring| self.port.slots(TX, ring)) else {
            return Ok(false);
        };
        let mut moved = false;
        for _ in 0..TURN {
            if !self.from_guest.waits && !self.link.receive(&mut self.from_guest.frame)? {
                break;
            }
            if self.from_guest.frame.len() > slots.most() {
                // It would wait for ever.
                self.from_guest.waits = false;
                self.lost += 1;
                moved = true;
                continue;
            }
            self.from_guest.waits = !slots.put(&self.from_guest.frame);
            if self.from_guest.waits {
                break;
            }
            self.from_guest.count += 1;
            moved = true;
        }
        slots.finish();
        self.port.txsync();
        Ok(moved)
    }

    fn sleep(&self, signals: &Signals) -> Woken {
        let mut events = 0;
        let mut others = vec![(signals.as_fd(), PollFlags::IN)];
        let mut longest = None;
        match self.to_guest.waits {
            false => events |= uvale_port::POLLIN,
            true if !self.link.tells_of_room() => longest = Some(SOON),
            true => {}
        }
        if self.link.has_unsent() {
            others.push((self.link.as_fd(), PollFlags::OUT));
        }
        match self.from_guest.waits {
            false if self.link.is_deaf() => longest = Some(AGAIN),
            false => others.push((self.link.as_fd(), PollFlags::IN)),
            true => events |= uvale_port::POLLOUT,
        }
        self.port.wait(events, &others, longest, &|| false)
    }
}
