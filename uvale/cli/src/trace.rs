//! `uvale trace`: what happens to each packet of a port, or of all ports of a switch, and why.
//!
//! | file | what |
//! |---|---|
//! | `names.rs` | whose the descriptions are that are woken |
//! | `words.rs` | what has happened, as sentences |
//! | `json.rs` | the same as JSON |
//! | `form.rs` | the three forms that a trace is written in |
//!
//! The processes that send leave records in a memory of the trace (`uvale_engine::trace`), and wait for nobody. This
//! command reads them; what it was too slow for it counts.

mod form;
mod json;
mod names;
mod watch;
mod words;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use uvale_engine::trace::{Event, Record, Tracing};
use uvale_frame::Filter;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;
use uvale_shared::trace::Reader;
use uvale_system::clock::monotonic;
use uvale_tools::nearest::{hint, label};
use uvale_tools::output::line;
use uvale_tools::signals::{Signals, let_long_files_be_errors};

use super::capture::output::Output;
use super::capture::{End, is_ordinary, seconds};
use super::show::{Place, fetch};
use super::table::printable;
use form::Form;
use names::Names;
use watch::{Watch, is_there};

/// Of `uvale trace`.
pub const HELP: &str = "\
FILTER is a display filter of Wireshark's: protocols, fields, == != < > contains in, && || ! and parentheses
Exit status: 0 all that was asked for, 1 an error, 2 wrong options, 3 packets missed or fewer than -c

Examples:
  uvale trace vale0:a
  uvale trace vale0 'udp.dstport == 53' -c 10
  uvale trace vale0 --dropped -w dropped.pcapng";

/// Bytes of a packet that are recorded unless -s says something else.
const SNAPLEN: u32 = 256;
/// The most.
const LONGEST: u32 = 65_536;
/// Records that are taken before the output and the signals are looked at.
const TURN: u32 = 512;
/// Bytes of them.
const TURN_BYTES: usize = 1 << 20;
/// The longest sleep: nobody tells that there is a record.
const NAP: Duration = Duration::from_millis(5);
/// How long a reader that takes nothing is given in the end, and a writer that has begun.
const LAST: Duration = Duration::from_secs(1);

/// Says what happens to each packet: which ring it was sent from and by whom, what the switch learnt and looked up,
/// where it was copied to, why it was dropped, and whom it woke. Costs those who send something while it runs.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// A port, such as vale0:a, x{1 and eth0, or a switch: vale0, for all its ports
    #[arg(value_name = "PORT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    port: String,
    /// Only packets that pass this display filter, as far as they are recorded
    #[arg(value_name = "FILTER", num_args = 0..)]
    filter: Vec<String>,
    /// Only packets that were dropped somewhere
    #[arg(long)]
    dropped: bool,
    /// A line of JSON for each packet
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Write pcapng, what has happened being comments, to FILE; - is standard output
    #[arg(short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after COUNT packets
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Record so many bytes of each packet
    #[arg(short, value_name = "SNAPLEN", default_value_t = SNAPLEN,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST)))]
    snaplen: u32,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

/// A record, and what goes before it.
pub struct Told<'a> {
    record: &'a Record,
    names: &'a Names,
    /// records that were missed before it
    missed: u64,
}

