//! What a scenario can run on, how to tell that it is there, and how to start a program on it.

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::in_guest::Makings;
use super::layout::Layout;

/// Names the interface to a scenario that needs one.
const ENV_PORT: &str = "SCENARIO_PORT";
/// PCI vendor and device of the interface that a hypervisor offers for netmap passthrough.
const PTNET: (&str, &str) = ("0x1b36", "0x000d");

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    /// This project: programs under the shim, in a private world.
    Uvale,
    /// The netmap module of the running kernel.
    Kernel,
    /// A network interface.
    Nic(String),
    /// The paravirtual interface of a guest whose host passes a netmap port through: of this guest, or of one that is
    /// started for each scenario.
    Ptnet,
}

/// A target that is there.
#[derive(Clone, Debug)]
pub struct Ready {
    /// `uvale` if programs have to be started under the shim.
    uvale: Option<PathBuf>,
    /// The interface, where there is one.
    port: Option<String>,
    /// What a guest is made of, if scenarios run in one.
    guest: Option<Makings>,
}

impl Platform {
    /// What is tried when nobody names a target.
    pub fn usual() -> Vec<Platform> {
        vec![Platform::Uvale, Platform::Kernel, Platform::Ptnet]
    }

    /// Reads `uvale`, `kernel`, `nic:IFACE` or `ptnet`.
    ///
    /// # Errors
    /// A sentence, if it is something else.
    pub fn parse(text: &str) -> Result<Platform, String> {
        match text {
            "uvale" => Ok(Platform::Uvale),
            "kernel" => Ok(Platform::Kernel),
            "ptnet" => Ok(Platform::Ptnet),
            _ => match text.strip_prefix("nic:") {
                Some(port) if !port.is_empty() => Ok(Platform::Nic(port.into())),
                _ => Err(format!(
                    "no target {text:?}: uvale, kernel, nic:IFACE or ptnet"
                )),
            },
        }
    }

    /// The folder of its expected facts.
    pub fn label(&self) -> &'static str {
        match self {
            Platform::Uvale => "uvale",
            Platform::Kernel => "kernel",
            Platform::Nic(_) => "nic",
            Platform::Ptnet => "ptnet",
        }
    }

    /// Is it here?
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn ready(&self, layout: &Layout) -> Result<Ready, String> {
        match self {
            Platform::Uvale => uvale(layout, None),
            Platform::Kernel => kernel(None),
            Platform::Nic(port) => {
                if !Path::new("/sys/class/net").join(port).exists() {
                    return Err(format!("no interface {port}"));
                }
                kernel(Some(port.clone())).or_else(|_| uvale(layout, Some(port.clone())))
            }
            Platform::Ptnet => match ptnet_interface() {
                Some(port) => kernel(Some(port)),
                // What guests are made of comes with the source tree.
                None if layout.is_bundle() => Err("no ptnet interface: not in such a guest".into()),
                None => Ok(Ready {
                    uvale: None,
                    port: None,
                    guest: Some(Makings::find()?),
                }),
            },
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Platform::Nic(port) => write!(f, "nic:{port}"),
            _ => f.pad(self.label()),
        }
    }
}

impl Ready {
    /// What a guest is made of, if that is where scenarios run: then nothing can be started here.
    pub fn guest(&self) -> Option<&Makings> {
        self.guest.as_ref()
    }

    /// The program of a scenario as it runs here, with `args`: `fixed` where nothing is preloaded.
    pub fn command(&self, dynamic: &Path, fixed: Option<&Path>, args: &[&str]) -> Command {
        let mut command = match &self.uvale {
            Some(_) => self.start(dynamic),
            None => self.start(fixed.unwrap_or(dynamic)),
        };
        command.args(args);
        if let Some(port) = &self.port {
            command.env(ENV_PORT, port);
        }
        command
    }

    /// Any other program, so that it finds this target's `/dev/netmap`.
    pub fn start(&self, program: &Path) -> Command {
        let mut command = match &self.uvale {
            Some(uvale) => {
                let mut command = Command::new(uvale);
                command.args(["run", "--private", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        for name in ["LD_PRELOAD", "UVALE_DIR", "UVALE_AUTOSTART"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }
}

fn uvale(layout: &Layout, port: Option<String>) -> Result<Ready, String> {
    let uvale = layout.uvale();
    let ready = Ready {
        uvale: Some(uvale.clone()),
        port,
        guest: None,
    };
    let output = Command::new(&uvale)
        .arg("--version")
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{} does not start: {e}", uvale.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or("it says nothing");
        return Err(format!("uvale does not start here: {first}"));
    }
    Ok(ready)
}

fn kernel(port: Option<String>) -> Result<Ready, String> {
    let device = std::fs::metadata("/dev/netmap");
    match device {
        Ok(device) if device.file_type().is_char_device() => Ok(Ready {
            uvale: None,
            port,
            guest: None,
        }),
        Ok(_) => Err("/dev/netmap is no device".into()),
        Err(_) => Err("no /dev/netmap: the netmap module is not loaded".into()),
    }
}

fn ptnet_interface() -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|e| {
            let read = |name| std::fs::read_to_string(e.path().join("device").join(name));
            let same = |name, wanted| read(name).is_ok_and(|text| text.trim() == wanted);
            same("vendor", PTNET.0) && same("device", PTNET.1)
        })
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().next()
}
