//! `uvale ports`, `switches`, `fdb` and `status`: what the daemon of a world reports. None of
//! them starts a daemon: a world that nobody uses has nothing to show.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use nm_abi::name::NmportName;
use nm_abi::request::{NR_MONITOR_RX, NR_MONITOR_TX};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use uvale_link::place;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;
use uvale_tools::nearest;

use super::table::{Align, Table, duration, print, printable, size};
use super::worlds;

/// Which world.
#[derive(clap::Args)]
pub struct Place {
    /// Runtime directory of the world [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Options of `uvale ports`.
#[derive(clap::Args)]
pub struct PortsArgs {
    #[command(flatten)]
    args: Args,
    /// Print names that need no quotes, and nothing else (for shells that complete them)
    #[arg(long, hide = true, conflicts_with = "json")]
    names: bool,
}

/// Options of `uvale switches` and `uvale status`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Print the daemon's JSON
    #[arg(long)]
    json: bool,
}

/// Options of `uvale fdb`.
#[derive(clap::Args)]
pub struct FdbArgs {
    /// Name of the switch, such as vale0
    switch: String,
    #[command(flatten)]
    args: Args,
}

impl Place {
    /// The world of that directory; none: the usual one.
    pub fn at(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The runtime directory.
    pub fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(place::runtime_dir)
    }

    /// Attaches to the world's daemon; an error says why that is not possible.
    pub fn attach(&self) -> Result<Session, String> {
        self.try_attach().map_err(|refusal| self.absent(refusal))
    }

    /// The same, with a reason for [`Place::absent`].
    pub fn try_attach(&self) -> Result<Session, Refusal> {
        let invalid = |why: String| Refusal::new(Errno::INVAL, why);
        let dir = self.dir();
        place::is_safe(&dir).map_err(invalid)?;
        Session::attach(&dir)
    }

    /// Connects to it, whatever its version.
    pub fn connect(&self) -> Result<uvale_system::sys::Fd, String> {
        let dir = self.dir();
        place::is_safe(&dir)?;
        place::connect(&dir).map_err(|refusal| self.absent(refusal))
    }

    /// Why no daemon answers, and where one does.
    pub fn absent(&self, refusal: Refusal) -> String {
        let dir = self.dir();
        let (place, others) = (dir.display(), worlds::hint(&dir));
        let why = match refusal.errno {
            Errno::NOENT if !dir.exists() => "there is no such directory",
            Errno::NOENT => "none is running",
            Errno::CONNREFUSED => "it is gone, and left its socket behind: it was probably killed",
            Errno::NXIO => "it has just left",
            _ => return refusal.why,
        };
        format!(
            "no uvale daemon answers in {place}: {why}; one starts by itself when a program opens /dev/netmap: \
             uvale run -- PROGRAM{others}"
        )
    }
}

/// A report, as the daemon's JSON and decoded.
pub fn fetch<T: DeserializeOwned>(session: &Session, what: Report) -> Result<(Vec<u8>, T), String> {
    let json = session.report(what).map_err(|refusal| refusal.why)?;
    let read = serde_json::from_slice(&json).map_err(|e| {
        format!("the daemon's report cannot be decoded ({e}); is it of another version?")
    })?;
    Ok((json, read))
}

/// The end of a sentence about a port that cannot be opened or that failed: that there is no daemon,
/// or which port was probably meant.
pub fn port_hint(name: &str) -> String {
    let place = Place { dir: None };
    let session = match place.try_attach() {
        Ok(session) => session,
        // Only under the shim a daemon is needed. Why none could be started has been said by then.
        Err(_) if std::env::var_os(uvale_link::environment::ENV_PROGRAM).is_none() => {
            return String::new();
        }
        Err(f) if matches!(f.errno, Errno::NOENT | Errno::CONNREFUSED | Errno::NXIO) => {
            return format!("; no uvale daemon answers in {}", place.dir().display());
        }
        Err(f) => return format!("; {}", f.why),
    };
    match fetch::<Vec<report::Port>>(&session, Report::Ports) {
        Ok(_) if is_made_by_opening(name) => String::new(),
        Ok((_, ports)) => nearest::hint(name, ports.iter().map(|port| port.name.as_str())),
        Err(why) => format!("; {why}"),
    }
}

