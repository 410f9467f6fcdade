//! What worlds and ports take: pages that are touched, and how long a start takes.
//!
//! A program that opens ports and waits is started again and again, with more ports or more packets each time; the
//! differences count. Pages are exact, so that one look is enough; of times there are several.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Instant;

use uvale_system::footprint::{Private, memfds};

use super::addresses::ALL;
use super::figure::{Case, Figure, Range, Unit, median};
use super::port::Port;
use super::world::World;

/// Spec of the worker: this, how many ports, and how many packets the first one sends to all others.
const WORKER: &str = "memory:";
/// Ports of which the mean is taken.
const PORTS: u32 = 16;
/// Packets after which every buffer of a default ring has been used.
const PACKETS: u32 = 2048;
/// How often times are taken.
const TIMES: usize = 9;
/// Bytes of a packet.
const LEN: u16 = 60;

/// A process of this benchmark, if `spec` is one: prints how many microseconds each port took, and waits for the end
/// of its input.
pub fn worker(spec: &str) -> Option<Result<(), String>> {
    spec.strip_prefix(WORKER).map(hold)
}

fn hold(spec: &str) -> Result<(), String> {
    let numbers = spec.split_once(',');
    let numbers = numbers.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (ports, packets): (u32, u32) = numbers.ok_or("no numbers")?;
    let mut times = Vec::new();
    let open = |i| {
        let begin = Instant::now();
        let port = Port::open(&format!("vale0:m{i}"))?;
        times.push(begin.elapsed().as_micros().to_string());
        Ok(port)
    };
    let ports = (0..ports).map(open).collect::<Result<Vec<_>, String>>()?;
    if let Some((first, others)) = ports.split_first() {
        for _ in 0..packets {
            let mut ring = first.tx()?;
            ring.address(&[(ALL, super::addresses::SENDER)]);
            ring.fill(1, LEN);
            first.txsync()?;
            for port in others {
                port.rxsync()?;
                port.rx()?.drain();
            }
        }
    }
    println!("{}", times.join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// What a world takes, in bytes.
#[derive(Clone, Copy, Debug)]
struct Taken {
    shared: u64,
    daemon: Private,
    program: Private,
}

impl Taken {
    fn of(world: &World, program: Option<&Child>) -> Result<Self, String> {
        let daemon = world.daemon();
        let private = |pid| Private::of(pid).map_err(|e| format!("process {pid}: {e}"));
        let shared = memfds(daemon).map_err(|e| format!("memory of the daemon: {e}"))?;
        Ok(Self {
            shared: shared.values().sum(),
            daemon: private(daemon)?,
            program: program.map_or(Ok(Private::default()), |child| private(child.id()))?,
        })
    }

    /// Kilobytes of one of `parts` parts of what this is more than `before`: shared, the daemon's, the program's, all.
    fn more_than(self, before: Self, parts: u32) -> [(&'static str, f64); 4] {
        let own = |p: Private| p.anonymous + p.tables;
        let pairs = [
            ("shared", self.shared, before.shared),
            ("daemon", own(self.daemon), own(before.daemon)),
            ("program", own(self.program), own(before.program)),
        ];
        let more = pairs.map(|(what, now, then)| {
            (what, (now as f64 - then as f64) / 1024.0 / f64::from(parts))
        });
        let [a, b, c] = more;
        [a, b, c, ("all", a.1 + b.1 + c.1)]
    }
}

/// A program with ports in a world of its own, and what there is then.
struct Seen {
    taken: Taken,
    /// microseconds that each port took
    times: Vec<f64>,
}

fn look(ports: u32, packets: u32) -> Result<Seen, String> {
    let world = World::new()?;
    let mut command = super::world::this_program()?;
    let spec = format!("{WORKER}{ports},{packets}");
    world.preload(&mut command);
    command.args(["bench", "--worker", &spec]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let mut line = String::new();
    let output = child.stdout.take();
    if let Some(output) = output {
        let _ = BufReader::new(output).read_line(&mut line);
    }
    let taken = Taken::of(&world, Some(&child));
    drop(child.stdin.take());
    let status = child.wait().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("a program with {ports} ports ended with {status}"));
    }
    let times = line.split_whitespace().filter_map(|n| n.parse().ok());
    Ok(Seen {
        taken: taken?,
        times: times.collect(),
    })
}

/// Kilobytes: a world without ports, the first port of a process, an idle port, a port whose rings have been used.
pub fn sizes() -> Result<Vec<Vec<Figure>>, String> {
    let empty = Taken::of(&World::new()?, None)?;
    let nothing = Taken {
        shared: 0,
        daemon: Private::default(),
        program: Private::default(),
    };
    let [none, one, many] = [0, 1, 1 + PORTS].map(|n| look(n, 0));
    let (none, one, many) = (none?.taken, one?.taken, many?.taken);
    let used = look(1 + PORTS, PACKETS)?.taken;
    let cases = [
        ("a world", empty.more_than(nothing, 1)),
        ("a process's first port", one.more_than(none, 1)),
        ("an idle port", many.more_than(one, PORTS)),
        ("more when used", used.more_than(many, 1 + PORTS)),
    ];
    let figures = |(case, parts): (&str, [(&'static str, f64); 4])| {
        let figure = |(what, kilobytes)| figure(case, what, Unit::Kilobytes, &[kilobytes]);
        parts.map(figure).to_vec()
    };
    Ok(cases.map(figures).to_vec())
}

/// Microseconds: until a daemon listens, for the first port of a process, for one more.
pub fn times() -> Result<Vec<Figure>, String> {
    let (mut daemon, mut first, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begin = Instant::now();
        let world = World::new()?;
        daemon.push(begin.elapsed().as_micros() as f64);
        drop(world);
        let seen = look(1 + PORTS, 0)?.times;
        let (one, others) = seen.split_first().ok_or("no port was opened")?;
        first.push(*one);
        more.push(median(others.to_vec()));
    }
    let one = |what, values: &[f64]| figure("start", what, Unit::Microseconds, values);
    Ok(vec![
        one("daemon", &daemon),
        one("first port", &first),
        one("a port", &more),
    ])
}

fn figure(case: &str, what: &str, unit: Unit, values: &[f64]) -> Figure {
    Figure {
        suite: "memory".into(),
        case: Case::named(case),
        what: what.into(),
        unit,
        range: Range::of(values).unwrap_or(Range::exactly(0.0)),
        sent: None,
        wakeups: None,
        windows: values.len(),
        disturbed: false,
        ratios: Vec::new(),
    }
}
