//! `uvale ctl`: vale-ctl's options with vale-ctl's meaning, over the public netmap ABI alone, so
//! that it works on kernel netmap as it does under the shim.

use std::fmt::Write as _;
use std::process::ExitCode;

use nix::errno::Errno;
use nm_abi::{
    AbiBytes, NETMAP_POLLING_MODE_MULTI_CPU, NETMAP_POLLING_MODE_SINGLE_CPU,
    NETMAP_REQ_PORT_INFO_GET, NETMAP_REQ_VALE_ATTACH, NETMAP_REQ_VALE_DELIF,
    NETMAP_REQ_VALE_DETACH, NETMAP_REQ_VALE_LIST, NETMAP_REQ_VALE_NEWIF,
    NETMAP_REQ_VALE_POLLING_DISABLE, NETMAP_REQ_VALE_POLLING_ENABLE, NM_BDG_NAME, NR_REG_ALL_NIC,
    NR_REG_NIC_SW, nmreq_port_info_get, nmreq_vale_attach, nmreq_vale_detach, nmreq_vale_list,
    nmreq_vale_newif, nmreq_vale_polling,
};

use super::ctl_device::{Device, Header};
use super::ctl_parse::{RingConfig, mem_id_number, polling_config, ring_config};
use super::run::under_shim;
use super::table::{print, printable};

/// Manages VALE switches with vale-ctl's options; without options lists all their ports. Of
/// several of -a -d -g -h -l -n -p -P -r the last one counts.
#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Attach an interface to a switch: valeSSS:INTERFACE
    #[arg(short, value_name = "PORT", overrides_with_all = ACTIONS)]
    attach: Option<String>,
    /// The same, with the interface's host stack
    #[arg(short = 'h', value_name = "PORT", overrides_with_all = ACTIONS)]
    host_attach: Option<String>,
    /// Detach an interface from its switch
    #[arg(short, value_name = "PORT", overrides_with_all = ACTIONS)]
    detach: Option<String>,
    /// Make a persistent VALE port (-C: slots and rings, -m: memory)
    #[arg(short, value_name = "INTERFACE", overrides_with_all = ACTIONS)]
    new: Option<String>,
    /// Remove a persistent VALE port
    #[arg(short, value_name = "INTERFACE", overrides_with_all = ACTIONS)]
    remove: Option<String>,
    /// Show rings, slots and memory of a port
    #[arg(short, value_name = "PORT", overrides_with_all = ACTIONS)]
    get: Option<String>,
    /// Show the numbers of a switch and its port
    #[arg(short, value_name = "PORT", overrides_with_all = ACTIONS)]
    list: Option<String>,
    /// Start polling threads on a port (-C: mode, first processor, number of processors)
    #[arg(short, value_name = "PORT", overrides_with_all = ACTIONS)]
    poll: Option<String>,
    /// Stop polling threads
    #[arg(short = 'P', value_name = "PORT", overrides_with_all = ACTIONS)]
    poll_stop: Option<String>,
    /// TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]] with -n and -a, MODE,CPU[,CPUS] with -p
    #[arg(short = 'C', value_name = "NUMBERS")]
    config: Option<String>,
    /// Memory to use: its number, or a port that uses it
    #[arg(short, value_name = "MEMID")]
    memory: Option<String>,
    /// Print what was made or changed
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Runtime directory of the world [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long, global = true)]
    dir: Option<std::path::PathBuf>,
    /// Print help
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show and write module parameters: NAME [VALUE]
    #[command(after_help = super::help::CTL_PARAM)]
    Param(super::param::Args),
}

const ACTIONS: [&str; 9] = [
    "attach",
    "host_attach",
    "detach",
    "new",
    "remove",
    "get",
    "list",
    "poll",
    "poll_stop",
];

