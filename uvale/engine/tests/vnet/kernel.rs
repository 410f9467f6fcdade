//! The same frames through the Linux kernel: written with their virtio-net header into a TAP, and
//! read from a second TAP without offloads behind a bridge, for which the kernel segments and
//! computes checksums in software. All in a network namespace of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Result, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use uvale_engine::vnet::{Conversion, convert};

use crate::frames::{DST_MAC, Frame, SRC_MAC, refs, slots};
use crate::{GSO_ECN, NEEDS_CSUM, OFFLOAD};

/// UDP segmentation into datagrams, for the kernel; its type 3 is IP fragmentation.
const GSO_UDP_L4: u8 = 5;
const IFF_TAP: i32 = 0x0002;
const IFF_NO_PI: i32 = 0x1000;
const IFF_VNET_HDR: i32 = 0x4000;
/// How long a frame may take before the kernel is said to have lost it.
const PATIENCE_MS: i32 = 10_000;
/// EtherType for experiments: frames that tell that all before them has arrived.
const MARKER: [u8; 2] = [0x88, 0xb5];

/// A bridge between a TAP that takes virtio-net headers and one that knows no offloads.
struct Bridge {
    offloads: File,
    plain: File,
    markers: u8,
}

impl Bridge {
    /// Moves the calling thread into a new network namespace and builds the bridge there.
    fn new() -> Result<Self> {
        // SAFETY: takes a number and touches no memory; only this thread changes namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(Error::last_os_error());
        }
        // Nobody but the test is to send; where there is no IPv6, nobody does.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let offloads = tap("src", IFF_VNET_HDR)?;
        let plain = tap("dst", 0)?;
        ip("link add bridge type bridge forward_delay 0 mcast_snooping 0")?;
        for name in ["src", "dst"] {
            ip(&format!("link set {name} master bridge"))?;
        }
        for name in ["src", "dst", "bridge"] {
            ip(&format!("link set {name} up"))?;
        }
        let mut bridge = Self {
            offloads,
            plain,
            markers: 0,
        };
        bridge.wait_until_it_forwards()?;
        Ok(bridge)
    }

    fn wait_until_it_forwards(&mut self) -> Result<()> {
        for _ in 0..100 {
            let marker = self.send_marker()?;
            while readable(&self.plain, 100)? {
                if receive(&mut self.plain)? == marker {
                    return Ok(());
                }
            }
        }
        Err(Error::other("the bridge does not forward"))
    }

    /// What the kernel makes of a frame.
    fn convert(&mut self, header: &[u8], frame: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.offloads.write_all(&[header, frame].concat())?;
        let marker = self.send_marker()?;
        let mut out = Vec::new();
        loop {
            assert!(
                readable(&self.plain, PATIENCE_MS)?,
                "the kernel lost the marker"
            );
            let frame = receive(&mut self.plain)?;
            if frame == marker {
                return Ok(out);
            }
            let ours = frame.get(6..12) == Some(&SRC_MAC) && frame[12..14] != MARKER;
            out.extend(ours.then_some(frame));
        }
    }

    fn send_marker(&mut self) -> Result<Vec<u8>> {
        self.markers = self.markers.wrapping_add(1);
        let frame = [&DST_MAC[..], &SRC_MAC, &MARKER, &[self.markers; 46]].concat();
        self.offloads.write_all(&[&[0; 10][..], &frame].concat())?;
        Ok(frame)
    }
}

fn tap(name: &str, flags: i32) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI | flags) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives on this stack during the call and
    // which nobody else can reach.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } != 0 {
        return Err(Error::last_os_error());
    }
    Ok(file)
}

fn ip(arguments: &str) -> Result<()> {
    let out = Command::new("ip").args(arguments.split(' ')).output()?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(Error::other(format!("ip {arguments}: {why}")));
    }
    Ok(())
}

fn readable(file: &File, timeout_ms: i32) -> Result<bool> {
    let mut entry = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which lives on this stack during the call.
    match unsafe { libc::poll(&raw mut entry, 1, timeout_ms) } {
        -1 => Err(Error::last_os_error()),
        n => Ok(n > 0),
    }
}

fn receive(file: &mut File) -> Result<Vec<u8>> {
    let mut frame = vec![0; 65_536];
    let len = file.read(&mut frame)?;
    frame.truncate(len);
    Ok(frame)
}

/// Runs `test` on a thread of its own, whose namespace goes with it; says so if there can be none.
fn on_a_bridge(test: impl FnOnce(&mut Bridge) + Send + 'static) {
    let run = move || match Bridge::new() {
        Ok(mut bridge) => test(&mut bridge),
        Err(why) => skipped(&format!("no bridge of TAPs in a network namespace: {why}")),
    };
    std::thread::spawn(run).join().expect("equal frames");
}

