//! Requests of a front end: those that are served, those that are refused, and nonsense.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::event::epoll;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::FrontendReq::{self, *};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use virtio_bindings::virtio_net::VIRTIO_NET_F_CSUM;

use crate::vhost::features::Features;
use crate::vhost::front::{Front, Offer};
use crate::vhost::message::Ended;

/// Both ends of a connection.
struct Dialogue {
    front: Front,
    peer: UnixStream,
}

const NEED_REPLY: u32 = 8;
const REPLY_ACK: u64 = 8;

impl Dialogue {
    fn new() -> Self {
        Self::with(None)
    }

    /// With the guest's address.
    fn with(mac: Option<[u8; 6]>) -> Self {
        let (own, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let kicks = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let offer = Offer {
            features: Features::offer(true, mac.is_some()),
            pairs: 1,
            longest_frame: 65535,
            mac,
        };
        let front = Front::new(own.into(), kicks, offer);
        Self { front, peer }
    }

    /// Sends a request as it is, and has it served. The answer's body, if there is one.
    fn raw(
        &mut self,
        words: [u32; 3],
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, Ended> {
        let head: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let bytes = [&head[..], body].concat();
        let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let slices = [std::io::IoSlice::new(&bytes)];
        sendmsg(&self.peer, &slices, &mut control, SendFlags::empty()).unwrap();
        while self.front.serve(&|_| ())? {}
        let mut answer = Vec::new();
        let _ = self.peer.read_to_end(&mut answer);
        Ok(answer.split_off(answer.len().min(12)))
    }

    fn ask(
        &mut self,
        request: FrontendReq,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, Ended> {
        self.raw(
            [request.into(), 1 | NEED_REPLY, body.len() as u32],
            body,
            fds,
        )
    }

    /// Agrees on acknowledgements.
    fn agreed() -> Self {
        let mut dialogue = Self::new();
        dialogue
            .ask(SET_PROTOCOL_FEATURES, &REPLY_ACK.to_ne_bytes(), &[])
            .unwrap();
        dialogue
    }
}

fn number(answer: Result<Vec<u8>, Ended>) -> u64 {
    u64::from_ne_bytes(answer.unwrap().try_into().unwrap())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_ne_bytes).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().copied().flat_map(u64::to_ne_bytes).collect()
}

fn memfd(len: u64) -> OwnedFd {
    let fd = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, len).unwrap();
    fd
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}

/// One region after the other, each `[guest, len, user, offset]`.
fn table(regions: &[[u64; 4]]) -> Vec<u8> {
    let regions = regions.iter().flat_map(|r| longs(r));
    words(&[regions.clone().count() as u32 / 32, 0])
        .into_iter()
        .chain(regions)
        .collect()
}

#[test]
fn a_ring_is_enabled_before_features_are_chosen_as_qemu_does() {
    let mut d = Dialogue::new();
    assert!(
        d.ask(SET_VRING_ENABLE, &words(&[1, 1]), &[])
            .unwrap()
            .is_empty()
    );
    let offered = number(d.ask(GET_FEATURES, &[], &[]));
    assert!(Features(offered).has(VIRTIO_NET_F_CSUM));
    d.ask(SET_FEATURES, &offered.to_ne_bytes(), &[]).unwrap();
    d.ask(SET_VRING_KICK, &longs(&[1]), &[event().as_fd()])
        .unwrap();
    assert!(d.front.rings[1].is_live());
    assert!(!d.front.rings[0].is_live());
    assert_eq!(
        d.ask(GET_VRING_BASE, &words(&[1, 0]), &[]).unwrap(),
        words(&[1, 0])
    );
    assert!(!d.front.rings[1].is_live());
}

#[test]
fn without_protocol_features_rings_are_enabled_from_the_start() {
    let mut d = Dialogue::new();
    d.ask(SET_FEATURES, &longs(&[1 << 32]), &[]).unwrap();
    d.ask(SET_VRING_KICK, &longs(&[0x100]), &[]).unwrap();
    assert!(d.front.rings[0].is_live() && d.front.rings[0].is_polled());
}

#[test]
fn migration_is_refused_and_the_guest_lives() {
    let mut d = Dialogue::agreed();
    let offered = number(d.ask(GET_FEATURES, &[], &[]));
    assert_eq!(offered >> 26 & 1, 0);
    assert_eq!(
        number(d.ask(SET_FEATURES, &longs(&[offered | 1 << 26]), &[])),
        1
    );
    assert_eq!(
        number(d.ask(SET_LOG_BASE, &longs(&[4096, 0]), &[memfd(4096).as_fd()])),
        1
    );
    assert_eq!(number(d.ask(SET_LOG_FD, &[], &[event().as_fd()])), 1);
    let logged = [words(&[0, 1]), longs(&[0, 0, 0, 0])].concat();
    assert_eq!(number(d.ask(SET_VRING_ADDR, &logged, &[])), 1);
    assert_eq!(number(d.ask(SET_FEATURES, &longs(&[offered]), &[])), 0);
    // Who wants no answers is hung up on.
    let mut d = Dialogue::new();
    let refused = d.ask(SET_FEATURES, &longs(&[1 << 26]), &[]).unwrap_err();
    assert!(matches!(refused, Ended::Nonsense(why) if why.contains("migrated")));
}

#[test]
fn ram_that_cannot_be_is_refused() {
    let mut d = Dialogue::agreed();
    let mut refused = |regions: &[[u64; 4]], fds: &[&OwnedFd]| {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        number(d.ask(SET_MEM_TABLE, &table(regions), &fds)) == 1
    };
    let (fd, short, other) = (memfd(0x20000), memfd(0x1000), event());
    let (reader, _) = std::io::pipe().unwrap();
    let reader = OwnedFd::from(reader);
    let good = [0, 0x10000, 0x7000_0000, 0];
    assert!(!refused(&[good], &[&fd]));
    assert!(!refused(
        &[good, [0x10000, 0x10000, 0x8000_0000, 0x10000]],
        &[&fd, &fd]
    ));
    assert!(refused(&[good], &[&short]), "shorter than its region");
    assert!(
        refused(&[good], &[&other]) && refused(&[good], &[&reader]),
        "no file"
    );
    assert!(
        refused(&[good], &[]) && refused(&[good], &[&fd, &fd]),
        "one descriptor for each region"
    );
    assert!(
        refused(&[good, [0x8000, 0x10000, 0x8000_0000, 0]], &[&fd, &fd]),
        "overlap in the guest"
    );
    assert!(
        refused(&[good, [0x10000, 0x10000, 0x7000_8000, 0]], &[&fd, &fd]),
        "overlap in the front end"
    );
    assert!(refused(&[[0, 0, 0, 0]], &[&fd]), "no bytes");
    assert!(
        refused(&[[u64::MAX, 2, 0, 0]], &[&fd]),
        "beyond the last address"
    );
    assert!(refused(&[[0, 0x1000, 0, 1]], &[&fd]), "not at a page");
    assert!(refused(&[], &[]), "no region");
    let one = |r: [u64; 4]| [&0u64.to_ne_bytes()[..], &longs(&r)].concat();
    assert_eq!(
        number(d.ask(
            ADD_MEM_REG,
            &one([0x40000, 0x1000, 0x9000_0000, 0]),
            &[fd.as_fd()]
        )),
        0
    );
    assert_eq!(
        number(d.ask(REM_MEM_REG, &one([0x50000, 0x1000, 0x9000_0000, 0]), &[])),
        1
    );
    assert_eq!(
        number(d.ask(REM_MEM_REG, &one([0x40000, 0x1000, 0x9000_0000, 0]), &[])),
        0
    );
}

#[test]
fn rings_and_descriptors_that_cannot_be_are_refused() {
    let mut d = Dialogue::agreed();
    for request in [
        SET_VRING_NUM,
        SET_VRING_BASE,
        SET_VRING_ENABLE,
        GET_VRING_BASE,
    ] {
        assert_eq!(number(d.ask(request, &words(&[4, 1]), &[])), 1);
        assert_eq!(number(d.ask(request, &words(&[1]), &[])), 1);
    }
    assert_eq!(number(d.ask(SET_VRING_ENABLE, &words(&[0, 2]), &[])), 1);
    assert_eq!(number(d.ask(SET_VRING_BASE, &words(&[0, 65536]), &[])), 1);
    let file = memfd(8);
    for request in [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR] {
        assert_eq!(
            number(d.ask(request, &longs(&[0]), &[file.as_fd()])),
            1,
            "no eventfd"
        );
        assert_eq!(number(d.ask(request, &longs(&[0]), &[])), 1, "none");
        assert_eq!(
            number(d.ask(request, &longs(&[9]), &[event().as_fd()])),
            1,
            "no such ring"
        );
        assert_eq!(number(d.ask(request, &longs(&[0]), &[event().as_fd()])), 0);
    }
    assert_eq!(number(d.ask(NET_SET_MTU, &longs(&[1400]), &[])), 0);
    assert_eq!(number(d.ask(NET_SET_MTU, &longs(&[67]), &[])), 1);
    assert_eq!(number(d.ask(POSTCOPY_ADVISE, &[], &[])), 1);
    assert_eq!(number(d.ask(GET_CONFIG, &[0; 18], &[])), 1, "not offered");
}

#[test]
fn the_configuration_is_offered_with_the_guest_s_address() {
    let config = VhostUserProtocolFeatures::CONFIG.bits();
    let offered = |d: &mut Dialogue| number(d.ask(GET_PROTOCOL_FEATURES, &[], &[]));
    assert_eq!(offered(&mut Dialogue::new()) & config, 0, "QEMU would warn");
    let mut d = Dialogue::with(Some([2, 0, 0, 0, 0, 9]));
    assert_ne!(offered(&mut d) & config, 0);
    d.ask(NET_SET_MTU, &longs(&[1400]), &[]).unwrap();
    let config = d
        .ask(GET_CONFIG, &[words(&[6, 6, 0]), vec![0; 6]].concat(), &[])
        .unwrap();
    assert_eq!(
        config[12..],
        [1, 0, 1, 0, 0x78, 5],
        "up, one pair, the MTU that was set"
    );
}

#[test]
fn a_message_that_comes_in_pieces_is_one_message() {
    let mut d = Dialogue::new();
    let message = words(&[GET_QUEUE_NUM.into(), 1, 0]);
    for byte in &message[..11] {
        d.peer.write_all(&[*byte]).unwrap();
        assert!(!d.front.serve(&|_| ()).unwrap());
    }
    d.peer.write_all(&message[11..]).unwrap();
    assert!(d.front.serve(&|_| ()).unwrap());
    let mut answer = [0; 20];
    d.peer.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..], 2u64.to_ne_bytes());
}

