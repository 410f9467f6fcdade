//! `uvale stats`: counters and rates of ports and rings, with drops by reason.
//!
//! | file | what |
//! |---|---|
//! | `counters.rs` | a port's rings and their sums |
//! | `change.rs` | what happened at ports between two reports |
//! | `sample.rs` | counters at a moment, and what happened between two moments |
//! | `baseline.rs` | a report in a file, to count from |
//! | `round.rs` | packets that go round |
//! | `table.rs`, `watch.rs` | text; again and again |

mod baseline;
pub mod change;
pub mod counters;
mod round;
pub mod sample;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;
use uvale_tools::nearest::{hint, label};
use uvale_tools::pattern;

use super::show::{Place, fetch};
use super::table::{print, printable};
use counters::{WithTotal, directions};
use sample::Sample;
use table::{COUNTS, Shown};

/// Shows what ports sent, received and dropped since they were opened, and why; as rates with
/// --watch, since a moment with --save and --since.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Only these: a port, a switch, or a pattern with * and ?
    #[arg(value_name = "PORT")]
    names: Vec<String>,
    /// The same (may be given several times)
    #[arg(long = "port", short, value_name = "PORT")]
    ports: Vec<String>,
    /// A line for each ring, too
    #[arg(long, short)]
    rings: bool,
    /// Print JSON: the daemon's ports with totals; with --watch and --since, what happened and rates, an object a line
    #[arg(long)]
    json: bool,
    /// Print rates per second, again and again, every SECONDS
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = interval)]
    watch: Option<Duration>,
    /// Keep the counters of all ports in FILE, for --since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "since"])]
    save: Option<PathBuf>,
    /// Count from when FILE was saved
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    since: Option<PathBuf>,
}

/// An interval in seconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.1..=86400.0).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be 0.1 to 86400 seconds".into())
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let session = args.place.attach()?;
    let chosen = Chosen::new([args.names, args.ports].concat());
    if let Some(interval) = args.watch {
        return watch::run(&session, &chosen, interval, args.rings, args.json);
    }
    let now = Sample::take(&session)?;
    chosen.check(&now.ports)?;
    if let Some(file) = &args.save {
        baseline::save(file, &session, &now)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match &args.since {
        Some(file) => {
            let changes = baseline::since(file, &session, &now)?;
            if args.json {
                changes.only(&chosen).json()?
            } else {
                let name = printable(&file.display().to_string());
                let head = format!("in the {:.1} s since {name} was saved\n", changes.seconds);
                let rounds = changes.rounds();
                head + &changes.only(&chosen).counts(args.rings) + &rounds
            }
        }
        None => {
            let ports = now.ports.iter().filter(|port| chosen.has(port));
            if args.json {
                let ports: Vec<_> = ports.cloned().map(WithTotal::from).collect();
                serde_json::to_string(&ports).map_err(|e| e.to_string())? + "\n"
            } else {
                let shown = |line: &counters::Line| Shown::from(line);
                let rows = ports.map(|p| (p.name.as_str(), directions(p).map(|d| d.map(shown))));
                table::text(&COUNTS, rows, args.rings) + &now.look(&session)?
            }
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Which ports are shown: all of them if none is named.
pub struct Chosen(Vec<String>);

impl Chosen {
    /// Ports, switches and patterns.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Is this port shown?
    pub fn has(&self, port: &report::Port) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| names(name, port))
    }

    /// An error if a name matches no port and no switch.
    pub fn check(&self, ports: &[report::Port]) -> Result<(), String> {
        match self
            .0
            .iter()
            .find(|name| !ports.iter().any(|port| names(name, port)))
        {
            None => Ok(()),
            Some(name) => Err(format!(
                "there is no port {}; see: uvale ports{}",
                printable(name),
                hint(name, ports.iter().map(|port| port.name.as_str()))
            )),
        }
    }
}

/// Does this name, or pattern, mean the port or its switch?
fn names(name: &str, port: &report::Port) -> bool {
    let label = label(name);
    [Some(&port.name), port.switch.as_ref()]
        .into_iter()
        .flatten()
        .any(|of| *of == label || pattern::matches(name, of))
}

/// All ports as they are now.
fn ports(session: &Session) -> Result<Vec<report::Port>, String> {
    let (_, ports) = fetch::<Vec<report::Port>>(session, Report::Ports)?;
    Ok(ports.into_iter().flat_map(with_host_rings).collect())
}

/// A port, and behind it the host rings of a NIC that have been used, as a port of their own: `eth0^`.
pub fn with_host_rings(mut port: report::Port) -> impl Iterator<Item = report::Port> {
    let used = |nic: &mut report::Nic| {
        let (tx, rx) = (&mut nic.host_tx, &mut nic.host_rx);
        let is_used = tx.iter().any(|r| *r != Default::default())
            || rx.iter().any(|r| *r != Default::default());
        is_used.then(|| (core::mem::take(tx), core::mem::take(rx)))
    };
    let host = port
        .nic
        .as_mut()
        .and_then(used)
        .map(|(tx, rx)| report::Port {
            name: format!("{}^", port.name),
            tx,
            rx,
            nic: None,
            ..port.clone()
        });
    core::iter::once(port).chain(host)
}

#[cfg(test)]
mod tests {
    use super::counters::tests::port;
    use super::*;

    #[test]
    fn ports_are_chosen_by_name_switch_and_pattern() {
        let port = port("vale0:web1", Vec::new(), Vec::new());
        for name in [
            "vale0:web1",
            "netmap:vale0:web1",
            "vale0",
            "vale0:",
            "vale?:web*",
            "*",
        ] {
            assert!(names(name, &port), "{name}");
        }
        for name in ["vale0:web", "vale1", "vale?:wob*", "", "web1", "*2"] {
            assert!(!names(name, &port), "{name}");
        }
    }

    #[test]
    fn host_rings_that_are_used_are_a_port_of_their_own() {
        let with = |packets| {
            let ring = report::TxRing {
                packets,
                ..Default::default()
            };
            let nic = report::Nic {
                host_tx: vec![ring],
                ..Default::default()
            };
            let port = port("eth0", Vec::new(), Vec::new());
            let nic = Some(nic);
            let ports = with_host_rings(report::Port { nic, ..port });
            ports.map(|p| (p.name, p.tx.len())).collect::<Vec<_>>()
        };
        assert_eq!(with(0), [("eth0".to_owned(), 0)]);
        assert_eq!(with(3), [("eth0".to_owned(), 0), ("eth0^".to_owned(), 1)]);
    }

    #[test]
    fn intervals_of_nonsense_are_refused() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "x", "1e9", ""] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