/// Runs the command.
///
/// # Errors
/// A sentence.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let is_stdout = args.write.as_deref() == Some(Path::new("-"));
    if is_stdout && std::io::stdout().is_terminal() {
        line(format_args!(
            "uvale trace: -w - writes pcapng, which is not for a terminal: give it to a program, as in | tshark -r - -V"
        ));
        return Ok(ExitCode::from(2));
    }
    let text = args.filter.join(" ");
    let filter = match text.is_empty() {
        true => None,
        false => match text.parse::<Filter>() {
            Ok(filter) => Some(filter),
            Err(wrong) => {
                line(format_args!("uvale trace: {}: {wrong}", printable(&text)));
                return Ok(ExitCode::from(2));
            }
        },
    };
    let session = args.place.attach()?;
    let name = find(&session, &args.port)?;
    let output = match args.write.as_deref() {
        Some(path) if !is_stdout => Output::create(path)?,
        _ => Output::stdout()?,
    };
    let form = match (args.json, &args.write) {
        (true, _) => Form::json(),
        (false, Some(_)) => Form::pcapng(args.snaplen),
        (false, None) => Form::text(),
    };
    let_long_files_be_errors()?;
    let signals = Signals::take()?;
    let tracing = session
        .begin_trace(&name, args.snaplen)
        .map_err(|refusal| refusal.why)?;
    let mut trace = Tracer {
        names: Names::of(&session),
        session,
        tracing,
        reader: Reader::default(),
        form,
        output,
        filter,
        dropped: args.dropped,
        left: args.count.unwrap_or(u64::MAX),
        shown: 0,
        missed: 0,
        untold: 0,
        untraced: 0,
    };
    trace.form.begin(&mut trace.output);
    line(format_args!("uvale trace: tracing {}", printable(&name)));
    let until = args.seconds.map(|time| Instant::now() + time);
    let end = trace
        .until_end(&name, &signals, until)
        .unwrap_or_else(|e| e);
    let end = trace.finish(end, &signals);
    Ok(trace.verdict(&end, &args, &name))
}

/// The name that the daemon knows what was named by.
fn find(session: &Session, name: &str) -> Result<String, String> {
    let (_, ports) = fetch::<Vec<report::Port>>(session, Report::Ports)?;
    if name.contains('/') {
        return Err(format!(
            "{} names a monitor, which sends nothing: trace the port itself, {}",
            printable(name),
            printable(&label(name))
        ));
    }
    let label = label(name);
    let ordinary = || ports.iter().filter(|p| is_ordinary(p));
    let switches = || ports.iter().filter_map(|p| p.switch.as_deref());
    if is_there(&ports, &label) {
        return Ok(label);
    }
    let known = ordinary().map(|p| p.name.as_str()).chain(switches());
    let near = hint(name, known);
    Err(format!(
        "there is no port or switch {}; see: uvale ports{near}",
        printable(name)
    ))
}

/// A trace that is being read and written.
struct Tracer {
    session: Session,
    tracing: Arc<Tracing>,
    reader: Reader,
    names: Names,
    form: Form,
    output: Output,
    filter: Option<Filter>,
    dropped: bool,
    /// records to show
    left: u64,
    shown: u64,
    /// records missed, and those of which the output does not tell yet
    missed: u64,
    untold: u64,
    /// packets that have left no record
    untraced: u64,
}

impl Tracer {
    fn until_end(
        &mut self,
        name: &str,
        signals: &Signals,
        until: Option<Instant>,
    ) -> Result<End, End> {
        let mut watch = Watch::new();
        loop {
            let taken = self.take()?;
            let is_written = self.output.push()?;
            if self.left == 0 {
                return Ok(End::Counted);
            }
            if signals.has_come() {
                return Ok(End::Asked("interrupted"));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(End::Asked("the time is over"));
            }
            if self.output.reader_has_gone() {
                return Ok(End::ReaderGone);
            }
            if taken && is_written {
                continue;
            }
            watch.look(&self.session, name);
            if !self.sleep(signals) {
                return Ok(End::Lost);
            }
        }
    }

    /// Takes some records, as long as there is room for what they become. False if there was none.
    fn take(&mut self) -> Result<bool, End> {
        let (mut bytes, mut taken, mut all) = (Vec::new(), false, 0);
        for _ in 0..TURN {
            let is_wanted = self.left > 0 && self.output.has_room() && all < TURN_BYTES;
            let memory = &self.tracing.memory;
            if !is_wanted || !self.reader.take(memory, monotonic(), &mut bytes) {
                break;
            }
            taken = true;
            all += bytes.len();
            self.note_missed();
            match Record::decode(&bytes) {
                Some(record) => self.show(&record),
                // Somebody has written nonsense: that is as good as nothing.
                None => self.is_missed(1),
            }
        }
        Ok(taken)
    }

    fn note_missed(&mut self) {
        let missed = self.reader.missed();
        self.is_missed(missed);
    }