#[test]
fn any_message_is_answered_or_ends_the_connection() {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let things = [memfd(0x20000), memfd(0), event()];
    let mut d = Dialogue::agreed();
    let (mut served, mut ended) = (0, 0);
    for _ in 0..100_000 {
        let request = random(48) as u32;
        let mut body = match random(4) {
            0 => table(&[[0, 0x10000, 0x7000_0000, 0]]),
            1 => words(&[random(5) as u32, random(3) as u32]),
            2 => longs(&[random(6) | random(2) << 8]),
            _ => longs(&[random(4), 0x7000_0000, 0x7000_4000, 0x7000_2000, 0]),
        };
        if random(3) == 0 && !body.is_empty() {
            let at = random(body.len() as u64) as usize;
            body[at] = random(256) as u8;
        }
        let size = if random(50) == 0 {
            random(1 << 20) as u32
        } else {
            body.len() as u32
        };
        let flags = [1, 9, 9, 9, random(1 << 32) as u32][random(5) as usize];
        let fds: Vec<BorrowedFd<'_>> = (0..random(3))
            .map(|_| things[random(3) as usize].as_fd())
            .collect();
        match d.raw([request, flags, size], &body, &fds) {
            Ok(_) => served += 1,
            Err(_) => {
                ended += 1;
                d = Dialogue::agreed();
            }
        }
        for (i, ring) in d
            .front
            .rings
            .iter_mut()
            .enumerate()
            .filter(|(_, ring)| ring.is_live())
        {
            let _ = ring.batch(&d.front.ram, i == 0, |batch| batch.ask_for_kicks());
        }
    }
    assert!(
        served > 1000 && ended > 1000,
        "{served} served, {ended} connections ended"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the fuzz target does, in short.
    #[test]
    fn any_guest_is_answered(input in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::vhost::fuzzing::vhost(&input);
    }
}
