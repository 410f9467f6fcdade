//! `uvale extcap`: the ports of this user's worlds in the interface lists of Wireshark and tshark.
//!
//! Wireshark starts every program in its extcap folders, first with `--extcap-interfaces` and in the end with
//! `--capture`, never with a subcommand: `uvale` there, a link, is this command. See extcap(4).

mod install;
mod interface;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use uvale_link::proto::Report;
use uvale_link::report;
use uvale_tools::output;

use super::capture::{self, Wanted, description, is_ordinary};
use super::show::{Place, fetch};
use super::worlds;
use interface::Interface;

/// Of `uvale extcap`.
pub const HELP: &str = "\
Without --install it answers Wireshark, which calls it by the link

Examples:
  uvale extcap --install && tshark -D";

/// Lists ports in Wireshark and tshark, and captures for them.
#[derive(clap::Args)]
pub struct Args {
    /// Put a link to this program where Wireshark and tshark look for such programs
    #[arg(long, exclusive = true)]
    install: bool,
    /// List the interfaces
    #[arg(long)]
    extcap_interfaces: bool,
    /// Version of the program that asks
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    extcap_version: Option<Option<String>>,
    /// The interface
    #[arg(long, value_name = "INTERFACE")]
    extcap_interface: Option<String>,
    /// List the link types of the interface
    #[arg(long)]
    extcap_dlts: bool,
    /// List the options of the interface
    #[arg(long)]
    extcap_config: bool,
    /// List the values of an option anew
    #[arg(long, value_name = "OPTION")]
    extcap_reload_option: Option<String>,
    /// A capture filter
    #[arg(long, value_name = "FILTER")]
    extcap_capture_filter: Option<String>,
    /// Capture
    #[arg(long, requires = "fifo", requires = "extcap_interface")]
    capture: bool,
    /// The pipe that the capture goes into
    #[arg(long, value_name = "PIPE")]
    fifo: Option<PathBuf>,
    /// Runtime directory of the world, in place of the interface's
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Port or switch to capture
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Bytes to keep of each packet
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: Option<u32>,
}

/// The command line as [`clap`] expects it: Wireshark gives no subcommand.
pub fn with_subcommand(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let first = args.get(1).map(|arg| arg.as_encoded_bytes());
    if first.is_some_and(|arg| arg == b"--capture" || arg.starts_with(b"--extcap-")) {
        args.insert(1, "extcap".into());
    }
    args
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    if args.install {
        return install::run();
    }
    let filter = args.extcap_capture_filter.as_deref().unwrap_or("").trim();
    if args.extcap_interfaces {
        output::write(&interfaces())?;
    } else if args.extcap_dlts {
        output::write("dlt {number=1}{name=EN10MB}{display=Ethernet}\n")?;
    } else if args.extcap_config {
        output::write(&options(args))?;
    } else if args.capture {
        if !filter.is_empty() {
            return Err(no_filter());
        }
        return record(args);
    } else if args.extcap_capture_filter.is_some() {
        if !filter.is_empty() {
            output::write(&format!("{}\n", no_filter()))?;
            return Ok(ExitCode::FAILURE);
        }
    } else {
        return Err(
            "Wireshark calls this command; to have it do so: uvale extcap --install".into(),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn no_filter() -> String {
    "ports of uvale are captured whole: use a display filter (tshark -Y), or uvale capture PORT -w - | tcpdump -r - \
     FILTER"
        .to_owned()
}

/// The ports and switches of all worlds of this user.
fn interfaces() -> String {
    let mut text = format!(
        "extcap {{version={}}}{{display=uvale}}\n",
        env!("CARGO_PKG_VERSION")
    );
    let usual = Place::at(None).dir();
    let others = worlds::others(&usual);
    let worlds =
        std::iter::once((None, usual)).chain(others.into_iter().map(|d| (Some(d.clone()), d)));
    for (shown, dir) in worlds {
        // A world that does not answer has nothing to list.
        let Ok(session) = Place::at(Some(dir)).try_attach() else {
            continue;
        };
        let ports = fetch::<Vec<report::Port>>(&session, Report::Ports);
        for (name, about) in ports.map_or(Vec::new(), |(_, ports)| captured(&ports)) {
            text += &Interface::of(name, shown.clone()).listed(&about);
        }
    }
    text + &Interface::any().listed("a port of any world, by name")
}

/// What can be captured, and what stands beside it: ports that are open, and their switches.
fn captured(ports: &[report::Port]) -> Vec<(String, String)> {
    let is_open = |port: &&report::Port| port.users > 0 && is_ordinary(port);
    let mut all: Vec<(String, String)> = Vec::new();
    for port in ports.iter().filter(is_open) {
        let switch = port
            .switch
            .iter()
            .map(|s| (s.clone(), "all ports of the switch".to_owned()));
        for entry in switch.chain([(port.name.clone(), description(port))]) {
            if all.iter().all(|(name, _)| *name != entry.0) {
                all.push(entry);
            }
        }
    }
    all.sort();
    all
}

fn options(args: &Args) -> String {
    let named = args.extcap_interface.as_deref().and_then(Interface::parse);
    let mut text = String::new();
    if named.is_none_or(|interface| interface.port.is_none()) {
        text += "arg {number=0}{call=--port}{display=Port or switch}{type=string}{required=true}\
                 {tooltip=such as vale0:a, or vale0 for all of its ports}\n";
    }
    text + "arg {number=1}{call=--dir}{display=Directory of the world}{type=string}\
            {tooltip=if it is not the usual one, see: uvale status}\n\
            arg {number=2}{call=--snaplen}{display=Bytes to keep of each packet}{type=unsigned}{range=1,262144}\
            {default=262144}\n"
}

/// Captures into Wireshark's pipe.
fn record(args: &Args) -> Result<ExitCode, String> {
    let name = args.extcap_interface.as_deref().unwrap_or("");
    let interface = Interface::parse(name)
        .ok_or_else(|| format!("{name} is no interface of uvale; see: tshark -D"))?;
    let given = args.port.clone().filter(|port| !port.is_empty());
    let port = interface.port.or(given).ok_or(
        "which port? Name one in the options of the interface, or with tshark: -o extcap.uvale.port:vale0:a",
    )?;
    let dir = args.dir.clone().filter(|dir| !dir.as_os_str().is_empty());
    let place = Place::at(dir.or(interface.dir));
    let fifo = args.fifo.clone().unwrap_or_default();
    let mut wanted = Wanted::piped(place, vec![port], fifo);
    wanted.snaplen = args.snaplen.unwrap_or(wanted.snaplen);
    capture::capture(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_wireshark_is_the_subcommand() {
        let of = |args: &[&str]| -> Vec<String> {
            let args = args.iter().map(OsString::from);
            let all = with_subcommand(args).into_iter();
            all.map(|a| a.into_string().unwrap()).collect()
        };
        assert_eq!(
            of(&["uvale", "--extcap-interfaces"]),
            ["uvale", "extcap", "--extcap-interfaces"]
        );
        assert_eq!(
            of(&["x/uvale", "--capture", "--fifo"]),
            ["x/uvale", "extcap", "--capture", "--fifo"]
        );
        for other in [
            &["uvale"][..],
            &["uvale", "ports"],
            &["uvale", "capture", "--extcap-dlts"],
        ] {
            assert_eq!(of(other), other);
        }
    }
}
