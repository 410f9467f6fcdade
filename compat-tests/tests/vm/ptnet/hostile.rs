//! A guest that writes anything anywhere: registers, CSB, slots, its memory map. Its process answers or ends; nobody
//! else loses a packet, and the daemon lives.

use compat_tests::place::Place;
use compat_tests::wait::{deadline, until, wait_for};
use compat_tests::world::Program;
use nm_abi::virt::*;
use rustix::process::Signal;

use super::driver::{ATOK, Guest, KTOA, RAM, RAM_LEN, ended, frame, no_memory, ptnet, ram};

/// A number that follows from the one before (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A value that may mean something, or anything.
    fn value(&mut self) -> u32 {
        match self.below(6) {
            0 => self.below(4) as u32,
            1 => self.below(2048) as u32,
            2 => (RAM + self.below(RAM_LEN)) as u32 & !63,
            3 => [RAM + ATOK, RAM + KTOA][self.below(2) as usize] as u32,
            4 => u32::MAX - self.below(3) as u32,
            _ => self.next() as u32,
        }
    }
}

/// What a hostile guest can do at once.
fn step(guest: &mut Guest, random: &mut Random) {
    let net = &mut guest.net;
    match random.below(100) {
        0..40 => {
            let value = random.value();
            guest.set_word(
                [ATOK, KTOA][random.below(2) as usize] + random.below(256) * 4,
                value,
            );
        }
        40..55 => {
            let at = PTNET_IO_KICK_BASE + 4 * random.below(3) as u32;
            guest.write(at, random.value());
        }
        55..70 => {
            let at = 4 * random.below(20) as u32;
            guest.write(at, random.value());
        }
        70..75 => {
            let bytes = random.next().to_le_bytes();
            let (region, at) = (random.below(9) as u32, random.below(600));
            net.region_write(region, at, &bytes[..1 + random.below(8) as usize])
                .expect("an answer");
        }
        75..80 => {
            let mut bytes = [0; 8];
            let (region, at) = (random.below(9) as u32, random.below(600));
            net.region_read(region, at, &mut bytes[..1 + random.below(8) as usize])
                .expect("an answer");
        }
        80..84 => {
            guest.spoil(random.next() as usize, random.next(), random.value());
        }
        84..93 => {
            guest.set_csb(RAM + ATOK, RAM + KTOA);
            guest.write(PTNET_IO_PTCTL, PTNETMAP_PTCTL_CREATE);
        }
        93 => guest.write(PTNET_IO_PTCTL, PTNETMAP_PTCTL_DELETE),
        94 => net.reset().expect("an answer"),
        95 => net
            .dma_unmap(random.next(), random.next())
            .expect("an answer"),
        96 => {
            net.dma_unmap(RAM, RAM_LEN).expect("an answer");
            let file = guest.ram.try_clone().expect("dup");
            guest.map(RAM, RAM_LEN, file);
        }
        97 => {
            guest.map(random.next() & !4095, random.below(4) * 4096, ram());
            guest.map(RAM + random.below(RAM_LEN), 4096, no_memory());
        }
        98 => guest.hear_of(random.below(4) as u32, random.below(3) as usize),
        _ => guest.map(u64::MAX - 4095, random.next(), ram()),
    }
}

/// Steps of each of the four guests.
fn steps() -> u64 {
    let asked = std::env::var("HOSTILE_STEPS").ok();
    asked.map_or(5_000, |n| n.parse().expect("a number"))
}

fn bystanders(place: &Place) -> [(Program, Guest); 2] {
    ["vale0:b", "vale0:c"].map(|port| {
        let name = &port[6..];
        let program = ptnet(place, port, name, &[]);
        let mut guest = Guest::new(place, name);
        guest.up();
        (program, guest)
    })
}

#[test]
fn a_hostile_guest_harms_nobody_else() {
    let place = Place::new();
    let [(_b_vm, mut b), (_c_vm, mut c)] = bystanders(&place);
    let mut number = 0;
    for seed in 1..=4u64 {
        // On another switch: on the same one it may send what it likes.
        let port = if seed % 2 == 0 {
            "vale1:a"
        } else {
            "netmap:h{1"
        };
        let mut vm = ptnet(&place, port, "a", &["--queues", "1", "--linger", "1000"]);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut guest = Guest::new(&place, "a");
        for done in 0..steps() {
            step(&mut guest, &mut random);
            if done % 500 == 0 {
                b.send(0, (number..number + 50).map(|n| frame(n, 100)));
                c.receive_numbers(0, number, 50);
                number += 50;
            }
        }
        assert!(!vm.has_ended(), "seed {seed}: {}", vm.said());
        // Another QEMU gets a device that works.
        drop(guest);
        let mut guest = Guest::new(&place, "a");
        guest.up();
        assert_eq!(guest.command(PTNETMAP_PTCTL_DELETE), 0);
        vm.signal(Signal::TERM);
        let said = ended(vm);
        assert!(!said.contains("panicked"), "seed {seed}: {said}");
    }
    drop((b, c));
}

/// How often the sync loop of that process has gone to sleep. A thread has its name soon after it was made.
pub(super) fn sleeps(vm: &Program) -> u64 {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let find = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", vm.pid().as_raw_pid()));
        let tasks = tasks.expect("it runs").flatten();
        let mut statuses = tasks.map(|task| read(task.path().join("status")));
        statuses.find(|status| status.starts_with("Name:\tsync loop\n"))
    };
    let status = until(deadline(), find).expect("its sync loop");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.expect("a line").trim().parse().expect("a number")
}

