//! A program that passes packets on between an interface and its host.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use uvale_shared::shm::{Mapping, Memfd, copy_in};
use uvale_system::sys::set_option;
use uvale_wire::{Frames, Opened, Packet, Space, Transmitter, Wire};

const PACKET_VNET_HDR: i32 = 15;
const VNET: usize = 10;
/// No packet is longer.
const ROOM: usize = 1 << 17;

/// A wire in use.
pub struct Forwarder {
    wire: Wire,
    memory: Mapping,
    next: [Cell<u32>; 2],
}

impl Forwarder {
    /// Packets for the host are sent as the kernel has left them on the interface: checksums may be missing, and large
    /// ones may be for the receiver to take apart.
    pub fn new(opened: &mut Opened) -> Self {
        let wire =
            Wire::new(opened.shape.clone(), std::mem::take(&mut opened.fds)).expect("a wire");
        if let Some(host) = wire.host_sender() {
            set_option(
                host.fd().expect("a socket"),
                libc::SOL_PACKET,
                PACKET_VNET_HDR,
                &1u32.to_ne_bytes(),
            )
            .expect("an option");
        }
        let memory =
            Mapping::new(&Memfd::create("packets", ROOM).expect("memory")).expect("memory");
        let next = [const { Cell::new(0) }; 2];
        Self { wire, memory, next }
    }

    /// Packets of the interface since the last call.
    pub fn arrived(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        take(
            self.wire.frames(0).expect("a ring"),
            &self.next[0],
            |packet| all.push(packet.pieces.concat()),
        );
        all
    }

    /// Packets of the host since the last call.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        take(
            self.wire.host_frames().expect("a ring"),
            &self.next[1],
            |packet| {
                assert_eq!(packet.header, None, "the kernel has finished it");
                all.push(packet.pieces.concat());
            },
        );
        all
    }

    /// Sends a packet to the host.
    pub fn tell_host(&self, packet: &[u8]) -> Result<(), Errno> {
        self.send(
            self.wire.host_sender().expect("a ring"),
            &[0; VNET],
            &[packet],
        )
    }

    fn send(&self, to: &Transmitter, header: &[u8], pieces: &[&[u8]]) -> Result<(), Errno> {
        let bytes = [header, &pieces.concat()].concat();
        assert!(
            copy_in(&bytes, &self.memory, 0),
            "a packet of {} bytes",
            bytes.len()
        );
        let mut space = Space::default();
        let mut batch = space.batch(&self.memory);
        assert!(batch.push(0, bytes.len(), false));
        loop {
            match to.send(&batch, 0) {
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    wait(&[to.fd().expect("a socket")], PollFlags::OUT)
                }
                done => return done.map(drop),
            }
        }
    }

    /// Passes packets on in both directions until it is to stop.
    pub fn run(&self, stop: &AtomicBool) {
        let frames = [self.wire.frames(0), self.wire.host_frames()].map(|f| f.expect("a ring"));
        let [out, up] = [self.wire.sender(0), self.wire.host_sender()].map(|s| s.expect("a ring"));
        while !stop.load(Ordering::Relaxed) {
            wait(&frames.map(|f| f.fd().expect("a socket")), PollFlags::IN);
            take(frames[0], &self.next[0], |packet| {
                let header = packet.header.unwrap_or([0; VNET]);
                // What the host does not take is lost.
                let _ = self.send(up, &header, &packet.pieces);
            });
            take(frames[1], &self.next[1], |packet| {
                assert_eq!(packet.header, None, "the kernel has finished it");
                self.send(out, &[], &packet.pieces)
                    .expect("the wire takes what the host may send");
            });
        }
    }
}

fn take(frames: &Frames, next: &Cell<u32>, mut each: impl FnMut(Packet<'_>)) {
    frames.take_in(
        next.get(),
        |at| next.set(at),
        |packet| {
            each(packet);
            true
        },
    );
}

fn wait(fds: &[&uvale_system::sys::OwnFd], flags: PollFlags) {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, flags)).collect();
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    match poll(&mut fds, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => panic!("{e}"),
    }
}