    fn is_missed(&mut self, records: u64) {
        self.missed = self.missed.saturating_add(records);
        self.untold = self.untold.saturating_add(records);
    }

    fn show(&mut self, record: &Record) {
        let is_dropped = |e: &Event| matches!(e, Event::Dropped { .. } | Event::Reinit);
        if self.dropped && !record.events.iter().any(is_dropped) {
            return;
        }
        let is_packet = record.slots > 0;
        if let Some(filter) = &self.filter
            && !(is_packet && filter.matches(&record.data))
        {
            return;
        }
        self.names.know(&self.session, record);
        let told = Told {
            record,
            names: &self.names,
            missed: core::mem::take(&mut self.untold),
        };
        self.form.write(&told, &mut self.output);
        self.shown += 1;
        self.left -= 1;
    }

    /// Sleeps for a moment. False if the daemon is gone.
    fn sleep(&self, signals: &Signals) -> bool {
        let mut fds = vec![
            PollFd::new(self.session.connection(), PollFlags::empty()),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        if let Some((fd, events)) = self.output.awaited() {
            fds.push(PollFd::from_borrowed_fd(fd, events));
        }
        let nap = Timespec {
            tv_sec: 0,
            tv_nsec: NAP.subsec_nanos().into(),
        };
        let _ = poll(&mut fds, Some(&nap));
        fds[0].revents().is_empty()
    }

    /// Ends the trace, takes what is still there, and writes everything that somebody takes.
    fn finish(&mut self, end: End, signals: &Signals) -> End {
        self.untraced = self.session.end_trace().unwrap_or(0);
        let (began, mut last) = (Instant::now(), Instant::now());
        loop {
            let before = self.output.packets();
            let is_written = match (&end, self.take()) {
                (End::ReaderGone | End::Failed(_), _) => return end,
                (_, Err(failed)) => return failed,
                _ => match self.output.push() {
                    Ok(is_written) => is_written,
                    Err(failed) => return failed.into(),
                },
            };
            let is_read = self.left == 0 || !self.reader.is_behind(&self.tracing.memory);
            if self.output.packets() > before {
                last = Instant::now();
            }
            let is_over = is_read && is_written;
            let is_stuck = last.elapsed() >= LAST && began.elapsed() >= LAST;
            if is_over || is_stuck || signals.has_come() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !matches!(end, End::Counted) {
            let missed = self.reader.missed_in_the_end(&self.tracing.memory);
            self.is_missed(missed);
        }
        end
    }

    /// Says what came of it.
    fn verdict(&self, end: &End, args: &Args, name: &str) -> ExitCode {
        let unwritten = self.shown.saturating_sub(self.output.packets());
        let written = self.shown - unwritten;
        let why = match end {
            End::Counted => None,
            End::Asked(why) => Some((*why).to_owned()),
            End::Closed => Some(format!("{name}: closed by its program")),
            End::Lost => Some(format!(
                "the uvale daemon in {} is gone, and the ports with it",
                args.place.dir().display()
            )),
            End::ReaderGone => Some(format!("nobody reads {} any more", self.output.name())),
            End::Failed(why) => Some(why.clone()),
        };
        let of = args.count.map_or(String::new(), |n| format!(" of {n}"));
        let mut text = format!("{written}{of} packets traced, {} missed", self.missed);
        if unwritten > 0 {
            text += &format!(", {unwritten} not written");
        }
        if self.untraced > 0 {
            text += &format!(
                ", {} sent that are not in the trace, by a process that has no file descriptor or memory for it",
                self.untraced
            );
        }
        if let Some(why) = why {
            text += &format!(": {why}");
        }
        line(format_args!("uvale trace: {text}"));
        let is_short = args.count.is_some_and(|count| written < count);
        match end {
            End::Lost | End::Failed(_) => ExitCode::FAILURE,
            _ if self.missed > 0 || self.untraced > 0 || unwritten > 0 || is_short => {
                ExitCode::from(3)
            }
            _ => ExitCode::SUCCESS,
        }
    }
}
