//! Looks for signatures in packets:  ids [--alerts=N] PORT NAME=SIGNATURE [NAME=SIGNATURE...]
//!
//! uvale run -- ids vale0:server/rt "shell=/bin/sh" "nops=\x90\x90\x90\x90"
//!
//! The port is usually a monitor of another one (netmap's suffixes /r, /t and /rt), which sees its packets and holds up
//! nobody: what it is too slow for it misses. An alert is a line on stdout; `--alerts=N` ends the program after N of
//! them. Whole frames are looked at, one by one: what is in their padding is found, and what is cut in two by TCP
//! is not.

mod shared {
    pub mod ending;
    pub mod flow;
}

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use aho_corasick::AhoCorasick;
use etherparse::LaxSlicedPacket;
use nm_user::{Interest, Port, wait};
use shared::ending;
use shared::flow::Flow;

fn main() -> ExitCode {
    ending::run(
        "ids [--alerts=N] PORT NAME=SIGNATURE [NAME=SIGNATURE...]",
        parse,
        run,
    )
}

/// The most alerts, the port, and what to look for.
type Args = (u64, String, Signatures);

fn parse(mut args: &[String]) -> Result<Args, Box<dyn Error>> {
    let mut most = u64::MAX;
    if let Some(alerts) = args.first().and_then(|arg| arg.strip_prefix("--alerts=")) {
        most = ending::number(alerts)?;
        args = &args[1..];
    }
    let [port, signatures @ ..] = args else {
        return Err(ending::WRONG.into());
    };
    Ok((most, port.clone(), Signatures::new(signatures)?))
}

fn run((most, port, signatures): Args) -> Result<Counts, Box<dyn Error>> {
    let ended = ending::flag()?;
    let mut port = Port::open(&port)?;
    let (mut counts, mut found, mut whole) = (Counts::default(), Vec::new(), Vec::new());
    while !ended.load(Relaxed) && counts.alerts < most {
        wait(&mut [port.watch(Interest::RX)], Some(ending::TICK))?;
        for mut rx in port.rx_rings() {
            for packet in rx.packets() {
                // A packet in one buffer is looked at where it lies; a longer one is put together first.
                let bytes = if packet.slots() == 1 {
                    packet.bytes()
                } else {
                    whole.clear();
                    packet.copy_to(&mut whole);
                    &whole[..]
                };
                counts.packets += 1;
                signatures.find(bytes, &mut found);
                for i in found.drain(..).take((most - counts.alerts) as usize) {
                    writeln!(io::stdout(), "{}: {}", signatures.names[i], Summary(bytes))?;
                    counts.alerts += 1;
                }
            }
        }
    }
    Ok(counts)
}

#[derive(Default)]
struct Counts {
    packets: u64,
    alerts: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} packets, {} alerts", self.packets, self.alerts)
    }
}

struct Signatures {
    names: Vec<String>,
    /// finds all of them in one pass
    matcher: AhoCorasick,
}

impl Signatures {
    fn new(texts: &[String]) -> Result<Self, Box<dyn Error>> {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for text in texts {
            let (name, pattern) = text
                .split_once('=')
                .ok_or(format!("{text} is not NAME=SIGNATURE"))?;
            names.push(name.to_owned());
            let pattern = bytes(pattern).filter(|bytes| !bytes.is_empty());
            patterns.push(pattern.ok_or(format!(
                "{text}: a signature is text, with \\xNN for other bytes"
            ))?);
        }
        Ok(Self {
            names,
            matcher: AhoCorasick::new(patterns)?,
        })
    }

    /// Puts the numbers of the signatures that are there into `found`, each once.
    fn find(&self, bytes: &[u8], found: &mut Vec<usize>) {
        found.extend(
            self.matcher
                .find_overlapping_iter(bytes)
                .map(|hit| hit.pattern().as_usize()),
        );
        found.sort_unstable();
        found.dedup();
    }
}

/// The bytes that a signature stands for.
fn bytes(pattern: &str) -> Option<Vec<u8>> {
    let mut parts = pattern.split("\\x");
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

/// Who sent it to whom.
struct Summary<'a>(&'a [u8]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = LaxSlicedPacket::from_ethernet(self.0)
            .ok()
            .and_then(|packet| Flow::of(&packet));
        if let Some(Flow {
            protocol,
            source,
            destination,
            ..
        }) = flow
        {
            let protocol = protocol.keyword_str().unwrap_or("?");
            write!(out, "{protocol} {source} -> {destination}, ")?;
        }
        write!(out, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
#[path = "tests/ids.rs"]
mod tests;