/// What is to be done.
#[derive(Debug, PartialEq)]
enum Action<'a> {
    ListAll,
    /// with its NR_REG_* mode
    Attach(&'a str, u32),
    Detach(&'a str),
    New(&'a str),
    Remove(&'a str),
    Get(&'a str),
    List(&'a str),
    Poll(&'a str),
    PollStop(&'a str),
}

impl Args {
    fn action(&self) -> Result<Action<'_>, String> {
        let actions = [
            self.attach
                .as_deref()
                .map(|p| Action::Attach(p, NR_REG_ALL_NIC)),
            self.host_attach
                .as_deref()
                .map(|p| Action::Attach(p, NR_REG_NIC_SW)),
            self.detach.as_deref().map(Action::Detach),
            self.new.as_deref().map(Action::New),
            self.remove.as_deref().map(Action::Remove),
            self.get.as_deref().map(Action::Get),
            self.list.as_deref().map(Action::List),
            self.poll.as_deref().map(Action::Poll),
            self.poll_stop.as_deref().map(Action::PollStop),
        ];
        if let Some(action) = actions.into_iter().flatten().next() {
            return Ok(action);
        }
        if self.config.is_some() || self.memory.is_some() {
            return Err("-C and -m go with -n or -a; see: uvale ctl --help".into());
        }
        Ok(Action::ListAll)
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    if let Some(Command::Param(param)) = &args.command {
        if args.action()? != Action::ListAll || args.verbose > 0 {
            return Err("param does not go with other options".into());
        }
        return super::param::run(param, args.dir.as_deref());
    }
    let action = args.action()?;
    // the end of a list is an errno too, and nothing to explain
    let explain = action != Action::ListAll;
    super::ctl_device::prepare_environment(args.dir.as_deref(), explain);
    under_shim()?;
    let device = Device::open()?;
    let text = carry_out(&device, &args, &action)?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Carries out an action and gives the text that vale-ctl would print.
fn carry_out(device: &Device, args: &Args, action: &Action<'_>) -> Result<String, String> {
    let config = args.config.as_deref();
    let memory = || memory(device, args.memory.as_deref());
    match *action {
        Action::ListAll => list_all(device),
        Action::New(name) => new(device, name, ring_config(config)?, memory()?, args.verbose),
        Action::Attach(name, mode) => {
            let mut body = nmreq_vale_attach::zeroed();
            let rings = ring_config(config)?;
            body.reg.nr_mode = mode;
            body.reg.nr_tx_slots = rings.tx_slots;
            body.reg.nr_rx_slots = rings.rx_slots;
            body.reg.nr_tx_rings = rings.tx_rings;
            body.reg.nr_rx_rings = rings.rx_rings;
            body.reg.nr_mem_id = memory()?;
            request(device, NETMAP_REQ_VALE_ATTACH, name, &mut body, "attach")?;
            Ok(index_line(args.verbose, body.port_index))
        }
        Action::Detach(name) => {
            let mut body = nmreq_vale_detach::zeroed();
            request(device, NETMAP_REQ_VALE_DETACH, name, &mut body, "detach")?;
            Ok(index_line(args.verbose, body.port_index))
        }
        Action::Remove(name) => {
            let mut header = header(NETMAP_REQ_VALE_DELIF, name)?;
            let done = device.request_without_body(&mut header);
            done.map_err(|e| failed("remove", name, e))?;
            Ok(String::new())
        }
        Action::Get(name) => {
            let mut body = nmreq_port_info_get::zeroed();
            request(
                device,
                NETMAP_REQ_PORT_INFO_GET,
                name,
                &mut body,
                "obtain info for",
            )?;
            Ok(port_info(&body))
        }
        Action::List(name) => {
            if !name.starts_with(NM_BDG_NAME) {
                return Err(format!("invalid vale port name: '{}'", printable(name)));
            }
            let mut body = nmreq_vale_list::zeroed();
            request(device, NETMAP_REQ_VALE_LIST, name, &mut body, "list")?;
            Ok(format!(
                "bridge_idx: {}\nport_idx:   {}\n",
                body.nr_bridge_idx, body.nr_port_idx
            ))
        }
        Action::Poll(name) => {
            let config = config.ok_or("-p needs -C MODE,CPU[,CPUS]")?;
            polling(device, NETMAP_REQ_VALE_POLLING_ENABLE, name, Some(config))
        }
        Action::PollStop(name) => polling(device, NETMAP_REQ_VALE_POLLING_DISABLE, name, config),
    }
}

fn list_all(device: &Device) -> Result<String, String> {
    let mut text = String::new();
    let mut body = nmreq_vale_list::zeroed();
    loop {
        let mut header = header(NETMAP_REQ_VALE_LIST, "")?;
        match device.request(&mut header, &mut body) {
            Ok(()) => {}
            // past the last port
            Err(Errno::ENOENT) => return Ok(text),
            Err(e) => return Err(format!("failed to list all: {}", describe(e))),
        }
        let name = String::from_utf8_lossy(nm_abi::name::field_name(&header.nr_name));
        let (switch, port) = (body.nr_bridge_idx, body.nr_port_idx);
        // writing to a String cannot fail
        let _ = writeln!(
            text,
            "{} bridge_idx {switch} port_idx {port}",
            printable(&name)
        );
        body.nr_port_idx += 1;
    }
}

fn new(
    device: &Device,
    name: &str,
    rings: RingConfig,
    mem_id: u16,
    verbose: u8,
) -> Result<String, String> {
    let mut body = nmreq_vale_newif {
        nr_tx_slots: rings.tx_slots,
        nr_rx_slots: rings.rx_slots,
        nr_tx_rings: rings.tx_rings,
        nr_rx_rings: rings.rx_rings,
        nr_mem_id: mem_id,
        pad1: 0,
    };
    request(device, NETMAP_REQ_VALE_NEWIF, name, &mut body, "create")?;
    if verbose == 0 {
        return Ok(String::new());
    }
    Ok(format!(
        "tx_slots:   {}\nrx_slots:   {}\ntx_rings:   {}\nrx_rings:   {}\nmem_id:     {}\n",
        body.nr_tx_slots, body.nr_rx_slots, body.nr_tx_rings, body.nr_rx_rings, body.nr_mem_id
    ))
}

fn port_info(body: &nmreq_port_info_get) -> String {
    format!(
        "memsize:    {}\ntx_slots:   {}\nrx_slots:   {}\ntx_rings:   {}\nrx_rings:   {}\n\
         mem_id:     {}\n",
        body.nr_memsize,
        body.nr_tx_slots,
        body.nr_rx_slots,
        body.nr_tx_rings,
        body.nr_rx_rings,
        body.nr_mem_id
    )
}

fn polling(
    device: &Device,
    reqtype: u16,
    name: &str,
    config: Option<&str>,
) -> Result<String, String> {
    let mut body = nmreq_vale_polling::zeroed();
    if let Some(config) = config {
        let config = polling_config(config)?;
        body.nr_mode = if config.multi {
            NETMAP_POLLING_MODE_MULTI_CPU
        } else {
            NETMAP_POLLING_MODE_SINGLE_CPU
        };
        body.nr_first_cpu_id = config.first_cpu;
        body.nr_num_polling_cpus = config.cpus;
    }
    let what = match reqtype {
        NETMAP_REQ_VALE_POLLING_ENABLE => "enable polling on",
        _ => "disable polling on",
    };
    request(device, reqtype, name, &mut body, what)?;
    Ok(String::new())
}

/// The memory id that `-m` names: a number, or a port whose memory it is.
fn memory(device: &Device, named: Option<&str>) -> Result<u16, String> {
    let Some(named) = named else { return Ok(0) };
    if let Some(number) = mem_id_number(named)? {
        return Ok(number);
    }
    let (name, _) = nm_abi::name::nmport::decode_header(named.as_bytes()).map_err(|e| {
        format!(
            "-m {}: {e}; it takes a number or a port, such as netmap:NAME or vale0:NAME",
            printable(named)
        )
    })?;
    let mut header = Header::zeroed();
    header.nr_reqtype = NETMAP_REQ_PORT_INFO_GET;
    header.nr_name = name;
    let mut body = nmreq_port_info_get::zeroed();
    let done = device.request(&mut header, &mut body);
    done.map_err(|e| failed("obtain info for", named, e))?;
    Ok(body.nr_mem_id)
}

fn index_line(verbose: u8, index: u32) -> String {
    match verbose {
        0 => String::new(),
        _ => format!("port_index: {index}\n"),
    }
}

/// A request with a name and a body.
fn request<T: AbiBytes>(
    device: &Device,
    reqtype: u16,
    name: &str,
    body: &mut T,
    what: &str,
) -> Result<(), String> {
    let mut header = header(reqtype, name)?;
    let done = device.request(&mut header, body);
    done.map_err(|e| failed(what, name, e))
}

fn header(reqtype: u16, name: &str) -> Result<Header, String> {
    let mut header = Header::zeroed();
    header.nr_reqtype = reqtype;
    header.nr_name = nm_abi::name::to_field(name.as_bytes()).ok_or_else(|| {
        let most = nm_abi::NETMAP_REQ_IFNAMSIZ - 1;
        format!("{}: a name has at most {most} bytes", printable(name))
    })?;
    Ok(header)
}

fn failed(what: &str, name: &str, errno: Errno) -> String {
    format!("failed to {what} {}: {}", printable(name), describe(errno))
}

/// vale-ctl prints the text alone; the name is what the documentation goes by.
fn describe(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Args {
        let words = ["ctl"].iter().chain(words);
        Line::try_parse_from(words).map_or_else(|e| panic!("{e}"), |line| line.args)
    }

    #[test]
    fn options_are_vale_ctls() {
        let cases: [(&[&str], Action<'_>); 12] = [
            (&[], Action::ListAll),
            (&["-v"], Action::ListAll),
            (
                &["-a", "vale0:x"],
                Action::Attach("vale0:x", NR_REG_ALL_NIC),
            ),
            (&["-h", "vale0:x"], Action::Attach("vale0:x", NR_REG_NIC_SW)),
            (&["-d", "vale0:x"], Action::Detach("vale0:x")),
            (&["-nx", "-C", "1,2"], Action::New("x")),
            (&["-r", "x"], Action::Remove("x")),
            (&["-g", "vale0:x"], Action::Get("vale0:x")),
            (&["-l", "vale0:x"], Action::List("vale0:x")),
            (&["-p", "vale0:x"], Action::Poll("vale0:x")),
            (&["-P", "vale0:x"], Action::PollStop("vale0:x")),
            (&["-vv", "-m", "3", "-n", "x"], Action::New("x")),
        ];
        for (words, action) in cases {
            assert_eq!(parse(words).action(), Ok(action), "{words:?}");
        }
    }

    #[test]
    fn the_last_action_counts() {
        let words = ["-n", "x", "-a", "vale0:x", "-n", "y", "-r", "x"];
        assert_eq!(parse(&words).action(), Ok(Action::Remove("x")));
        assert_eq!(parse(&words[..6]).action(), Ok(Action::New("y")));
    }

    #[test]
    fn settings_without_an_action_are_refused() {
        assert!(parse(&["-C", "1"]).action().is_err());
        assert!(parse(&["-m", "1"]).action().is_err());
    }

    #[test]
    fn long_names_are_refused() {
        assert!(header(NETMAP_REQ_VALE_DELIF, &"x".repeat(64)).is_err());
        assert!(header(NETMAP_REQ_VALE_DELIF, &"x".repeat(63)).is_ok());
    }

    #[test]
    fn an_errno_is_told_in_words_and_by_name() {
        assert_eq!(
            failed("remove", "v0", Errno::EBUSY),
            "failed to remove v0: Device or resource busy (EBUSY)"
        );
    }
}
