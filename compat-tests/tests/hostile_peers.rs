//! Whoever sits at the other end of a socket and is no daemon: numbers that are no errnos, answers that do not fit,
//! nothing at all. Programs and commands get an errno and a sentence, in bounded time, and nobody panics.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::world::Program;
use compat_tests::{or_skip, target};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use uvale_link::channel::{Packet, receive, send_bytes};
use uvale_link::place;
use uvale_link::proto::{Call, Reply, decode, encode};
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{CTL_LEN, Ctl};
use uvale_shared::extra::Extra;
use uvale_shared::shm::Memfd;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

/// Numbers that are errnos nowhere, and those beside them.
const NUMBERS: [i32; 8] = [0, -1, -22, 4096, 65_536 + 22, i32::MAX, i32::MIN, 71];

const O_RDWR: i32 = 2;

/// What a false daemon answers to a call, encoded, and with which memory.
type Script = dyn Fn(&Call) -> (Option<Vec<u8>>, Option<Memfd>) + Send + Sync;

/// Answers whatever arrives on a connection, until it hangs up.
fn converse(connection: Fd, script: &Script) {
    while let Ok(Some(Packet { bytes, fds })) = receive(connection.as_fd(), RecvFlags::empty()) {
        let Some(call) = decode::<Call>(&bytes) else {
            continue;
        };
        let (Some(reply_to), (Some(reply), memfd)) = (fds.first(), script(&call)) else {
            continue;
        };
        let fds: Vec<_> = memfd.iter().map(|m| m.as_fd()).collect();
        let _ = send_bytes(reply_to.as_fd(), &reply, &fds, SendFlags::DONTWAIT);
    }
}

/// A false daemon in `dir`. It ends with the test process.
fn serve(dir: &Path, script: Arc<Script>) {
    let listener = place::listen(dir, 16).expect("the directory is ours");
    let flags =
        rustix::fs::fcntl_getfl(&listener).expect("a socket") - rustix::fs::OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&listener, flags).expect("a socket");
    std::thread::spawn(move || {
        while let Ok(connection) = rustix::net::accept(&listener) {
            let script = script.clone();
            std::thread::spawn(move || converse(connection.into(), &*script));
        }
    });
}

/// Control memory as a daemon makes it.
fn control_memory() -> Option<Memfd> {
    let memfd = Memfd::create("false-control", CTL_LEN).ok()?;
    let ctl = Ctl::format(&memfd)?;
    ctl.set_world(4711);
    Some(memfd)
}

/// A refusal with a number that `numbered` replaces.
fn refusal() -> Refusal {
    Refusal::new(Errno::XFULL, "nonsense")
}

/// The encoded `reply` with `number` in the refusal in it, which no daemon could put there.
fn numbered(reply: &Reply, number: i32) -> Option<Vec<u8>> {
    let bytes = encode(reply);
    let (meant, sent) = (encode(&refusal()), encode(&(number, refusal().why)));
    let at = bytes.windows(meant.len()).position(|part| part == meant)?;
    Some([&bytes[..at], &sent, &bytes[at + meant.len()..]].concat())
}

fn refused(number: i32) -> Option<Vec<u8>> {
    let refused = numbered(&Reply::Refused(refusal()), number);
    assert!(refused.is_some(), "the number is found");
    refused
}

fn attached() -> Option<Vec<u8>> {
    Some(encode(&Reply::Attached { session: 2 }))
}

fn opened(bound: Option<Box<Binding>>) -> Option<Vec<u8>> {
    Some(encode(&Reply::Opened {
        world: 4711,
        client: 7,
        flags: O_RDWR,
        bound,
    }))
}

/// What goes wrong, by the call at which it does.
fn script(at: &'static str, number: i32) -> Arc<Script> {
    Arc::new(move |call| match call {
        Call::Attach { .. } if at != "attach" => (attached(), control_memory()),
        Call::Open { .. } if at != "open" => (opened(None), None),
        Call::Request { request, .. } => {
            let is_served = number == 0 && at != "request";
            let done = Reply::Done {
                served: if is_served { Ok(()) } else { Err(refusal()) },
                request: match at {
                    "bytes" => vec![255; 100],
                    _ => request.clone(),
                },
                bound: (at == "bound").then(|| Box::new(nonsense(number))),
                extra: nonsense_to_chain(number),
                csb_entries: 0,
                attached: None,
            };
            let bytes = if is_served {
                Some(encode(&done))
            } else {
                numbered(&done, number)
            };
            (bytes, None)
        }
        _ => (refused(number), None),
    })
}

fn nonsense(number: i32) -> Binding {
    let n = number as u32;
    Binding {
        port: n,
        generation: n,
        region: n,
        mem_size: u64::from(n) << 20,
        first: [n, 1],
        last: [0, n],
        tx_poll: true,
        sleeper: Some(n as u8),
        is_null: false,
        is_monitor: false,
        is_nic: false,
        csb: None,
        name: "\u{1b}[2J".into(),
    }
}

fn nonsense_to_chain(number: i32) -> Extra {
    let n = number as u32;
    Extra {
        head_at: u64::MAX - u64::from(n),
        ranges: vec![(n, u32::MAX), (0, u32::MAX), (u32::MAX, n)],
    }
}

