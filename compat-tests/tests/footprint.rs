//! Memory that a world takes, counted in pages that were touched: no bound depends on time. `uvale bench --only memory`
//! reports the same, and how long things take.
//!
//! Kernel netmap allocates all of an allocator at once, 42 MB for a VALE port: what takes more here is a fault.

use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::place::Place;
use compat_tests::programs::{fact, program, strace};
use compat_tests::target::binaries;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, report_skip};
use uvale_system::footprint::{Private, memfds};

const KB: u64 = 1 << 10;
/// What a port may touch that nobody uses.
const IDLE_PORT: u64 = 200 * KB;
/// What control memory may have in a world without ports.
const EMPTY_WORLD: u64 = 64 * KB;
/// Ports that are measured together.
const PORTS: u64 = 8;
/// Bytes of the buffers of a default ring.
const RING: u64 = 1024 * 2048;

/// What a world and a program in it take.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// all memory that processes share
    shared: u64,
    /// of that, regions
    regions: u64,
    daemon: Private,
    program: Private,
}

impl Taken {
    fn bytes(&self) -> u64 {
        let of = |p: Private| p.anonymous + p.tables;
        self.shared + of(self.daemon) + of(self.program)
    }
}

/// The program `footprint`, which does what it is told.
struct Told {
    program: Program,
    done: usize,
}

impl Told {
    fn new(place: &Place) -> Result<Self, Skip> {
        let mut command = place.command(&program("footprint")?);
        command.stdin(Stdio::piped());
        Ok(Self::of(Program::start("footprint", command)))
    }

    fn of(program: Program) -> Self {
        program.wait_text("ready");
        Self { program, done: 0 }
    }

    /// Has it do that; false if it ends instead.
    fn tries(&mut self, line: &str) -> bool {
        self.program.tell(line);
        self.done += 1;
        let done = |program: &Program| program.stdout().matches("done").count();
        let program = &mut self.program;
        wait_for(line, || done(program) == self.done || program.has_closed());
        done(program) == self.done
    }

    /// Has it do that.
    fn tell(&mut self, line: &str) {
        assert!(self.tries(line), "{line}: {}", self.program.said());
    }

    fn pid(&self) -> u32 {
        self.program.pid().as_raw_nonzero().get().unsigned_abs()
    }
}

fn taken(place: &Place, told: &Told) -> Taken {
    let memfds = memfds(place.daemon_pid()).expect("the daemon is ours");
    let private = |pid| Private::of(pid).expect("a process of ours");
    Taken {
        shared: memfds.values().sum(),
        regions: memfds.get("netmap-region").copied().unwrap_or(0),
        daemon: private(place.daemon_pid()),
        program: private(told.pid()),
    }
}

fn say(what: &str, before: Taken, after: Taken, parts: u64) -> u64 {
    let more = |f: fn(&Taken) -> u64| f(&after).saturating_sub(f(&before)) / parts / KB;
    fact(&format!(
        "{what}: {} kB: {} shared, of the daemon {} and {} of page tables, of the program {} and {}",
        more(Taken::bytes),
        more(|t| t.shared),
        more(|t| t.daemon.anonymous),
        more(|t| t.daemon.tables),
        more(|t| t.program.anonymous),
        more(|t| t.program.tables),
    ));
    after.bytes().saturating_sub(before.bytes()) / parts
}

#[test]
fn an_idle_port_touches_its_rings_and_little_else() {
    let place = Place::new();
    let mut program = or_skip!("footprint", Told::new(&place));
    let nothing = taken(&place, &program);
    fact(&format!("a world without ports: {nothing:?}"));
    assert!(nothing.shared <= EMPTY_WORLD, "{nothing:?}");
    program.tell("open vale0:a 1");
    let one = taken(&place, &program);
    say("the first port of a process", nothing, one, 1);
    program.tell(&format!("open vale0:b {PORTS}"));
    let more = taken(&place, &program);
    let idle = say("an idle port", one, more, PORTS);
    assert!(idle < IDLE_PORT, "{idle} bytes");

    program.tell("close");
    place.assert_left_clean();
    let closed = taken(&place, &program);
    assert_eq!(closed.regions, 0, "{closed:?}");
}

#[test]
fn a_port_in_use_touches_what_it_uses() {
    let place = Place::new();
    let mut program = or_skip!("footprint", Told::new(&place));
    program.tell("open vale0:a 2");
    let idle = taken(&place, &program);
    // Twice around the rings: every buffer of the sending and of the receiving one.
    program.tell("send 0 2048");
    let used = taken(&place, &program);
    let more = say("two ports in use", idle, used, 1);
    assert!(used.regions > idle.regions + RING, "{used:?}");
    assert!(more <= 2 * RING + IDLE_PORT, "{more} bytes");
}

