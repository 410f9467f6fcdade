//! The target `ptnet` from outside: a guest whose interface is a port of a world, by netmap's own driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Skip;
use crate::guest::archive::Archive;
use crate::guest::kit::Kit;
use crate::guest::{Guest, Plan, device};
use crate::wait;
use crate::world::{Program, World};

use super::facts_as;

/// Names the folder with netmap's module for the guest's kernel.
pub const ENV_KMOD: &str = "NETMAP_KMOD";
/// The module's file in that folder.
const MODULE: &str = "netmap.ko";
/// The guest's interface.
const INTERFACE: &str = "eth0";
/// Megabytes: scenarios on an interface leave netmap's own memory of 320 MB alone or take it.
const MEMORY: u32 = 768;

/// What such guests are made of.
#[derive(Clone)]
pub struct Makings {
    kit: Arc<Kit>,
    module: PathBuf,
}

impl std::fmt::Debug for Makings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Makings")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

impl Makings {
    /// Looks for all that a guest needs.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn find() -> Result<Makings, String> {
        let dir = std::env::var_os(ENV_KMOD).ok_or_else(|| {
            format!(
                "no ptnet interface here, and {ENV_KMOD} names no folder with {MODULE} for a guest's kernel: \
                 compat-tests/README.md tells how to build one"
            )
        })?;
        let module = Path::new(&dir).join(MODULE);
        if !module.is_file() {
            return Err(format!("{ENV_KMOD}: there is no {}", module.display()));
        }
        let kit = Kit::new(&[]).map_err(|Skip { why, .. }| format!("no guest: {why}"))?;
        Ok(Makings {
            kit: Arc::new(kit),
            module,
        })
    }

    /// Boots a guest that has the static program `scenario`.
    ///
    /// # Errors
    /// If netmap does not find the interface there.
    ///
    /// # Panics
    /// If the guest does not boot.
    pub fn boot(&self, scenario: &Path) -> Result<Machine, String> {
        let world = World::new();
        let socket = world.file("card");
        let mut serve = world.uvale(&["vm", "ptnet", "--port", "vale0:guest", "--socket"]);
        serve.arg(&socket).env_remove("LD_PRELOAD");
        let server = Program::start("uvale vm ptnet", serve);
        server.wait_text("-net.sock");
        let devices = ["mem", "net"].map(|which| {
            let name = format!("card-{which}.sock");
            device::vfio_user(&world.file(&name))
        });
        let mut files = Archive::default();
        files.copy("root/netmap.ko", &self.module);
        files.copy("root/scenario", scenario);
        let plan = Plan {
            name: "ptnet",
            devices: devices.concat(),
            files,
            memory: MEMORY,
            // Nothing is sent but what a scenario sends.
            kernel: "ipv6.disable=1",
            ..Plan::default()
        };
        let mut guest = Guest::boot(&self.kit, &world.file(""), plan);
        // What QEMU and the boot have said is none of the next command's.
        guest.run("true");
        // Scenarios are programs that take no virtio-net header, which netmap's driver asks a switch for.
        let (status, said) = guest.try_run(&format!(
            "insmod /root/netmap.ko ptnet_vnet_hdr=0 && ls -d /sys/class/net/{INTERFACE} && ip link set {INTERFACE} up"
        ));
        if status != 0 {
            let kernel = guest.run("uname -r");
            let module = self.module.display();
            return Err(format!(
                "{module} gives the guest, whose kernel is {}, no interface: {}",
                kernel.trim(),
                said.trim().replace('\n', "; ")
            ));
        }
        Ok(Machine {
            guest,
            _server: server,
            _world: world,
        })
    }
}

/// A guest that runs, with the process that serves its interface.
pub struct Machine {
    guest: Guest,
    _server: Program,
    _world: World,
}

impl Machine {
    /// Runs the scenario with `args` and gives what it printed, and how it ended as one more fact.
    pub fn facts(&mut self, args: &[&str]) -> String {
        let limit = wait::deadline().as_secs();
        let command = format!(
            "SCENARIO_PORT={INTERFACE} {}={limit} /root/scenario {} 2>/dev/null",
            wait::ENV_DEADLINE,
            args.join(" ")
        );
        let (said, status) = self.guest.run_while_it_prints(&command, super::patience());
        // A shell tells of a signal by a status above 128.
        facts_as(
            &said,
            status.map(|status| (0..128).contains(&status).then_some(status)),
        )
    }
}
