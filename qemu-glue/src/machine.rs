//! `uvale vm run`: a whole virtual machine for a set of ports: the `uvale vm` processes and QEMU, as commands to type,
//! or started.
//!
//! | file | what |
//! |---|---|
//! | `network.rs` | a port, by which device the guest has it: the process here, the options of QEMU there |
//! | `qemu.rs` | which QEMU, what it can do, and the options that are not of networks |
//! | `start.rs` | starting all of it, and ending with it |

mod network;
mod qemu;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use uvale_tools::output;

use crate::ptnet::MOST_PAIRS;
use crate::qemu_options::quoted;
use network::{Ground, Kind, Network};
use qemu::Qemu;
pub use start::Become;

/// Shown under --help.
pub const EXAMPLE: &str = "\
Prints the commands for a shell. With --exec it runs them, and ends when QEMU does. Options after --
are passed to QEMU

Examples:
  uvale vm run --vhost vale0:vm1 disk.qcow2
  uvale vm run --vhost vale0:vm1 --queues 4 --cpus 4 disk.qcow2
  uvale vm run --exec --ptnet vale0:vm1 --memory 2G disk.qcow2 -- -nographic";

/// Options of `uvale vm run`.
#[derive(clap::Args)]
pub struct Args {
    /// Disk images, qcow2 or raw
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A port for a virtio-net device over vhost-user: for all guests
    #[arg(long, value_name = "PORT")]
    vhost: Vec<String>,
    /// A port for netmap's ptnet device: for guests with netmap's driver; QEMU 10.1 or later
    #[arg(long, value_name = "PORT")]
    ptnet: Vec<String>,
    /// A port for a virtio-net device over a datagram socket: slow, but needs no shared RAM
    #[arg(long, value_name = "PORT")]
    dgram: Vec<String>,
    /// Queue pairs of each --vhost and --ptnet device [default: 1, or what a --ptnet port has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    queues: Option<u16>,
    /// Memory of the guest
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = qemu::size)]
    memory: String,
    /// Processors of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=512))]
    cpus: u32,
    /// QEMU's program [default: qemu-system-x86_64, or that of this machine's architecture]
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// Directory for the sockets [default: $TMPDIR or /tmp; with --exec a new one there]
    #[arg(long, value_name = "DIR")]
    sockets: Option<PathBuf>,
    /// Runtime directory of the world [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Run the commands
    #[arg(long)]
    exec: bool,
    /// More options of QEMU
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let qemu = Qemu::find(args.qemu.as_deref())?;
    let ports = [
        (Kind::Vhost, &args.vhost),
        (Kind::Ptnet, &args.ptnet),
        (Kind::Dgram, &args.dgram),
    ];
    let ports = ports
        .into_iter()
        .flat_map(|(kind, ports)| ports.iter().map(move |port| (kind, port.as_str())));
    let ports: Vec<_> = ports.collect();
    check(&ports)?;
    args.queues.map_or(Ok(()), |n| check_queues(n, &ports))?;
    let sockets = start::Sockets::new(args.sockets.as_deref(), args.exec)?;
    // Whoever types the commands may do so where another world is the usual one.
    let world = args.dir.clone().or_else(named_world);
    let ground = Ground {
        sockets: sockets.dir(),
        world: world.as_deref(),
        reconnect: qemu.reconnect(),
        queues: args.queues,
    };
    let networks = ports.iter().enumerate();
    let networks: Vec<_> = networks
        .map(|(i, (kind, port))| Network::new(*kind, port, i, &ground))
        .collect();
    let command = qemu.command(args, &networks)?;
    match args.exec {
        true => start::run(&networks, &command, &sockets),
        false => output::write(&script(&networks, &command)).map(|()| ExitCode::SUCCESS),
    }
}

/// The runtime directory that the environment names.
fn named_world() -> Option<PathBuf> {
    std::env::var_os(uvale_link::environment::ENV_DIR)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
}

/// Are these ports for a guest?
fn check(ports: &[(Kind, &str)]) -> Result<(), String> {
    if ports.is_empty() {
        return Err("no port: name one with --vhost, --ptnet or --dgram".into());
    }
    for (i, (_, port)) in ports.iter().enumerate() {
        uvale_port::check_name(port)?;
        if ports[..i].iter().any(|(_, other)| other == port) {
            return Err(format!(
                "{port} is named twice, but a port can have one device only"
            ));
        }
    }
    Ok(())
}

/// Can these ports have so many queue pairs?
fn check_queues(queues: u16, ports: &[(Kind, &str)]) -> Result<(), String> {
    let has = |kind| ports.iter().any(|(other, _)| *other == kind);
    if !has(Kind::Vhost) && !has(Kind::Ptnet) {
        return Err("--queues: a --dgram device has one queue pair; use --vhost or --ptnet".into());
    }
    if has(Kind::Ptnet) && usize::from(queues) > MOST_PAIRS {
        return Err(format!(
            "--queues {queues}: a --ptnet device has {MOST_PAIRS} queue pairs at most"
        ));
    }
    Ok(())
}

/// The commands as lines for a shell, which waits for each process to be ready, or ends as it does.
fn script(networks: &[Network], qemu: &[String]) -> String {
    let mut text = String::new();
    for network in networks {
        let words: Vec<_> = network.command.iter().map(|word| quoted(word)).collect();
        let socket = |socket: &PathBuf| format!("[ -S {} ]", quoted(&socket.display().to_string()));
        let there: Vec<_> = network.sockets.iter().map(socket).collect();
        text += &format!(
            "uvale {} &\nuntil {}; do kill -0 $! || exit 1; sleep 0.1; done\n",
            words.join(" "),
            there.join(" && ")
        );
    }
    let mut line = quoted(&qemu[0]);
    for word in &qemu[1..] {
        // An option and its value stay together.
        let end = if word.starts_with('-') {
            " \\\n    "
        } else {
            " "
        };
        line += end;
        line += &quoted(word);
    }
    text + &line + "\n"
}