/// Says so past the capture of a test that passes.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn ours(header: &[u8], frame: &[u8], dst_mfs: usize) -> Vec<Vec<u8>> {
    let c = Conversion {
        dst_mfs: dst_mfs as u32,
        ..OFFLOAD
    };
    let out = convert(&refs(&slots(header, frame, 2048)), &c).expect("a packet that passes");
    out.into_iter().map(|slot| slot.bytes).collect()
}

/// TCP and UDP over IPv4 and IPv6, with tags and options, from one byte to many segments.
fn frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    for payload in [1, 1459, 1460, 1461, 2920, 7777, 40_001] {
        let tcp = Frame::tcp4(payload);
        let options = Frame {
            tcp_options: 3,
            ip_options: 2,
            ..tcp.clone()
        };
        frames.extend([
            Frame {
                vlans: 1,
                ..tcp.clone()
            },
            Frame {
                vlans: 1,
                ..options.clone()
            },
            Frame {
                seq: u32::MAX - 1500,
                id: 0xfffe,
                ..tcp.clone()
            },
            Frame {
                tcp_flags: 0x18 | 0x40,
                ..tcp.clone()
            },
            Frame {
                tcp_flags: 0x10,
                ..options.clone()
            },
            Frame {
                ipv4: false,
                ip_options: 0,
                ..options.clone()
            },
            Frame {
                ipv4: false,
                vlans: 1,
                ..tcp.clone()
            },
            Frame {
                udp: true,
                ipv4: false,
                ..tcp.clone()
            },
            Frame {
                udp: true,
                vlans: 1,
                ..tcp.clone()
            },
            Frame {
                udp: true,
                ..tcp.clone()
            },
            tcp,
            options,
        ]);
    }
    frames
}

#[test]
fn segments_are_those_of_the_kernel() {
    on_a_bridge(|bridge| {
        let mut compared = 0;
        for (frame, mfs) in frames().iter().flat_map(|f| [(f, 1514), (f, 601)]) {
            let bytes = frame.bytes();
            let mut header = frame.gso_header(mfs);
            let ours = ours(&header, &bytes, mfs);
            if frame.udp {
                header[1] = GSO_UDP_L4;
            }
            match bridge.convert(&header, &bytes) {
                Ok(kernels) => same(&ours, &kernels, frame),
                // Kernels before 6.2 do not take this type from a TAP.
                Err(e) if frame.udp && e.raw_os_error() == Some(libc::EINVAL) => {
                    skipped(&format!("UDP segmentation from a TAP: {e}"));
                    continue;
                }
                Err(e) => panic!("{e}: {frame:?}"),
            }
            compared += 1;
        }
        println!("{compared} packets segmented like the kernel");
    });
}

#[test]
fn ecn_is_segmented_like_the_kernel() {
    on_a_bridge(|bridge| {
        let frame = Frame {
            tcp_flags: 0x18 | 0x40,
            ..Frame::tcp4(5000)
        };
        let mut header = frame.gso_header(1514);
        header[1] |= GSO_ECN;
        let kernels = bridge
            .convert(&header, &frame.bytes())
            .expect("a frame the kernel takes");
        same(&ours(&header, &frame.bytes(), 1514), &kernels, &frame);
    });
}

#[test]
fn checksums_are_those_of_the_kernel() {
    on_a_bridge(|bridge| {
        for frame in frames().iter().filter(|f| f.payload.len() < 1440) {
            let header = frame.vnet_header(NEEDS_CSUM, 0, 0);
            let kernels = bridge
                .convert(&header, &frame.bytes())
                .expect("a frame it takes");
            assert_eq!(kernels.len(), 1);
            same(&ours(&header, &frame.bytes(), 1514), &kernels, frame);
        }
    });
}

fn same(ours: &[Vec<u8>], kernels: &[Vec<u8>], frame: &Frame) {
    let what = Frame {
        payload: Vec::new(),
        ..frame.clone()
    };
    let lens = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(
        lens(ours),
        lens(kernels),
        "{what:?} with {} bytes",
        frame.payload.len()
    );
    for (i, (a, b)) in ours.iter().zip(kernels).enumerate() {
        let headers = frame.header_len();
        assert_eq!(
            a[..headers],
            b[..headers],
            "headers of segment {i} of {what:?}"
        );
        assert!(a == b, "payload of segment {i} of {what:?}");
    }
}