#[test]
fn a_head_that_is_none_keeps_no_loop_awake() {
    let place = Place::new();
    for (one, other) in [("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")] {
        let vm = ptnet(&place, one, "a", &[]);
        let _b_vm = ptnet(&place, other, "b", &[]);
        let [mut a, mut b] = ["a", "b"].map(|name| Guest::new(&place, name));
        a.up();
        b.up();
        let good = a.atok(1, 0);
        for (head, cur) in [(u32::MAX, u32::MAX), (good, u32::MAX), (1 << 20, good)] {
            a.set_atok(1, 1, cur);
            a.set_atok(1, 0, head);
            a.write(PTNET_IO_KICK_BASE + 4, 0);
            b.send(0, [frame(1, 60)]);
            // It sleeps between its looks, whatever is there for the guest.
            for _ in 0..3 {
                let before = sleeps(&vm);
                wait_for("the loop to sleep", || sleeps(&vm) > before);
            }
            a.set_atok(1, 1, good);
            a.set_atok(1, 0, good);
        }
        a.write(PTNET_IO_KICK_BASE + 4, 0);
        a.receive_numbers(0, 1, 1);
    }
}

#[test]
fn what_is_no_message_ends_a_connection_and_nothing_else() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &["--keep"]);
    let mut random = Random(7);
    for round in 0..300 {
        let which = if round % 2 == 0 {
            "a-net.sock"
        } else {
            "a-mem.sock"
        };
        let mut stream = UnixStream::connect(place.file(which)).expect("it listens");
        let mut bytes = vec![0; random.below(200) as usize];
        bytes.iter_mut().for_each(|b| *b = random.next() as u8);
        if bytes.len() >= 8 {
            // A command that there is, with a length that is none.
            bytes[2..4].copy_from_slice(&(random.below(16) as u16).to_le_bytes());
            let len = [0, 16, 24, 200, u32::MAX][random.below(5) as usize];
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
        }
        // A second of these may find it gone already.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    Guest::new(&place, "a").up();
    vm.signal(Signal::TERM);
    let said = ended(vm);
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.lines().count() < 20, "{said}");
    place.assert_left_clean();
}

/// Hangs up on whoever sends these bytes and stays.
fn is_hung_up_on(path: &std::path::Path, bytes: &[u8]) {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("it listens");
    stream.write_all(bytes).expect("room");
    let longest = compat_tests::wait::deadline();
    stream.set_read_timeout(Some(longest)).expect("a time");
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{bytes:?}: {e}"),
    }
}

#[test]
fn a_client_that_is_silent_or_says_too_much_keeps_nobody_out() {
    let place = Place::new();
    let vm = ptnet(&place, "vale0:a", "a", &["--keep"]);
    let net = place.file("a-net.sock");
    let message = |command: u16, size: u32| {
        let header = [0u16.to_le_bytes(), command.to_le_bytes()].concat();
        [header, size.to_le_bytes().to_vec(), vec![0; 8]].concat()
    };
    // Longer than any message is, shorter than its header, and one that does not come.
    for size in [u32::MAX, 1 << 20, 15, 0, 1000] {
        is_hung_up_on(&net, &message(10, size));
    }
    vm.wait_text("not a vfio-user message");
    is_hung_up_on(&net, &message(10, 1000)[..7]);
    is_hung_up_on(&net, &[]);
    vm.wait_text("has been silent");
    let mut guest = Guest::new(&place, "a");
    guest.up();
    // A region is neither read nor written by so much, nor with fewer bytes than that; the client stays.
    let mut access = message(10, 16 + 16 + 4);
    access.extend([0; 12]);
    access.extend(u32::MAX.to_le_bytes());
    access.extend([0; 4]);
    drop(guest);
    let mut stream = std::os::unix::net::UnixStream::connect(&net).expect("it listens");
    use std::io::{Read, Write};
    for _ in 0..2 {
        stream.write_all(&access).expect("room");
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[8], 1 | 1 << 5, "{answer:?}");
    }
    // Who comes while another is there waits, and a person hears of it.
    let second = std::os::unix::net::UnixStream::connect(&net).expect("it listens");
    vm.wait_text("until the first one disconnects");
    drop((stream, second));
    Guest::new(&place, "a").up();
}

#[test]
fn an_interrupt_that_nobody_takes_holds_nobody_up() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let place = Place::new();
    let vm = ptnet(&place, "netmap:p{1", "a", &[]);
    let _b_vm = ptnet(&place, "netmap:p}1", "b", &[]);
    let [mut a, mut b] = ["a", "b"].map(|name| Guest::new(&place, name));
    a.up();
    b.up();
    for event in &a.interrupts {
        rustix::io::write(event, &(u64::MAX - 1).to_ne_bytes()).expect("room");
        let flags = fcntl_getfl(event).expect("flags");
        fcntl_setfl(event, flags - OFlags::NONBLOCK).expect("flags");
    }
    for ring in 0..2 {
        a.set_atok(ring, 2, 1);
    }
    b.send(0, (0..300).map(|number| frame(number, 60)));
    wait_for("all of them", || a.ktoa(1, 1) >= 300);
    assert_eq!(a.command(PTNETMAP_PTCTL_DELETE), 0);
    // A descriptor that is no eventfd is no interrupt.
    let file = no_memory();
    let fds = [std::os::fd::AsRawFd::as_raw_fd(&file)];
    let _ = a.net.set_irqs(2, 1 << 2 | 1 << 5, 0, 1, &fds);
    a.up();
    vm.signal(Signal::TERM);
    ended(vm);
}