/// Is `name` a VALE port of its own, not a monitor? Opening creates it, so its absence is never the problem.
fn is_made_by_opening(name: &str) -> bool {
    let is_monitor =
        |parsed: NmportName| parsed.register.flags() & (NR_MONITOR_TX | NR_MONITOR_RX) != 0;
    name.starts_with("vale") && name.contains(':') && !NmportName::parse(name).is_ok_and(is_monitor)
}

/// Prints a report: as JSON, or as the text that `text` makes of it.
pub fn show<T: DeserializeOwned>(
    args: &Args,
    what: Report,
    text: impl FnOnce(T, &Session) -> Result<String, String>,
) -> Result<ExitCode, String> {
    let session = args.place.attach()?;
    let (json, read) = fetch(&session, what)?;
    let output = if args.json {
        String::from_utf8_lossy(&json).into_owned() + "\n"
    } else {
        text(read, &session)?
    };
    print(&output)?;
    Ok(ExitCode::SUCCESS)
}

/// `uvale ports`.
pub fn ports(args: PortsArgs) -> Result<ExitCode, String> {
    if args.names {
        return Ok(names(&args.args.place));
    }
    show(&args.args, Report::Ports, |ports: Vec<report::Port>, _| {
        Ok(ports_text(&ports))
    })
}

/// Names of ports and switches, one a line; none if that is not known, which is no error to who only presses a key.
fn names(place: &Place) -> ExitCode {
    let is_plain = |name: &&str| {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || ".,:_+-/@{}".contains(c);
        name.chars().all(is_fine)
    };
    if let Ok(session) = place.try_attach()
        && let Ok((_, ports)) = fetch::<Vec<report::Port>>(&session, Report::Ports)
    {
        let switches = ports.iter().filter_map(|port| port.switch.as_deref());
        let names: BTreeSet<&str> = ports
            .iter()
            .map(|port| &*port.name)
            .chain(switches)
            .collect();
        let text: String = names
            .into_iter()
            .filter(is_plain)
            .map(|name| format!("{name}\n"))
            .collect();
        let _ = print(&text);
    }
    ExitCode::SUCCESS
}

/// `uvale switches`.
pub fn switches(args: Args) -> Result<ExitCode, String> {
    show(
        &args,
        Report::Switches,
        |switches: Vec<report::Switch>, _| Ok(switches_text(&switches)),
    )
}

/// `uvale fdb`.
pub fn fdb(args: FdbArgs) -> Result<ExitCode, String> {
    let what = Report::Fdb(args.switch.clone());
    let shown = show(&args.args, what, |entries: Vec<report::FdbEntry>, _| {
        Ok(fdb_text(&args.switch, entries))
    });
    shown.map_err(|why| {
        let session = args.args.place.attach();
        let switches = session.and_then(|session| fetch(&session, Report::Switches));
        let switches: Vec<report::Switch> = switches.map_or(Vec::new(), |(_, switches)| switches);
        let names = switches.iter().map(|switch| switch.name.as_str());
        why + &nearest::hint(&args.switch, names)
    })
}

/// `uvale status`.
pub fn status(args: Args) -> Result<ExitCode, String> {
    let dir = args.place.dir();
    show(&args, Report::Daemon, |daemon: report::Daemon, session| {
        let (_, switches) = fetch::<Vec<report::Switch>>(session, Report::Switches)?;
        let (_, ports) = fetch::<Vec<report::Port>>(session, Report::Ports)?;
        let place = printable(&dir.display().to_string());
        Ok(status_text(&daemon, &place, switches.len(), ports.len()))
    })
}

/// What `ports` and `stats` print for a world without ports.
pub const NO_PORT: &str = "no port is open\n";

