//! `uvale nic add`, `del` and `list`: interfaces at the other end of which programs are, made by the process that has
//! the rights, and kept by the daemon; ptnet devices of a guest, which `ptnet_driver.rs` drives.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use uvale_link::{place, start};
use uvale_tools::mac::parse_mac;
use uvale_wire::interface::look_up;
use uvale_wire::tap::{self, Asked};

use super::ptnet_driver;
use super::show::Place;
use super::table::printable;

/// Options of `uvale nic`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make an interface: the host has one end of it, and a program that opens netmap:NAME the other
    #[command(
        after_help = "Examples:\n  uvale nic add tap0 --address 10.0.0.1/24\n  uvale ctl -a vale0:tap0"
    )]
    Add(Add),
    /// Remove an interface that `uvale nic add` has made; take it off its switch first, if it is on one
    #[command(after_help = "Examples:\n  uvale nic del tap0")]
    Del(Del),
    /// List the interfaces that uvale has made, and all others that are open or on a switch
    #[command(after_help = "Examples:\n  uvale nic list")]
    List(super::show::Args),
}

#[derive(clap::Args)]
struct Add {
    /// Name of the interface
    name: String,
    /// Address of the host with the length of its network; may be given several times
    #[arg(long, value_name = "ADDRESS/BITS", value_parser = network)]
    address: Vec<(IpAddr, u8)>,
    /// MAC address of the host [default: a random one]
    #[arg(long, value_name = "ADDRESS", value_parser = mac)]
    mac: Option<[u8; 6]>,
    /// MTU in bytes [default: 1500]
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Queues, each of them a ring of a program that opens it
    #[arg(long, value_name = "N", default_value_t = 1)]
    queues: u16,
    /// In a guest: not an interface, but the guest's ptnet device N (PCI 1b36:000d, from 0), which programs then open
    /// as netmap:NAME without a kernel module
    #[arg(long, value_name = "N", conflicts_with_all = ["address", "mac", "mtu", "queues"])]
    ptnet: Option<usize>,
    /// Runtime directory of the world [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Del {
    /// Name of the interface
    name: String,
    #[command(flatten)]
    place: Place,
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = text
        .split_once('/')
        .ok_or("must be ADDRESS/BITS, such as 10.0.0.1/24")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| "is not an IP address with the length of its network".to_owned())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| (0..=most).contains(bits));
    let bits =
        bits.ok_or_else(|| format!("the length of this kind of network is 0 to {most} bits"))?;
    Ok((address, bits))
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    parse_mac(text).map(|mac| mac.0)
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let done = match args.what {
        What::Add(add) => add.run(),
        What::Del(del) => del.run(),
        What::List(list) => return super::nic_list::run(&list),
    };
    done.map(|()| ExitCode::SUCCESS)
}

impl Add {
    fn run(self) -> Result<(), String> {
        let dir = self.dir.unwrap_or_else(place::runtime_dir);
        if let Some(ptnet) = self.ptnet {
            return ptnet_driver::launch(&self.name, ptnet, &dir);
        }
        let made = tap::make(&Asked {
            name: &self.name,
            address: self.mac,
            mtu: self.mtu,
            queues: self.queues,
        });
        let made = made.map_err(|refusal| refusal.why)?;
        for address in self.address {
            let done = tap::add_address(&self.name, made.interface.index, address);
            done.map_err(|refusal| refusal.why)?;
        }
        let session = start::attach(&dir).map_err(|refusal| refusal.why)?;
        session
            .keep_tap(&self.name, made)
            .map_err(|refusal| format!("{}: {refusal}", self.name))
    }
}

impl Del {
    fn run(self) -> Result<(), String> {
        let name = printable(&self.name);
        let find = || look_up(self.name.as_bytes());
        let session = self.place.attach();
        let Some(interface) = find() else {
            let none = |_| format!("{name}: there is no such interface here");
            let dropped = session.map_err(none)?.drop_ptnet(&self.name);
            return dropped.map_err(|refusal| format!("{name}: {refusal}"));
        };
        let session = session.map_err(|why| format!("{name}: {why}"))?;
        let (netns, index) = (interface.netns, interface.index);
        session
            .drop_tap(netns, index)
            .map_err(|refusal| format!("{name}: {refusal}"))?;
        // It has gone with the daemon's descriptors, unless others have some, too.
        if find().is_none_or(|other| other.index != index) {
            return Ok(());
        }
        tap::remove(&name, index).map_err(|refusal| {
            format!(
                "{name} remains until the programs that have it open close it: {}",
                refusal.why
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(network("10.0.0.1/24"), Ok(([10, 0, 0, 1].into(), 24)));
        assert!(network("fd00::1/64").is_ok());
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0/8",
            "fd00::1/129",
            "10.0.0.1/-1",
            "10.0.0.1/x",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
