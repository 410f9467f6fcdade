//! `uvale capture`: what passes ports, as text or pcapng.
//!
//! | file | what |
//! |---|---|
//! | `taps.rs`, `tap.rs` | the captured ports; one of them: a monitor and its counters |
//! | `drops.rs` | what the port itself has dropped |
//! | `record.rs`, `pcapng.rs`, `text.rs` | what is recorded, and its two forms |
//! | `sink.rs`, `output.rs` | the capture that is written; a file or a pipe that is never waited for |
//!
//! One thread takes packets from the monitors' rings and writes. It waits for no reader: what cannot be written stays
//! in its memory, then in the rings, and what finds no room there is counted by who sends it.

mod drops;
pub mod output;
pub mod pcapng;
pub mod record;
mod sink;
mod tap;
mod taps;
pub mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fd::AsFd;
use uvale_tools::output::line;
use uvale_tools::signals::{Signals, let_long_files_be_errors};

use super::show::Place;
use output::{Failed, Output};
use pcapng::PcapNg;
use sink::Sink;
pub use tap::Direction;
use taps::{Taps, Targets, Woken};
pub use taps::{description, is_ordinary};

/// Of `uvale capture`.
pub const HELP: &str = "\
Exit status: 0 all that was asked for, 1 an error, 2 wrong options, 3 packets missed or fewer than -c

Examples:
  uvale capture vale0:a
  uvale capture vale0 -w all.pcapng
  uvale capture vale0:a -w - | tcpdump -n -r - tcp port 80";

/// The longest packets there are, as tcpdump has it.
const SNAPLEN: u32 = 262_144;
/// Turns in the end, after which a sender that does not stop is left: more than what the rings of a port hold.
const LAST_TURNS: u32 = 64;
/// How long a reader that takes nothing is given in the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Captures what ports send and receive, without slowing them: as lines of text, or with -w as pcapng with
/// directions. The ports of a switch are captured as they come and go.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Ports that programs have open, such as vale0:a and x{1, or switches: vale0
    #[arg(required = true, value_name = "PORT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    ports: Vec<String>,
    /// Write pcapng to FILE; - is standard output
    #[arg(short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after COUNT packets
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each packet
    #[arg(short, value_name = "SNAPLEN", default_value_t = SNAPLEN,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN)))]
    snaplen: u32,
    /// Only what the ports' programs receive, or send
    #[arg(short = 'Q', value_name = "DIRECTION", default_value = "inout")]
    direction: Direction,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

/// So much time, from an option.
///
/// # Errors
/// A sentence.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.0..=1e9).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds".into())
}

/// What to capture, and how.
pub struct Wanted {
    /// which world
    pub place: Place,
    /// names of ports and switches
    pub ports: Vec<String>,
    /// where to: `-` is standard output; none: as text
    pub write: Option<PathBuf>,
    /// packets to capture; none: until something else ends it
    pub count: Option<u64>,
    /// bytes to keep of a packet
    pub snaplen: u32,
    /// which packets
    pub direction: Direction,
    /// how long; none: until something else ends it
    pub time: Option<Duration>,
    /// a program reads this, which is told what was missed by the capture itself
    pub is_quiet: bool,
}

