//! Where the guests of the benchmark run, and what serves their ports.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::guest::kit::{Kit, ptnet_guest};
use crate::guest::{Guest, Plan, VIRTIO_NET, device};
use crate::wait;
use crate::world::{Program, World};
use crate::{Skip, linked};

/// Says to a process of ours that it is in the namespace already, or why there is none.
const ENV_INSIDE: &str = "BENCH_VM_NAMESPACE";
/// What a guest with KVM may take to boot. Where it works it takes a second.
const BOOT: Duration = Duration::from_secs(30);

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// QEMU's emulation
    Tcg,
    /// the processor
    Kvm,
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcg => "TCG",
            Self::Kvm => "KVM",
        })
    }
}

impl Accelerator {
    /// QEMU's arguments, behind those of every guest.
    pub fn arguments(self) -> Vec<String> {
        let arguments: &[&str] = match self {
            Self::Tcg => &[],
            Self::Kvm => &["-machine", "accel=kvm", "-cpu", "host"],
        };
        arguments.iter().map(ToString::to_string).collect()
    }
}

/// The guest's programs: `ptnet-guest`, and `socket-guest` that it is compared with.
pub fn programs() -> Result<[PathBuf; 2], Skip> {
    let ptnet = ptnet_guest()?;
    let socket = linked::whole("uvale-ptnet-guest", "socket-guest", &[]);
    let socket =
        socket.map_err(|why| Skip::required(format!("socket-guest does not build: {why}")))?;
    Ok([ptnet, socket.path])
}

/// Goes on in a network namespace of its own where there is a bridge `br0`: this program is started again, and does
/// not come back here if that works. What comes back is whether there is a bridge, or why not.
///
/// # Errors
/// A sentence, if it cannot be started again.
pub fn enter() -> Result<Result<(), String>, String> {
    if let Some(inside) = std::env::var_os(ENV_INSIDE) {
        return Ok(match inside.is_empty() {
            true => Ok(()),
            false => Err(inside.to_string_lossy().into_owned()),
        });
    }
    const MAKE: &str = "ip link add br0 type bridge && ip link set br0 up && ip tuntap add probe mode tap && \
                        ip link del probe";
    let unshare = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--", "sh", "-c"]);
        command.args(words);
        command
    };
    let why = match unshare(&[MAKE]).output() {
        Ok(output) if output.status.success() => String::new(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(e) => format!("unshare: {e}"),
    };
    if !why.is_empty() {
        return Ok(Err(why));
    }
    let own = std::env::current_exe().map_err(|e| format!("this program is nowhere: {e}"))?;
    let script = format!("{MAKE} && exec \"$0\" \"$@\"");
    let mut again = unshare(&[&script]);
    again
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(ENV_INSIDE, "");
    use std::os::unix::process::CommandExt;
    Err(format!("unshare: {}", again.exec()))
}

/// Can guests run so? With KVM one is booted, which does not take long where that works.
///
/// # Errors
/// Why not.
pub fn is_usable(kit: &Kit, accelerator: Accelerator) -> Result<(), String> {
    if accelerator == Accelerator::Tcg {
        return Ok(());
    }
    if let Err(e) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        return Err(format!("/dev/kvm: {e}"));
    }
    let world = World::new();
    let mut guest = start(kit, &world, "try", accelerator, Vec::new());
    let is_ready = |said: &str| said.lines().any(|l| l.starts_with("guest ready"));
    let end = wait::until(BOOT, || {
        let program = guest.qemu();
        let ended = program.has_closed();
        let ready = is_ready(&program.said_since(0));
        (ended || ready).then_some(ready)
    });
    let said = guest.qemu().said_since(0);
    let _ = rustix::process::kill_process(guest.qemu().pid(), Signal::KILL);
    match end {
        Some(true) => Ok(()),
        Some(false) => Err(format!("QEMU ends: {}", said.trim().replace('\n', "; "))),
        None => Err(format!("a kernel does not boot in {} s", BOOT.as_secs())),
    }
}

/// Starts a guest.
pub fn start(
    kit: &Kit,
    world: &World,
    name: &str,
    accelerator: Accelerator,
    devices: Vec<String>,
) -> Guest {
    let plan = Plan {
        name,
        devices: [accelerator.arguments(), devices].concat(),
        modules: VIRTIO_NET,
        // Nothing is sent but what is measured.
        kernel: "ipv6.disable=1",
        ..Plan::default()
    };
    Guest::start(kit, &world.file(""), plan)
}

/// Serves `port` by `uvale vm KIND` on sockets called `name`.
pub fn serve(world: &World, kind: &str, port: &str, name: &str, options: &[&str]) -> Program {
    let socket = world.file(name).display().to_string();
    let mut command = world.uvale(&["vm", kind, "--port", port, "--socket", &socket]);
    command.args(options).env_remove("LD_PRELOAD");
    let server = Program::start(&format!("uvale vm {kind} --port {port}"), command);
    server.wait_text(&socket);
    server
}

/// QEMU's arguments for what `uvale vm ptnet` serves under that name.
pub fn ptnet(world: &World, name: &str) -> Vec<String> {
    let socket = |which: &str| device::vfio_user(&world.file(&format!("{name}-{which}.sock")));
    [socket("mem"), socket("net")].concat()
}

/// Ends what serves a port; gives what it has said.
pub fn end(mut server: Program) -> String {
    server.signal(Signal::TERM);
    server.wait();
    server.said()
}