fn ports_text(ports: &[report::Port]) -> String {
    if ports.is_empty() {
        return NO_PORT.to_owned();
    }
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("KIND", Align::Left),
        ("SWITCH", Align::Left),
        ("NO", Align::Right),
        ("TX RINGS", Align::Right),
        ("RX RINGS", Align::Right),
        ("MEM ID", Align::Right),
        ("USERS", Align::Right),
        ("VNET HDR", Align::Right),
        ("OPEN BY", Align::Left),
        ("PID", Align::Right),
        ("UID", Align::Right),
        ("SINCE", Align::Left),
    ]);
    for port in ports {
        let mut holders = port.holders.iter().map(holder);
        let first = holders
            .next()
            .unwrap_or_else(|| ["-".into(), "-".into(), "-".into(), "-".into()]);
        let cells = [
            super::nics::name_among(port, ports),
            port.kind.clone(),
            port.switch.clone().unwrap_or_else(|| "-".into()),
            port.number.map_or_else(|| "-".into(), |n| n.to_string()),
            rings(port.tx.len(), port.tx_slots),
            rings(port.rx.len(), port.rx_slots),
            port.mem_id.to_string(),
            port.users.to_string(),
            match port.virt_hdr_len {
                0 => "-".into(),
                n => format!("{n} B"),
            },
        ];
        let width = cells.len();
        table.row(cells.into_iter().chain(first));
        for more in holders {
            let blank = vec![String::new(); width];
            table.row(blank.into_iter().chain(more));
        }
    }
    table.text() + &super::guests::text(ports) + &super::nics::text(ports)
}

/// Program, process, user and since when.
pub fn holder(holder: &report::Holder) -> [String; 4] {
    let program = match holder.program.as_str() {
        "" => "?",
        program => program,
    };
    let pid = match (holder.other_pid_namespace, holder.ended) {
        (true, _) => format!("{} (other namespace)", holder.pid),
        (_, true) => format!("{} (ended)", holder.pid),
        _ => holder.pid.to_string(),
    };
    [
        program.to_owned(),
        pid,
        holder.uid.to_string(),
        since(
            &holder.since,
            &uvale_system::clock::rfc3339(SystemTime::now()),
        ),
    ]
}

/// The minute of an RFC 3339 time, with the date if that is not today's.
fn since(time: &str, now: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(date), Some(minute)) if now.get(..10) == Some(date) => minute.to_owned(),
        (Some(date), Some(minute)) => format!("{date} {minute}"),
        _ => time.to_owned(),
    }
}

/// Number of rings and slots of each. A port that nobody has open has none yet.
fn rings(count: usize, slots: u32) -> String {
    match count {
        0 => "-".into(),
        n => format!("{n} x {slots}"),
    }
}

fn switches_text(switches: &[report::Switch]) -> String {
    if switches.is_empty() {
        return "no switch exists: a switch exists while it has ports\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SWITCH", Align::Left),
        ("INDEX", Align::Right),
        ("LEARNED", Align::Right),
        ("NO", Align::Right),
        ("PORT", Align::Left),
    ]);
    for switch in switches {
        let mut head = [
            switch.name.clone(),
            switch.index.to_string(),
            switch.learned.to_string(),
        ];
        for (number, name) in &switch.ports {
            let [first, second, third] = core::mem::take(&mut head);
            table.row([first, second, third, number.to_string(), name.clone()]);
        }
        if switch.ports.is_empty() {
            table.row(head);
        }
    }
    table.text()
}

fn fdb_text(switch: &str, mut entries: Vec<report::FdbEntry>) -> String {
    if entries.is_empty() {
        let name = printable(switch.trim_end_matches(':'));
        return format!("{name} has not learned an address yet\n");
    }
    entries.sort_by(|a, b| a.mac.cmp(&b.mac));
    let mut table = Table::new(&[
        ("MAC", Align::Left),
        ("PORT", Align::Right),
        ("NAME", Align::Left),
    ]);
    for entry in entries {
        let name = entry.port.unwrap_or_else(|| "(gone)".into());
        table.row([entry.mac, entry.number.to_string(), name]);
    }
    table.text()
}

