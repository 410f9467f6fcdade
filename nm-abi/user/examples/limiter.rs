//! A limit for each source between two ports:  limiter INSIDE OUTSIDE RATE BURST
//!
//! uvale run -- limiter vale0:limit vale1:limit 1000 100
//!
//! Each IP address that sends from inside has a bucket with BURST tokens, which gets RATE new ones a second, fractions
//! included. A packet costs one; without one it is dropped. What comes from outside passes, and so does what is not IP.

mod shared {
    pub mod between;
    pub mod ending;
    pub mod table;
}

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket};
use shared::between::{Function, Verdict};
use shared::table::Table;
use shared::{between, ending};

/// Packets of more sources than this are dropped, so that nobody can fill our memory with made-up addresses.
const MOST_SOURCES: usize = 65_536;

fn main() -> ExitCode {
    ending::run(
        "limiter INSIDE OUTSIDE RATE BURST",
        parse,
        |(mut limiter, inside, outside)| between::run(&mut limiter, &inside, &outside),
    )
}

fn parse(args: &[String]) -> Result<(Limiter, String, String), Box<dyn Error>> {
    let [inside, outside, rate, burst] = args else {
        return Err(ending::WRONG.into());
    };
    let rate = rate
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    let rate = rate.ok_or("the rate is a number of tokens a second, such as 1000 or 0.1")?;
    let burst = ending::number(burst)?;
    Ok((Limiter::new(rate, burst), inside.clone(), outside.clone()))
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

struct Limiter {
    /// tokens a second
    rate: f64,
    burst: f64,
    sources: Table<IpAddr, Bucket>,
}

impl Limiter {
    fn new(rate: f64, burst: u32) -> Self {
        // A bucket that nobody has used until it is full again says no more than a new one, and can be forgotten.
        let idle = Duration::try_from_secs_f64(f64::from(burst) / rate).unwrap_or(Duration::MAX);
        Self {
            rate,
            burst: burst.into(),
            sources: Table::new(idle, MOST_SOURCES),
        }
    }

    fn takes_token(&mut self, source: IpAddr, now: Instant) -> bool {
        let bucket = match self.sources.get(&source, now) {
            Some(bucket) => bucket,
            None => {
                let full = Bucket {
                    tokens: self.burst,
                    filled: now,
                };
                let Some(bucket) = self.sources.insert(source, full, now) else {
                    return false;
                };
                bucket
            }
        };
        let new = now.duration_since(bucket.filled).as_secs_f64() * self.rate;
        bucket.tokens = self.burst.min(bucket.tokens + new);
        bucket.filled = now;
        let has_one = bucket.tokens >= 1.0;
        if has_one {
            bucket.tokens -= 1.0;
        }
        has_one
    }
}

impl Function for Limiter {
    fn forth(&mut self, head: &mut [u8], now: Instant) -> Verdict {
        let packet = LaxSlicedPacket::from_ethernet(head).ok();
        let source = match packet.as_ref().and_then(|packet| packet.net.as_ref()) {
            Some(LaxNetSlice::Ipv4(ip)) => ip.header().source_addr().into(),
            Some(LaxNetSlice::Ipv6(ip)) => ip.header().source_addr().into(),
            // IP whose header cannot be read, and frames with so many tags that none is looked for, are dropped.
            _ => return Verdict::pass_if(!packet.as_ref().is_some_and(may_be_ip)),
        };
        Verdict::pass_if(self.takes_token(source, now))
    }

    fn back(&mut self, _: &mut [u8], _: Instant) -> Verdict {
        Verdict::Pass
    }
}

fn may_be_ip(packet: &LaxSlicedPacket<'_>) -> bool {
    let payload = packet.ether_payload();
    payload.is_some_and(|payload| {
        matches!(
            payload.ether_type,
            EtherType::IPV4
                | EtherType::IPV6
                | EtherType::VLAN_TAGGED_FRAME
                | EtherType::PROVIDER_BRIDGING
        )
    })
}

#[cfg(test)]
#[path = "tests/limiter.rs"]
mod tests;
