//! `uvale ptnet-driver`: drives a ptnet device of this guest for the programs of a world. `uvale nic add --ptnet`
//! starts it, and it ends with the daemon or by `uvale nic del`.
//!
//! It alone has the device's registers, and the pages of the CSB in its hands: it tells the host where they are, asks
//! it to begin and to end, and passes on the kicks that programs ask for. It is never in the way of a packet.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use uvale_link::{channel, start};
use uvale_ptnet_guest::signals::Ending;
use uvale_ptnet_guest::{Device, Wanted};
use uvale_system::sys::Fd;
use uvale_wire::ptnet::kicks;

/// What it says on its standard output when the device is there.
const READY: &str = "ready";

/// Options of `uvale ptnet-driver`.
#[derive(clap::Args)]
pub struct Args {
    /// Which device
    #[arg(long)]
    ptnet: usize,
    /// Runtime directory of the world
    #[arg(long)]
    dir: PathBuf,
    /// The name that programs open
    name: String,
}

/// Starts it in the background, and returns when programs can open the device.
pub fn launch(name: &str, ptnet: usize, dir: &Path) -> Result<(), String> {
    let exe = uvale_system::sys::this_program()
        .map_err(|e| format!("cannot find out where this program is: {e}"))?;
    let cannot = |e: std::io::Error| format!("cannot start a process: {e}");
    let (mut said, theirs) = std::io::pipe().map_err(cannot)?;
    let mut command = Command::new(exe);
    command
        .args(["ptnet-driver", "--ptnet", &ptnet.to_string(), "--dir"])
        .arg(uvale_link::name::absolute(dir))
        .arg(name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(Stdio::null())
        // A signal for this command's terminal is none for it.
        .process_group(0);
    let mut child = command.spawn().map_err(cannot)?;
    drop(command);
    let mut text = String::new();
    said.read_to_string(&mut text).map_err(cannot)?;
    if text == READY {
        return Ok(());
    }
    let status = child.wait().map_err(cannot)?;
    match text.as_str() {
        "" => Err(format!(
            "{name}: the process that drives it has ended: {status}"
        )),
        why => Err(format!("{name}: {why}")),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let mut said = std::io::stdout();
    let driven = Ending::new().and_then(|ending| Ok((Driven::begin(args)?, ending)));
    let text = match &driven {
        Ok(_) => READY,
        Err(why) => why,
    };
    let told = said.write_all(text.as_bytes()).and_then(|()| said.flush());
    let (driven, ending) = driven?;
    // Whoever waits for the end of what is said here has read it.
    told.and_then(|()| File::options().write(true).open("/dev/null"))
        .and_then(|nothing| Ok(rustix::stdio::dup2_stdout(nothing)?))
        .map_err(|e| e.to_string())?;
    driven.run(&ending)?;
    Ok(ExitCode::SUCCESS)
}

/// A device that programs use.
struct Driven {
    device: Device,
    /// by which they ask for kicks: one for each ring
    kicks: Vec<Fd>,
    /// its other end is the daemon's
    daemon: Fd,
}

impl Driven {
    fn begin(args: &Args) -> Result<Self, String> {
        if uvale_wire::interface::look_up(args.name.as_bytes()).is_some() {
            return Err("there is an interface of that name already: choose another name".into());
        }
        let device = Device::open(&Wanted {
            number: args.ptnet,
            ..Wanted::default()
        })?;
        let (shape, files) = device.wire();
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map(Fd::from);
        let kicks = (2..shape.descriptors()).map(|_| event());
        let kicks: Vec<Fd> = kicks
            .collect::<Result<_, Errno>>()
            .map_err(|e| format!("no eventfd can be had: {e}"))?;
        let (daemon, theirs) = channel::pair().map_err(|e| format!("no sockets: {e}"))?;
        // A daemon that this starts gets none of these rights.
        let _ = rustix::thread::clear_ambient_capability_set();
        let session = start::attach(&args.dir).map_err(|refusal| refusal.why)?;
        let kicked = kicks.iter().map(AsFd::as_fd);
        let all: Vec<BorrowedFd<'_>> = files
            .into_iter()
            .chain(kicked)
            .chain([theirs.as_fd()])
            .collect();
        session
            .keep_ptnet(&args.name, shape, &all)
            .map_err(|refusal| refusal.why)?;
        Ok(Self {
            device,
            kicks,
            daemon,
        })
    }

    /// Until the daemon closes its end, or a signal comes.
    fn run(&self, ending: &Ending) -> Result<(), String> {
        loop {
            let ends = [
                PollFd::from_borrowed_fd(ending.fd(), PollFlags::IN),
                PollFd::new(&self.daemon, PollFlags::IN),
            ];
            let kicks = self.kicks.iter().map(|fd| PollFd::new(fd, PollFlags::IN));
            let mut fds: Vec<PollFd<'_>> = ends.into_iter().chain(kicks).collect();
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(format!("poll: {errno}")),
            }
            let (ends, asked) = fds.split_at(2);
            if ends.iter().any(|end| !end.revents().is_empty()) {
                return Ok(());
            }
            for (ring, fd) in asked.iter().enumerate() {
                if fd.revents().is_empty() {
                    continue;
                }
                // Who asks may take it back: one kick too many does no harm.
                let taken = kicks::take(&self.kicks[ring]);
                let kicked = taken.and_then(|_| self.device.kick(ring));
                kicked.map_err(|e| format!("the host cannot be kicked: {e}"))?;
            }
        }
    }
}