/// The program ends by itself, fails, and never says that it was a success or that it panicked.
fn assert_refused(mut program: Program, case: &str) {
    let status = program.wait();
    let said = program.said();
    assert!(
        status.code().is_some_and(|c| c != 0),
        "{case}: {status}: {said}"
    );
    for word in ["panicked", "Success", "errno 0", "(os error 0)"] {
        assert!(!said.contains(word), "{case}: {said}");
    }
}

#[test]
fn numbers_that_are_no_errnos() {
    let across = or_skip!("false daemons", program("namespaces/across"));
    for at in ["attach", "open", "request", "bytes", "bound"] {
        for number in NUMBERS {
            let place = Place::empty();
            serve(place.dir(), script(at, number));
            let case = format!("{number} at {at}");
            assert_refused(place.spawn(&across, &["meet"]), &case);
            if at == "attach" {
                for command in ["ports", "status", "switches", "stop"] {
                    let mut uvale = Command::new(&target::binaries().uvale);
                    uvale.args([command, "--dir"]).arg(place.dir());
                    uvale.stdin(Stdio::null());
                    assert_refused(
                        Program::start(command, uvale),
                        &format!("{command}: {case}"),
                    );
                }
            }
        }
    }
}

/// A pair of connected sockets, of which the first sees the second as `X/uvale.sock`.
fn named_pair() -> (OwnedFd, OwnedFd, PathBuf) {
    let dir = uvale_link::name::new_abstract().expect("random bytes");
    let listener = place::listen(&dir, 1).expect("a new name");
    let theirs = place::connect(&dir).expect("it listens");
    let mine = rustix::net::accept(&listener).expect("it is connected");
    let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, 0).expect("a descriptor");
    (theirs, mine, dir)
}

/// A program inherits a socket of such a name, and reads what comes down it as from any other.
#[test]
fn a_socket_that_only_has_the_name() {
    let shim = &target::binaries().shim;
    let silent: Arc<Script> = Arc::new(|_| (None, None));
    let gone_at_attach: Arc<Script> = Arc::new(|call| match call {
        Call::Whois => (opened(None), None),
        _ => (None, None),
    });
    let mut cases: Vec<(String, Arc<Script>)> = vec![
        ("says nothing".into(), silent),
        ("says nothing to an attach".into(), gone_at_attach),
    ];
    for number in NUMBERS {
        let refuses: Arc<Script> = Arc::new(move |_| (refused(number), None));
        cases.push((format!("refuses with {number}"), refuses));
        let binds: Arc<Script> = Arc::new(move |call| match call {
            Call::Whois => (opened(Some(Box::new(nonsense(number)))), None),
            Call::Attach { .. } => (attached(), None),
            _ => (refused(number), None),
        });
        cases.push((format!("binds to {number}"), binds));
        let maps: Arc<Script> = Arc::new(move |call| match call {
            Call::Whois => (opened(None), None),
            Call::Attach { .. } => {
                let memfd = Memfd::create("small", 4096).ok();
                (attached(), memfd)
            }
            _ => (refused(number), None),
        });
        cases.push((format!("too little memory, {number}"), maps));
    }
    let programs: Vec<_> = cases
        .into_iter()
        .map(|(case, script)| {
            let (theirs, mine, _) = named_pair();
            let mut cat = Command::new("cat");
            cat.env("LD_PRELOAD", shim).stdin(theirs);
            let program = Program::start(&case, cat);
            std::thread::spawn(move || {
                // The question comes first; it takes no answer for what it asks.
                let Ok(Some(Packet { bytes, fds })) = receive(mine.as_fd(), RecvFlags::empty())
                else {
                    return;
                };
                let call = decode::<Call>(&bytes).expect("the shim asks");
                if let (Some(to), (Some(reply), memfd)) = (fds.first(), script(&call)) {
                    let fds: Vec<_> = memfd.iter().map(|m| m.as_fd()).collect();
                    let _ = send_bytes(to.as_fd(), &reply, &fds, SendFlags::DONTWAIT);
                }
                // What else it asks on the way is answered on the side, as long as it asks.
                let text = rustix::io::fcntl_dupfd_cloexec(&mine, 0).expect("a descriptor");
                std::thread::spawn(move || converse(mine.into(), &*script));
                let _ = rustix::net::send(&text, b"hello\n", SendFlags::NOSIGNAL);
                let _ = rustix::net::shutdown(&text, rustix::net::Shutdown::Write);
            });
            (case, program)
        })
        .collect();
    for (case, mut program) in programs {
        let status = program.wait();
        assert!(status.success(), "{case}: {}", program.said());
        assert_eq!(program.stdout(), "hello\n", "{case}: {}", program.said());
        assert!(!program.said().contains("panicked"), "{}", program.said());
    }
}

/// So does one whose peer never reads: there is no room for the question.
#[test]
fn a_socket_that_nobody_reads() {
    let (theirs, mine, _) = named_pair();
    let full = || rustix::net::send(&theirs, b"x", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    while full().is_ok() {}
    let mut cat = Command::new("cat");
    cat.env("LD_PRELOAD", &target::binaries().shim)
        .stdin(theirs);
    let cat = Program::start("cat", cat);
    rustix::net::send(&mine, b"hello\n", SendFlags::NOSIGNAL).expect("there is room this way");
    rustix::net::shutdown(&mine, rustix::net::Shutdown::Write).expect("a socket");
    assert_eq!(cat.wait_success(), "hello\n");
}
