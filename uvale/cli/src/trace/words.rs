//! What has happened to a packet, as sentences.

use std::collections::{HashMap, HashSet};

use uvale_engine::trace::{Event, Reason, Record, Ring, Way};
use uvale_tools::mac::Mac;

use super::super::table::printable;
use super::Told;
use super::names::Known;

/// Sleepers of a ring that are named; of others it is said how many they are.
const NAMES: usize = 8;

/// A ring, for people.
pub fn ring(ring: &Ring, is_tx: bool) -> String {
    let host = if ring.is_host { "host " } else { "" };
    let side = if is_tx { "tx" } else { "rx" };
    format!("{} {host}{side} ring {}", printable(&ring.port), ring.ring)
}

/// The first line: which packet, and whose.
pub fn head(record: &Record) -> String {
    let place = ring(&record.ring, record.is_tx);
    let slots = match record.slots {
        0 | 1 => format!("slot {}", record.slot),
        n => format!("slots {} and {} more", record.slot, n - 1),
    };
    let by = format!("{} (pid {})", printable(&record.program), record.pid);
    match record.slots {
        0 => format!("{place}, by {by}"),
        _ => format!("{place} {slots}, {} bytes, by {by}", record.len),
    }
}

/// What has happened, a sentence each.
pub fn sentences(told: &Told<'_>) -> Vec<String> {
    let mut sleepers = Sleepers::of(told.record);
    let mut all = Vec::new();
    for event in &told.record.events {
        // Whom it woke stands beside where it went.
        match (event, place_of(told.record, event)) {
            (Event::Woke { ring, .. }, _) if sleepers.are_told(ring) => {}
            (_, Some(to)) => all.push(sentence(told, event) + &sleepers.tell(told, to)),
            (_, None) => all.push(sentence(told, event)),
        }
    }
    all
}

/// The ring whose sleepers may have been woken by that.
fn place_of<'a>(record: &'a Record, event: &'a Event) -> Option<&'a Ring> {
    match event {
        Event::Copied { to, .. } | Event::Passed { to, .. } => Some(to),
        Event::Shown { to, slots, .. } if *slots > 0 => Some(to),
        Event::Arrived(_) => Some(&record.ring),
        _ => None,
    }
}

/// Who was woken, by ring. Each is told once, however often a record names the ring: a record may be anything.
struct Sleepers<'a> {
    woken: HashMap<&'a Ring, Vec<u32>>,
    told: HashSet<&'a Ring>,
    /// what arrives comes to one ring, whose program mostly has not slept: it is not said each time
    has_arrived: bool,
}

impl<'a> Sleepers<'a> {
    fn of(record: &'a Record) -> Self {
        let mut woken: HashMap<&Ring, Vec<u32>> = HashMap::new();
        for event in &record.events {
            if let Event::Woke { ring, client } = event {
                woken.entry(ring).or_default().push(*client);
            }
        }
        let arrived = |event: &Event| matches!(event, Event::Arrived(_));
        Self {
            has_arrived: record.events.first().is_some_and(arrived),
            woken,
            told: HashSet::new(),
        }
    }

    fn are_told(&self, ring: &Ring) -> bool {
        self.told.contains(ring)
    }

    /// Whom it woke on that ring, behind a sentence.
    fn tell(&mut self, told: &Told<'_>, to: &'a Ring) -> String {
        let woken = self.woken.get(to).map_or(&[][..], Vec::as_slice);
        if woken.is_empty() {
            return match self.has_arrived {
                true => String::new(),
                false => "; nobody slept there".to_owned(),
            };
        }
        if !self.told.insert(to) {
            return String::new();
        }
        let names = woken.iter().take(NAMES).map(|c| process(told, *c));
        let mut text = format!("; woke {}", names.collect::<Vec<_>>().join(", "));
        if let more @ 1.. = woken.len().saturating_sub(NAMES) {
            text += &format!(" and {more} more");
        }
        text
    }
}

fn process(told: &Told<'_>, client: u32) -> String {
    match told.names.process(client) {
        Known::Of(program, pid) => format!("{program} (pid {pid})"),
        Known::Closed => format!("description {client}, which is closed"),
        Known::NotAsked => format!("description {client}"),
    }
}