fn status_text(daemon: &report::Daemon, dir: &str, switches: usize, ports: usize) -> String {
    let others = daemon.processes.saturating_sub(1);
    let mut text = format!(
        "daemon       uvale {}, pid {}, up {}\n\
         directory    {dir}\n\
         switches     {switches} of {}\n\
         ports        {ports}\n\
         processes    {others}, and this command\n\
         descriptors  {} of /dev/netmap open\n",
        printable(&daemon.version),
        daemon.pid,
        duration(daemon.uptime),
        daemon.max_switches,
        daemon.descriptors,
    );
    let attached: Vec<_> = daemon.attached.iter().filter(|p| !p.asks).collect();
    if !attached.is_empty() {
        let mut table = Table::new(&[
            ("PROGRAM", Align::Left),
            ("PID", Align::Right),
            ("UID", Align::Right),
            ("SINCE", Align::Left),
            ("HAS OPEN", Align::Left),
        ]);
        for process in attached {
            let ports = match process.ports.as_slice() {
                [] => "-".to_owned(),
                ports => ports.join(" "),
            };
            table.row(holder(&process.who).into_iter().chain([ports]));
        }
        text.push('\n');
        text += &table.text();
    }
    if daemon.memories.is_empty() {
        return text + "\nmemory       none in use\n";
    }
    let mut table = Table::new(&[
        ("MEM ID", Align::Right),
        ("SIZE", Align::Right),
        ("USERS", Align::Right),
        ("BUFFERS", Align::Right),
        ("RINGS", Align::Right),
        ("INTERFACES", Align::Right),
    ]);
    for memory in &daemon.memories {
        let of = |pool: usize| format!("{} of {}", memory.used[pool], memory.total[pool]);
        table.row([
            memory.mem_id.to_string(),
            size(memory.size),
            memory.users.to_string(),
            of(2),
            of(1),
            of(0),
        ]);
    }
    text.push('\n');
    text + &table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(ports_text(&[]), "no port is open\n");
        assert!(switches_text(&[]).starts_with("no switch exists"));
        assert_eq!(
            fdb_text("vale0:", Vec::new()),
            "vale0 has not learned an address yet\n"
        );
    }

    #[test]
    fn a_switch_is_named_once() {
        let switch = report::Switch {
            name: "vale0".into(),
            index: 3,
            learned: 2,
            ports: vec![(0, "vale0:a".into()), (5, "vale0:b".into())],
        };
        let text = switches_text(&[switch]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["vale0", "3", "2", "0", "vale0:a"]);
        assert_eq!(lines[2], ["5", "vale0:b"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn entries_are_sorted_and_an_unused_number_is_told() {
        let entry = |mac: &str, number, port: Option<&str>| report::FdbEntry {
            mac: mac.into(),
            number,
            port: port.map(Into::into),
        };
        let entries = vec![
            entry("02:00:00:00:00:09", 4, None),
            entry("02:00:00:00:00:01", 0, Some("vale0:a")),
        ];
        let text = fdb_text("vale0", entries);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("02:00:00:00:00:01") && lines[1].ends_with("vale0:a"));
        assert!(lines[2].ends_with("(gone)"));
    }

    fn process(program: &str, asks: bool) -> report::Process {
        report::Process {
            who: report::Holder {
                program: program.into(),
                pid: 7,
                other_pid_namespace: true,
                uid: 1000,
                since: "2001-02-03T14:03:07+00:00".into(),
                ..report::Holder::default()
            },
            ports: vec!["vale0:a".into()],
            asks,
        }
    }

    #[test]
    fn since_has_a_date_unless_it_is_today() {
        let now = "2026-11-29T15:00:00+01:00";
        assert_eq!(since("2026-11-29T14:03:07+01:00", now), "14:03");
        assert_eq!(since("2026-11-28T14:03:07+01:00", now), "2026-11-28 14:03");
        assert_eq!(since("é", now), "é");
    }

    #[test]
    fn this_command_is_not_counted_as_a_user() {
        let daemon = report::Daemon {
            version: "1.2.3".into(),
            pid: 42,
            uptime: 61,
            processes: 3,
            attached: vec![process("asker", true), process("pkt-gen", false)],
            descriptors: 4,
            max_switches: 8,
            memories: vec![report::Memory {
                mem_id: 1,
                size: 1 << 20,
                users: 2,
                used: [1, 2, 3],
                total: [10, 20, 30],
            }],
        };
        let text = status_text(&daemon, "/run/uvale", 1, 2);
        assert!(text.contains("processes    2, and this command"), "{text}");
        assert!(
            text.contains("switches     1 of 8\nports        2\n"),
            "{text}"
        );
        assert!(text.contains("pid 42, up 1 min 1 s"), "{text}");
        assert!(text.contains("3 of 30  2 of 20     1 of 10"), "{text}");
        let table: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        let row = [
            "pkt-gen",
            "7",
            "(other",
            "namespace)",
            "1000",
            "2001-02-03",
            "14:03",
            "vale0:a",
        ];
        assert!(table.iter().any(|l| l[..] == row), "{text}");
        assert!(!text.contains("asker"), "{text}");
    }
}