impl Wanted {
    /// Everything of these ports of a world, for a program that reads a pipe.
    pub fn piped(place: Place, ports: Vec<String>, pipe: PathBuf) -> Self {
        Self {
            place,
            ports,
            write: Some(pipe),
            count: None,
            snaplen: SNAPLEN,
            direction: Direction::Both,
            time: None,
            is_quiet: true,
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    if args.write.as_deref() == Some(Path::new("-")) && std::io::stdout().is_terminal() {
        line(format_args!(
            "uvale capture: -w - writes pcapng, which is not for a terminal: give it to a program, as in | tcpdump -r -"
        ));
        return Ok(ExitCode::from(2));
    }
    capture(Wanted {
        place: args.place,
        ports: args.ports,
        write: args.write,
        count: args.count,
        snaplen: args.snaplen,
        direction: args.direction,
        time: args.seconds,
        is_quiet: false,
    })
}

/// Why a capture is over.
pub enum End {
    /// all packets that were asked for are there
    Counted,
    /// a signal, or the time
    Asked(&'static str),
    /// the ports are closed
    Closed,
    /// the daemon is gone
    Lost,
    /// nobody reads it any more
    ReaderGone,
    /// it cannot be written
    Failed(String),
}

impl From<Failed> for End {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::ReaderGone => End::ReaderGone,
            Failed::Because(why) => End::Failed(why),
        }
    }
}

/// Captures.
///
/// # Errors
/// A sentence.
pub fn capture(wanted: Wanted) -> Result<ExitCode, String> {
    let session = wanted.place.attach()?;
    let targets = Targets::find(&session, &wanted.ports)?;
    let output = match wanted.write.as_deref() {
        Some(path) if path != Path::new("-") => Output::create(path)?,
        _ => Output::stdout()?,
    };
    let form: Box<dyn record::Record> = match wanted.write {
        Some(_) => Box::new(PcapNg::new(wanted.snaplen)),
        None => Box::new(text::Text::default()),
    };
    let mut sink = Sink::new(form, output);
    let_long_files_be_errors()?;
    let signals = Signals::take()?;
    let world = (wanted.place.dir(), Arc::new(session));
    let mut taps = Taps::open(world, targets, wanted.direction, &mut sink)?;
    if !wanted.is_quiet {
        line(format_args!(
            "uvale capture: capturing {}",
            wanted.ports.join(" ")
        ));
    }
    let end = match until_end(&mut taps, &mut sink, &wanted, &signals) {
        Ok(end) | Err(end) => end,
    };
    let end = finish(taps, &mut sink, &wanted, &signals, end);
    Ok(verdict(end, &sink, &wanted))
}

fn until_end(
    taps: &mut Taps,
    sink: &mut Sink,
    wanted: &Wanted,
    signals: &Signals,
) -> Result<End, End> {
    let until = wanted.time.map(|time| Instant::now() + time);
    loop {
        taps.follow(sink);
        let left = wanted
            .count
            .map_or(u64::MAX, |count| count - sink.captured());
        let taken = taps.take(left, sink);
        let is_written = sink.push()?;
        if taken == left {
            return Ok(End::Counted);
        }
        let now = Instant::now();
        if signals.has_come() {
            return Ok(End::Asked("interrupted"));
        } else if until.is_some_and(|until| now >= until) {
            return Ok(End::Asked("the time is over"));
        } else if taps.are_over() {
            return Ok(End::Closed);
        }
        if taken > 0 && is_written {
            continue;
        }
        let mut others = vec![(signals.as_fd(), PollFlags::IN)];
        others.extend(sink.output().awaited());
        let longest = until.map(|until| until - now);
        if taps.sleep(sink.has_room(), &others, longest) == Woken::Lost {
            return Ok(End::Lost);
        }
        if sink.output().reader_has_gone() {
            return Ok(End::ReaderGone);
        }
    }
}

/// Takes what is still in the rings, and writes everything that somebody takes.
fn finish(mut taps: Taps, sink: &mut Sink, wanted: &Wanted, signals: &Signals, end: End) -> End {
    let is_writable = !matches!(end, End::ReaderGone | End::Failed(_));
    if is_writable && !matches!(end, End::Counted) {
        for _ in 0..LAST_TURNS {
            let left = wanted
                .count
                .map_or(u64::MAX, |count| count - sink.captured());
            if taps.take(left, sink) == 0 {
                break;
            }
        }
    }
    taps.end(sink);
    if !is_writable {
        return end;
    }
    let mut last = Instant::now();
    loop {
        let before = sink.output().packets();
        match sink.push() {
            Ok(true) => return end,
            Ok(false) => {}
            Err(failed) => return failed.into(),
        }
        if sink.output().packets() > before {
            last = Instant::now();
        }
        if last.elapsed() >= PATIENCE || signals.has_come() {
            return end;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says what came of it.
fn verdict(end: End, sink: &Sink, wanted: &Wanted) -> ExitCode {
    let (captured, missed) = (sink.captured(), sink.missed());
    let unwritten = captured.saturating_sub(sink.output().packets());
    let names = wanted.ports.join(" ");
    let why = match &end {
        End::Counted => None,
        End::Asked(why) => Some((*why).to_owned()),
        End::Closed => Some(format!("{names}: closed by its program")),
        End::Lost => Some(format!(
            "the uvale daemon in {} is gone, and the ports with it",
            wanted.place.dir().display()
        )),
        End::ReaderGone => Some(format!("nobody reads {} any more", sink.output().name())),
        End::Failed(why) => Some(why.clone()),
    };
    let is_error = matches!(end, End::Lost | End::Failed(_));
    let is_short = wanted
        .count
        .is_some_and(|count| captured - unwritten < count);
    if !wanted.is_quiet || is_error {
        let of = wanted
            .count
            .map_or(String::new(), |count| format!(" of {count}"));
        let mut text = format!(
            "{}{of} packets captured, {missed} missed",
            captured - unwritten
        );
        if unwritten > 0 {
            text += &format!(", {unwritten} not written");
        }
        if let Some(why) = why {
            text += &format!(": {why}");
        }
        line(format_args!("uvale capture: {text}"));
    }
    match (is_error, missed > 0 || unwritten > 0 || is_short) {
        (true, _) => ExitCode::FAILURE,
        (false, true) if !wanted.is_quiet => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    }
}