fn sentence(told: &Told<'_>, event: &Event) -> String {
    let address = |from: usize| -> String {
        let bytes = told.record.data.get(from..from + 6);
        let bytes = bytes.and_then(|b| <[u8; 6]>::try_from(b).ok());
        bytes.map_or("its address".to_owned(), |b| Mac(b).to_string())
    };
    match event {
        Event::Learnt(number) => format!("learnt: {} is behind port {number}", address(6)),
        Event::Found(number) => format!("looked up: {} is behind port {number}", address(0)),
        Event::Flooded { ports } => {
            let is_group = told.record.data.first().is_some_and(|first| first & 1 != 0);
            let why = match is_group {
                true => "is a group",
                false => "has not been learnt",
            };
            let ports = match ports {
                1 => "the one other port".to_owned(),
                n => format!("all {n} other ports"),
            };
            format!("flooded to {ports}: {} {why}", address(0))
        }
        Event::Copied {
            to,
            slot,
            slots,
            empty,
            converted,
        } => {
            let with = match converted {
                true => ", with another virtio-net header",
                false => "",
            };
            let place = place(to, *slot, *slots);
            match empty {
                0 => format!("copied to {place}{with}"),
                1 => format!("copied to {place}{with}; bad copy: a slot arrives empty"),
                n => format!("copied to {place}{with}; bad copy: {n} slots arrive empty"),
            }
        }
        Event::Passed { to, slot, slots } => {
            format!("passed to {}, without a copy", place(to, *slot, *slots))
        }
        Event::Sent(Way::Wire) => "sent on the wire".to_owned(),
        Event::Sent(Way::Host) => "given to the host".to_owned(),
        Event::Arrived(Way::Wire) => "arrived from the wire".to_owned(),
        Event::Arrived(Way::Host) => "arrived from the host".to_owned(),
        Event::Shown {
            to,
            slot,
            slots,
            missed,
        } => shown(to, *slot, *slots, *missed),
        Event::Dropped { at, why, packets } => {
            let at = at
                .as_ref()
                .map_or(String::new(), |at| format!(" at {}", ring(at, false)));
            let what = match packets {
                1 => "dropped".to_owned(),
                n => format!("{n} packets dropped"),
            };
            format!("{what}{at}: {}", reason(why))
        }
        Event::BadSlots(1) => {
            "bad slot: its length is beyond its buffer, or its address is null".to_owned()
        }
        Event::BadSlots(n) => {
            format!("{n} bad slots: a length beyond the buffer, or a null address")
        }
        Event::Truncated => {
            "chain cut off: its last slot says that more follows; sent as it is".to_owned()
        }
        Event::Kept(why) => format!("not sent yet: {}", reason(why)),
        Event::Woke { ring: of, client } => {
            format!("woke {} on {}", process(told, *client), printable(&of.port))
        }
        Event::Reinit => {
            "nothing sent: bad head or cur, and the ring was re-initialised".to_owned()
        }
        Event::TooMuch => "more has happened to it than a record can hold".to_owned(),
    }
}

fn place(to: &Ring, slot: u32, slots: u32) -> String {
    match slots {
        0 | 1 => format!("{} slot {slot}", ring(to, false)),
        n => format!("{} slots {slot} and {} more", ring(to, false), n - 1),
    }
}

fn shown(to: &Ring, slot: u32, slots: u32, missed: u64) -> String {
    let missing = match missed {
        0 => return format!("shown to monitor {}", place(to, slot, slots)),
        1 => "a packet".to_owned(),
        n => format!("{n} packets"),
    };
    let why = match slots {
        0 => "its ring is held or full",
        _ => "its ring is full",
    };
    format!("monitor {} misses {missing}: {why}", printable(&to.port))
}

fn reason(why: &Reason) -> String {
    let text = match why {
        Reason::Short => "short frame: less than an Ethernet header",
        Reason::OwnPort => "no destination: that is behind the port that it came from",
        Reason::PortGone => "no destination: that was behind a port that is gone",
        Reason::NoReceiver => "nobody receiving",
        Reason::Stuck => "nobody receiving: a stopped process holds the ring",
        Reason::Full => "receiver full",
        Reason::Unconvertible => "header not convertible",
        Reason::NoSwitch => "the port is on no switch",
        Reason::NoBatch => "bridge_batch is 0: switches forward nothing",
        Reason::Alone => "no other port is on the switch",
        Reason::Refused => "bad slot: the kernel refuses it, or a slot names no buffer",
        Reason::LinkDown => "nobody receiving: the interface is down, or has no carrier",
        Reason::WireFull => "the wire has no room",
        Reason::FullAt(at) => return format!("{} has no room", ring(at, false)),
        Reason::Incomplete => "its last slot has not come",
    };
    text.to_owned()
}
