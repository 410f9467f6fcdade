//! A guest that writes anything anywhere: registers, CSB, slots, its memory map. Its process answers or ends; nobody
//! else loses a packet, and the daemon lives.

use compat_tests::place::Place;
use compat_tests::wait::wait_for;
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

/// How often the sync loop of that process has gone to sleep.
fn sleeps(vm: &Program) -> u64 {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", vm.pid().as_raw_pid())).expect("it runs");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut statuses = tasks.map(|task| read(task.expect("a thread").path().join("status")));
    let found = statuses.find(|status| status.starts_with("Name:\tsync loop\n"));
    let status = found.expect("its sync loop");
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
    ended(vm);
    place.assert_left_clean();
}
