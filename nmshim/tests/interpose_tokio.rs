//! Tokio on the test device: the runtime sleeps in epoll_wait while another thread registers descriptors
//! edge-triggered through a duplicate of the epoll descriptor. The test runs itself again with the library preloaded.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[path = "interpose_fake/built.rs"]
mod built;

const BIND: libc::c_ulong = 0x4601;
const PUSH: libc::c_ulong = 0x4602;
const TAKE: libc::c_ulong = 0x4603;
const ROOM: libc::c_ulong = 0x4604;

fn open() -> RawFd {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(c"/dev/netmap".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    act(fd, BIND, 0);
    fd
}

fn act(fd: RawFd, what: libc::c_ulong, n: usize) {
    // SAFETY: the device's ioctls take a number.
    assert_eq!(unsafe { libc::ioctl(fd, what, n) }, 0);
}

fn readable(fd: RawFd) -> bool {
    let mut p = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&mut p, 1, 0) == 1 }
}

fn register(fd: RawFd, interest: Interest) -> AsyncFd<RawFd> {
    // SAFETY: every descriptor of this test stays open as long as it is registered.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.expect("registered")
}

/// Takes `count` events from `fd`, one by one, as a program with an event loop does.
async fn consume(fd: RawFd, count: u32) -> u32 {
    let device = register(fd, Interest::READABLE | Interest::WRITABLE);
    let mut taken = 0;
    while taken < count {
        let mut guard = device.readable().await.expect("ready");
        if readable(fd) {
            act(fd, TAKE, 1);
            taken += 1;
        } else {
            guard.clear_ready();
        }
    }
    taken
}

fn inside() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let devices: Vec<RawFd> = (0..4).map(|_| open()).collect();
    let produced = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = devices
        .iter()
        .map(|&fd| runtime.spawn(consume(fd, 200)))
        .collect();
    for round in 0..200 {
        for &fd in &devices {
            act(fd, PUSH, 1);
            produced.fetch_add(1, Ordering::Relaxed);
        }
        if round % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let late = open();
    let out = runtime.spawn(async move {
        let device = register(late, Interest::WRITABLE);
        drop(device.writable().await.expect("room"));
        drop(device);
        // SAFETY: the descriptor is this task's own.
        unsafe { libc::close(late) }
    });
    std::thread::sleep(Duration::from_millis(20));
    act(late, ROOM, 5);
    runtime.block_on(async {
        let all = async {
            let mut sum = 0;
            for t in tasks {
                sum += t.await.expect("a task's end");
            }
            (sum, out.await.expect("a task's end"))
        };
        // Far beyond what it takes: a wake-up that got lost would wait for ever.
        let (sum, closed) = tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .expect("every wake-up arrives");
        assert_eq!((sum, closed), (produced.load(Ordering::Relaxed), 0));
    });
}

#[test]
fn edge_triggered_under_tokio() {
    if std::env::var_os("FAKE_DIR").is_some() {
        return inside();
    }
    let exe = std::env::current_exe().expect("this test's path");
    let dir = std::env::temp_dir().join(format!("nmshim-tokio-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a temporary directory");
    let out = std::process::Command::new(exe)
        .args(["--exact", "edge_triggered_under_tokio", "--nocapture"])
        .env("LD_PRELOAD", built::library())
        .env("FAKE_DIR", &dir)
        .output()
        .expect("the test runs again");
    let _ = std::fs::remove_dir_all(&dir);
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}
