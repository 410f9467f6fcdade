//! One who floods the daemon, and many who die at once, delay nobody for long. How much the daemon does before
//! it answers somebody is counted by tests of its own; here real sockets are flooded, and the times are
//! printed for people. A program of its own: it holds thousands of descriptors and raises its limit, which what
//! another test starts would inherit.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compat_tests::place::Place;
use rustix::net::SendFlags;
use rustix::process::{Resource, getrlimit, setrlimit};
use uvale_link::channel::{call, pair, send};
use uvale_link::place::connect;
use uvale_link::proto::{Call, PROTOCOL, Reply};
use uvale_system::sys::Fd;
use uvale_system::who::Who;

/// A connection that has said what it is.
fn connection(place: &Place, first: &Call) -> Fd {
    let fd = connect(place.dir()).expect("the daemon listens");
    let (reply, _) = call(fd.as_fd(), first).expect("the daemon answers");
    assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
    fd
}

fn session(place: &Place) -> Fd {
    let attach = Call::Attach {
        protocol: PROTOCOL,
        who: Who::own(),
    };
    connection(place, &attach)
}

fn device(place: &Place) -> Fd {
    let open = Call::Open {
        protocol: PROTOCOL,
        flags: 0,
        who: Who::own(),
    };
    connection(place, &open)
}

/// Can this process have so many descriptors?
fn may_open(descriptors: u64) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit).is_ok();
    raised && limit.maximum.is_none_or(|most| most >= descriptors)
}

/// The longest of some attaches that follow each other.
fn longest_attach(place: &Place, times: u32) -> Duration {
    let attach = |_| {
        let start = Instant::now();
        drop(session(place));
        start.elapsed()
    };
    (0..times).map(attach).max().unwrap_or_default()
}

/// What a flood consists of: bytes, and whether descriptors come with them.
const FLOODS: [(&str, usize, bool); 4] = [
    ("small packets", 1, false),
    ("large packets", 16_000, false),
    ("packets with descriptors", 10, true),
    ("packets that are too large", 60_000, false),
];

fn flood(place: &Place, len: usize, with_fds: bool, stop: &AtomicBool) -> u64 {
    let fd = device(place);
    let (bytes, mut sent) = (vec![0xff; len], 0);
    while !stop.load(Ordering::Relaxed) {
        let done = if with_fds {
            let (a, b) = pair().expect("a pair of sockets");
            send(
                fd.as_fd(),
                &bytes,
                &[a.as_fd(), b.as_fd()],
                SendFlags::DONTWAIT,
            )
        } else {
            rustix::net::send(&fd, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
        };
        match done {
            Ok(()) => sent += 1,
            Err(_) => std::thread::yield_now(),
        }
    }
    sent
}

#[test]
fn floods_delay_nobody() {
    for (what, len, with_fds) in FLOODS {
        let place = Place::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            let flood = || flood(&place, len, with_fds, &stop);
            let floods = [s.spawn(flood), s.spawn(flood), s.spawn(flood)];
            std::thread::sleep(Duration::from_millis(100));
            let longest = longest_attach(&place, 20);
            stop.store(true, Ordering::Relaxed);
            let sent: u64 = floods.map(|f| f.join().expect("a flood ends")).iter().sum();
            println!("{what}: {sent} sent by three, longest attach {longest:?}");
            assert!(sent > 0);
        });
        drop(device(&place));
        place.assert_left_clean();
    }
}

#[test]
fn thousands_that_end_at_once_delay_nobody() {
    const EACH: u64 = 2000;
    if !may_open(2 * EACH + 100) {
        println!("skipped: so many descriptors are not allowed");
        return;
    }
    let place = Place::new();
    let sessions: Vec<Fd> = (0..EACH).map(|_| session(&place)).collect();
    let devices: Vec<Fd> = (0..EACH).map(|_| device(&place)).collect();
    drop((sessions, devices));
    println!(
        "{EACH} sessions and devices: next attach {:?}",
        longest_attach(&place, 1)
    );
    println!(
        "and the longest of the next 20: {:?}",
        longest_attach(&place, 20)
    );
    place.assert_left_clean();
}
