//! The ports, and the loop.

use std::time::{Duration, Instant};

use nm_user::{Error, Interest, NotSent, Open, Port, wait};
use serde::Serialize;
use uvale_tools::output;
use uvale_tools::signals::Signals;

use crate::Args;
use crate::way::{Outcome, Tally, Way};

/// The longest sleep: after it is seen whether a signal has come.
const LONGEST: Duration = Duration::from_millis(250);

/// The longest sleep while the other end has room, but not enough: POLLOUT tells nothing then.
const SOON: Duration = Duration::from_millis(1);

/// A port, and what comes there.
struct End {
    port: Port,
    /// what came here, on its way to the other end
    way: Way,
    /// the other end has no room for it
    is_full: bool,
    /// it has some, but not enough
    is_short: bool,
}

pub fn run(args: &Args) -> Result<(), String> {
    let signals = Signals::take()?;
    let seed = args.seed.unwrap_or_else(some_seed);
    let open = |a: &Port| Open::new().memory_of(a).open(&args.b);
    let mut a = Port::open(&args.a).map_err(sentence)?;
    let mut b = open(&a).map_err(sentence)?;
    for port in [&mut a, &mut b] {
        if port.tx_rings().len() == 0 || port.rx_rings().len() == 0 {
            let name = port.name();
            return Err(format!("{name}: a link needs rings of both directions"));
        }
    }
    let end = |port, way: Way| End {
        port,
        way,
        is_full: false,
        is_short: false,
    };
    let [to_b, to_a] = args.ways(seed);
    let mut ends = [end(a, to_b), end(b, to_a)];
    output::line(format_args!(
        "uvale link: {} and {} are joined, seed {seed}",
        args.a, args.b
    ));
    let outcome = serve(&mut ends, args.count, &signals).map_err(sentence);
    let said = summary(args, seed, &ends);
    outcome.and(said)
}

fn sentence(why: Error) -> String {
    why.to_string()
}

fn some_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Short enough to be typed.
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}

/// Until somebody asks for the end, or `count` packets have left.
fn serve(ends: &mut [End; 2], count: u64, signals: &Signals) -> Result<(), Error> {
    let mut sent = 0u64;
    while !signals.has_come() {
        sleep(ends)?;
        let now = Instant::now();
        for i in 0..2 {
            let [from, to] = pair(ends, i);
            for mut rx in from.port.rx_rings() {
                for packet in rx.packets() {
                    from.way.accept(now, packet.fragments());
                }
            }
            let Some(mut tx) = to.port.tx(0) else {
                continue;
            };
            from.is_full = from.way.release(now, |bytes| {
                if count > 0 && sent >= count {
                    return Outcome::Full;
                }
                match tx.send(bytes) {
                    Ok(()) => {
                        sent += 1;
                        Outcome::Sent
                    }
                    Err(NotSent::Full) => Outcome::Full,
                    Err(NotSent::TooLong) => Outcome::TooLong,
                }
            });
            from.is_short = from.is_full && tx.room() > 0;
            to.port.sync_tx()?;
        }
        if count > 0 && sent >= count {
            return Ok(());
        }
    }
    Ok(())
}

/// The two ends, the `i`th one first.
fn pair(ends: &mut [End; 2], i: usize) -> [&mut End; 2] {
    let [a, b] = ends;
    if i == 0 { [a, b] } else { [b, a] }
}

/// Until there is something to do.
fn sleep(ends: &mut [End; 2]) -> Result<(), Error> {
    let now = Instant::now();
    let [a, b] = ends;
    // A packet that there is no room for does not wait for its time any more.
    let due = |end: &End| end.way.next().filter(|_| !end.is_full);
    let next = [due(a), due(b)].into_iter().flatten().min();
    let time = next.map_or(LONGEST, |next| next.saturating_duration_since(now));
    let short = a.is_short || b.is_short;
    let time = if short { time.min(SOON) } else { time };
    let room = |other: &End| match other.is_full && !other.is_short {
        true => Interest::RX | Interest::TX,
        false => Interest::RX,
    };
    let [for_a, for_b] = [room(b), room(a)];
    let mut both = [a.port.watch(for_a), b.port.watch(for_b)];
    wait(&mut both, Some(time.min(LONGEST))).map(drop)
}

#[derive(Serialize)]
struct Summary<'a> {
    seed: u64,
    ways: [OneWay<'a>; 2],
}

#[derive(Serialize)]
struct OneWay<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(flatten)]
    tally: Tally,
    /// waited when the link ended
    waiting: usize,
}

fn summary(args: &Args, seed: u64, ends: &[End; 2]) -> Result<(), String> {
    let way = |i: usize, from, to| OneWay {
        from,
        to,
        tally: ends[i].way.tally,
        waiting: ends[i].way.waiting(),
    };
    let ways = [way(0, &args.a[..], &args.b[..]), way(1, &args.b, &args.a)];
    if args.json {
        let text = serde_json::to_string(&Summary { seed, ways }).map_err(|e| e.to_string())?;
        return output::write(&format!("{text}\n"));
    }
    let lines = ways.iter().map(|way| {
        let Tally {
            received,
            sent,
            lost,
            duplicated,
            corrupted,
            reordered,
            over_limit,
            too_long,
        } = way.tally;
        let parts = [
            (lost, "lost"),
            (duplicated, "duplicated"),
            (corrupted, "corrupted"),
            (reordered, "reordered"),
            (over_limit, "over the limit"),
            (too_long, "longer than the ring"),
            (way.waiting as u64, "still waiting"),
        ];
        let parts = parts.iter().filter(|(n, _)| *n > 0);
        let parts: String = parts.map(|(n, what)| format!(", {n} {what}")).collect();
        format!(
            "{} to {}: {received} received, {sent} sent{parts}\n",
            way.from, way.to
        )
    });
    output::write(&lines.collect::<String>())
}
