//! A load balancer for TCP and UDP:  balancer CLIENTS SERVERS ADDRESS MAC...
//!
//! uvale run -- balancer vale0:lb vale1:lb 192.0.2.80 02:00:00:00:00:0a 02:00:00:00:00:0b
//!
//! What clients send to ADDRESS goes to one of the servers with these MAC addresses, unchanged but for the MAC address:
//! all servers have ADDRESS as an address of their own, and answer clients directly ("direct server return"). Clients
//! find ADDRESS by ARP, which the balancer answers. All else passes, both ways.
//!
//! A flow stays with its server, and no memory of flows is needed for it: rendezvous hashing. If a server is taken away
//! or added, only flows of that server move. All balancers with the same servers, built alike, choose alike.

mod shared {
    pub mod arp;
    pub mod between;
    pub mod ending;
    pub mod flow;
}

use std::error::Error;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Instant;

use etherparse::{LaxNetSlice, LaxSlicedPacket};
use shared::between::{Counts, Function, Verdict};
use shared::flow::Flow;
use shared::{arp, between, ending};

/// Flows are put into so many buckets, and each bucket has a server: the choice among all servers is made in advance.
const BUCKETS: usize = 65_536;

type Mac = [u8; 6];

fn main() -> ExitCode {
    ending::run("balancer CLIENTS SERVERS ADDRESS MAC...", parse, run)
}

fn parse(args: &[String]) -> Result<(Balancer, String, String), Box<dyn Error>> {
    let [clients, servers, address, macs @ ..] = args else {
        return Err(ending::WRONG.into());
    };
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no IPv4 address"))?;
    let macs = macs
        .iter()
        .map(|text| mac(text).ok_or(format!("{text} is no MAC address")));
    let balancer = Balancer::new(address, macs.collect::<Result<_, _>>()?);
    Ok((balancer, clients.clone(), servers.clone()))
}

fn run(
    (mut balancer, clients, servers): (Balancer, String, String),
) -> Result<Summary, Box<dyn Error>> {
    let counts = between::run(&mut balancer, &clients, &servers)?;
    Ok(Summary { counts, balancer })
}

fn mac(text: &str) -> Option<Mac> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    bytes.collect::<Result<Vec<_>, _>>().ok()?.try_into().ok()
}

struct Server {
    mac: Mac,
    packets: u64,
}

struct Balancer {
    address: Ipv4Addr,
    servers: Vec<Server>,
    /// of each bucket its server; empty without servers
    buckets: Vec<usize>,
}

impl Balancer {
    fn new(address: Ipv4Addr, macs: Vec<Mac>) -> Self {
        let server_of = |bucket| {
            // Every server draws a number for the bucket, and the highest wins. A server that is taken away leaves
            // the other numbers as they are, and so all buckets that it had not won.
            let draw = |i: &usize| hash(&(bucket, macs[*i]));
            (0..macs.len()).max_by_key(draw)
        };
        Self {
            address,
            buckets: (0..BUCKETS).filter_map(server_of).collect(),
            servers: macs
                .into_iter()
                .map(|mac| Server { mac, packets: 0 })
                .collect(),
        }
    }

    fn server_of(&mut self, flow: &Flow) -> Option<&mut Server> {
        let bucket = hash(flow) as usize % BUCKETS;
        self.servers.get_mut(*self.buckets.get(bucket)?)
    }
}

fn is_for(address: Ipv4Addr, head: &[u8]) -> bool {
    let packet = LaxSlicedPacket::from_ethernet(head).ok();
    let net = packet.as_ref().and_then(|packet| packet.net.as_ref());
    matches!(net, Some(LaxNetSlice::Ipv4(ip)) if ip.header().destination_addr() == address)
}

/// The same number in every process of the same build.
fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl Function for Balancer {
    fn forth(&mut self, head: &mut [u8], _: Instant) -> Verdict {
        if arp::answer(head, self.address) {
            return Verdict::Answer;
        }
        if !is_for(self.address, head) {
            return Verdict::Pass;
        }
        // IP fragments have no flow: only the first has ports.
        let flow = LaxSlicedPacket::from_ethernet(head)
            .ok()
            .and_then(|packet| Flow::of(&packet));
        let Some(server) = flow.and_then(|flow| self.server_of(&flow)) else {
            return Verdict::Drop;
        };
        server.packets += 1;
        head[..6].copy_from_slice(&server.mac);
        Verdict::Pass
    }

    fn back(&mut self, _: &mut [u8], _: Instant) -> Verdict {
        Verdict::Pass
    }
}

struct Summary {
    counts: Counts,
    balancer: Balancer,
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; for each server:", self.counts)?;
        let mut servers = self.balancer.servers.iter();
        servers.try_for_each(|server| write!(out, " {}", server.packets))
    }
}

#[cfg(test)]
#[path = "tests/balancer.rs"]
mod tests;