/// mlockall fills what is mapped. netmap's module has all memory of all ports from the start; a program has mapped that
/// of its own ports, and no more than that may come in here.
#[test]
fn mlockall_fills_the_memory_of_the_programs_own_ports() {
    for lines in [
        ["lock", "open vale0:a 1", "send 0 1"],
        ["open vale0:a 1", "send 0 1", "lock"],
    ] {
        let place = Place::new();
        // Those that packets are sent to, so that the shim has their memory mapped.
        let mut others = or_skip!("mlockall", Told::new(&place));
        others.tell(&format!("open vale0:b {PORTS}"));
        let mut locks = or_skip!("mlockall", Told::new(&place));
        let before = taken(&place, &locks);
        for line in lines {
            if line == "lock" && !locks.tries(line) {
                return report_skip("mlockall", &Skip::required("this user may not lock memory"));
            } else if line != "lock" {
                locks.tell(line);
            }
        }
        let after = taken(&place, &locks);
        let port = place.port("vale0:a0").expect("the port is open");
        let memories = place.status().memories;
        let own = memories
            .iter()
            .find(|m| m.mem_id == port.mem_id)
            .map_or(0, |m| m.size);
        say(
            &format!("{lines:?}, a memory of {own} bytes"),
            before,
            after,
            1,
        );
        let more = after.shared - before.shared;
        assert!(
            after.regions - before.regions >= own / 2,
            "nothing was locked"
        );
        assert!(
            more <= own + PORTS * IDLE_PORT,
            "{more} bytes, and the port has {own}"
        );
    }
}

/// Whichever pages a daemon is to take, ports work; and either it has them, or it says once why not.
#[test]
fn huge_pages_are_taken_or_missed_with_a_sentence() {
    for kind in ["off", "auto", "hugetlb", "thp"] {
        let place = Place::with(&["--huge-pages", kind, "--numa-node", "0"]);
        let mut program = or_skip!("huge pages", Told::new(&place));
        for _ in 0..2 {
            program.tell("open vale0:a 2");
            program.tell("send 0 2048");
            let regions = taken(&place, &program).regions;
            let log = place.log();
            let refusals = log.matches("memory has ordinary pages").count();
            fact(&format!("{kind}: {} kB in use: {log}", regions / KB));
            let is_huge = regions.is_multiple_of(2 << 20);
            match kind {
                "off" => assert!(!is_huge && refusals == 0, "{log}"),
                "auto" => assert_eq!(refusals, 0, "{log}"),
                _ => assert_eq!(refusals, usize::from(!is_huge), "{log}"),
            }
            program.tell("close");
            place.assert_left_clean();
        }
        assert_eq!(taken(&place, &program).regions, 0, "{kind}");
    }
}

/// System calls as they were counted last, of the daemon and of a program: without a port, and for a port more.
const START: [usize; 2] = [347, 252];
const PORT: [usize; 2] = [60, 80];
/// Percent by which they may be more.
const MORE: usize = 25;

/// System calls of a daemon and of a program that opens so many ports, and closes them.
fn calls(ports: u64) -> [usize; 2] {
    let place = Place::empty();
    let traces = ["daemon", "program"].map(|who| place.file(&format!("{who}.trace")));
    let traced = |trace: &Path| {
        let mut command = Command::new("strace");
        command.args(["-f", "-o"]).arg(trace).stdin(Stdio::piped());
        command
    };
    let mut command = traced(&traces[0]);
    command
        .arg(&binaries().uvale)
        .args(["daemon", "--idle", "1", "--dir"])
        .arg(place.dir());
    let daemon = Program::start("strace uvale daemon", command);
    wait_for("the daemon to listen", || place.socket().exists());

    let path = program("footprint").expect("it was compiled");
    let mut command = traced(&traces[1]);
    let with = place.command(&path);
    for (name, value) in with.get_envs() {
        let (name, value) = (
            name.to_string_lossy(),
            value.unwrap_or_default().to_string_lossy(),
        );
        // only the program is to have the shim
        command.arg("-E").arg(format!("{name}={value}"));
    }
    command.arg(&path);
    let mut told = Told::of(Program::start("strace footprint", command));
    if ports > 0 {
        told.tell(&format!("open vale0:a {ports}"));
    }
    told.tell("close");
    told.program.tell("end");
    told.program.wait_success();
    daemon.wait_success();
    traces.map(|trace| {
        let text = std::fs::read_to_string(trace).expect("strace has written its file");
        let is_call = |line: &&str| line.contains('(') && !line.contains(" resumed>");
        text.lines().filter(is_call).count()
    })
}

#[test]
fn a_start_and_a_port_take_few_system_calls() {
    or_skip!("system calls", strace());
    let _ = or_skip!("system calls", program("footprint"));
    let [none, one, many] = [0, 1, 1 + PORTS].map(calls);
    for (i, who) in ["daemon", "program"].into_iter().enumerate() {
        let port = (many[i] - one[i]) / PORTS as usize;
        let first = one[i] - none[i];
        fact(&format!(
            "system calls of the {who}: {} in all, {first} more with a port, {port} for another",
            none[i]
        ));
        let allowed = |recorded| recorded * (100 + MORE) / 100;
        assert!(
            none[i] <= allowed(START[i]) && port <= allowed(PORT[i]),
            "{who}"
        );
    }
}
