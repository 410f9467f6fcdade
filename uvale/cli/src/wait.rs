//! `uvale wait`: until ports exist, or until they are gone.
//!
//! It polls the daemon; a daemon that does not exist yet is waited for like a port.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;
use uvale_tools::nearest::{label, nearest};

use super::nics::namespace;
use super::show::Place;
use super::table::printable;

/// Waits until all PORTs exist, interfaces with their wires; with --gone, until none of them does. Status 0: done;
/// 1: not in time, with a sentence that names the others. No daemon is started.
#[derive(clap::Args)]
pub struct Args {
    /// vale0:a, netmap:x{1 (netmap: may be left out), or a switch: vale0
    #[arg(required = true, value_name = "PORT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    ports: Vec<String>,
    /// Give up after this many seconds; 0 looks once
    #[arg(long, short, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// Wait until they are gone
    #[arg(long)]
    gone: bool,
    #[command(flatten)]
    place: Place,
}

/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(15);
/// Largest share of the time that looks take, in a world with very many ports.
const SHARE: u32 = 10;
/// Most ports that a sentence names.
const NAMED: usize = 10;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.0..=1e9).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds".into())
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let end = Instant::now() + args.timeout;
    let mut session = None;
    loop {
        let began = Instant::now();
        let world = look(&args.place, &mut session)?;
        let late: Vec<&str> = args
            .ports
            .iter()
            .map(String::as_str)
            .filter(|name| match args.gone {
                true => world.has(name),
                false => !world.has_open(name),
            })
            .collect();
        if late.is_empty() {
            if !args.gone {
                args.ports.iter().for_each(|name| world.say_ambiguous(name));
            }
            return Ok(ExitCode::SUCCESS);
        }
        let now = Instant::now();
        if now >= end {
            return Err(world.complaint(&late, &args));
        }
        let pause = PAUSE.max(began.elapsed() * SHARE);
        std::thread::sleep(pause.min(end - now));
    }
}

/// The ports, or why they are not known.
enum World {
    Ports(Vec<report::Port>),
    NoDaemon(String),
}

/// Asks the daemon, after attaching to it if that was not done or it is another one now.
fn look(place: &Place, session: &mut Option<Session>) -> Result<World, String> {
    let asked = match session {
        Some(session) => ask(session),
        None => place.try_attach().and_then(|attached| {
            let ports = ask(&attached);
            *session = Some(attached);
            ports
        }),
    };
    let refusal = match asked {
        Ok(ports) => return Ok(World::Ports(ports)),
        Err(refusal) => refusal,
    };
    *session = None;
    match refusal.errno {
        Errno::NOENT
        | Errno::CONNREFUSED
        | Errno::NXIO
        | Errno::CONNRESET
        | Errno::PIPE
        | Errno::TIMEDOUT => Ok(World::NoDaemon(place.absent(refusal))),
        _ => Err(place.absent(refusal)),
    }
}

fn ask(session: &Session) -> Result<Vec<report::Port>, Refusal> {
    let json = session.report(Report::Ports)?;
    serde_json::from_slice(&json).map_err(|e| {
        let why = format!("the daemon's report cannot be decoded ({e}); is it of another version?");
        Refusal::new(Errno::PROTO, why)
    })
}

impl World {
    /// Does this port exist: open, or persistent? Or does this switch have such a port?
    fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &report::Port> {
        let label = label(name);
        self.there().filter(move |port| {
            port.name == label || port.switch.as_deref() == Some(label.as_str())
        })
    }

    /// Is it ready, too? What is sent to an interface before its wire is up goes to the host.
    fn has_open(&self, name: &str) -> bool {
        self.named(name)
            .any(|port| !port.nic.as_ref().is_some_and(report::Nic::is_opening))
    }

    /// Says that there are several interfaces of that name, any of which will do.
    fn say_ambiguous(&self, name: &str) {
        let label = label(name);
        let all = self.there().filter(|port| port.name == label);
        let all: Vec<String> = all.map(namespace).collect();
        if all.len() > 1 {
            uvale_tools::output::line(format_args!(
                "uvale: {} is open in several network namespaces, any of which will do: {}",
                printable(&label),
                all.join(", ")
            ));
        }
    }

    fn there(&self) -> impl Iterator<Item = &report::Port> {
        let ports = match self {
            World::Ports(ports) => ports.as_slice(),
            World::NoDaemon(_) => &[],
        };
        ports
            .iter()
            .filter(|port| port.users > 0 || port.kind == "persistent")
    }

    fn complaint(&self, late: &[&str], args: &Args) -> String {
        let names: Vec<&str> = self.there().map(|port| port.name.as_str()).collect();
        let late: Vec<String> = late
            .iter()
            .map(|name| match nearest(name, names.iter().copied()) {
                Some(near) if !args.gone => {
                    format!("{} (did you mean {}?)", printable(name), printable(near))
                }
                _ => printable(name),
            })
            .collect();
        let (are, list) = (if late.len() == 1 { "is" } else { "are" }, late.join(", "));
        let seconds = args.timeout.as_secs_f64();
        if args.gone {
            return format!("after {seconds} s {list} {are} still there");
        }
        let others = match self {
            World::NoDaemon(why) => why.clone(),
            World::Ports(_) if names.is_empty() => "no port is open".into(),
            World::Ports(_) => {
                let some: Vec<String> = names.iter().take(NAMED).map(|n| printable(n)).collect();
                let more = match names.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                format!("the ports are {}{more}", some.join(", "))
            }
        };
        format!("after {seconds} s {list} {are} not there; {others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_open_once_its_wire_is_up() {
        let with_wire = |wire: &str| {
            let nic = report::Nic {
                wire: wire.into(),
                ..Default::default()
            };
            World::Ports(vec![report::Port {
                name: "eth0".into(),
                users: 1,
                nic: Some(nic),
                ..Default::default()
            }])
        };
        let opening = with_wire("opening");
        assert!(opening.has("netmap:eth0") && !opening.has_open("netmap:eth0"));
        for wire in ["packet", "joined", "xdp-native", "nothing"] {
            let up = with_wire(wire);
            assert!(up.has("eth0") && up.has_open("netmap:eth0"), "{wire}");
        }
    }

    #[test]
    fn times_of_nonsense_are_refused() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["-1", "nan", "inf", "x", "1e99", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
