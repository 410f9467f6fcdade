//! What has happened to a packet, as JSON.

use serde_json::{Value, json};
use uvale_engine::trace::{Event, Reason, Ring, Way};

use super::Told;
use super::names::Known;

/// A line of a trace.
pub fn record(told: &Told<'_>) -> Value {
    let record = told.record;
    let mut line = json!({
        "time": record.time,
        "port": record.ring.port,
        "ring": record.ring.ring,
        "host": record.ring.is_host,
        "direction": if record.is_tx { "tx" } else { "rx" },
        "slot": record.slot,
        "slots": record.slots,
        "len": record.len,
        "program": record.program,
        "pid": record.pid,
        "events": record.events.iter().map(|e| event(told, e)).collect::<Vec<_>>(),
    });
    if record.slots > 0 {
        line["packet"] = uvale_frame::summary(&record.data).into();
        line["data"] = hex(&record.data).into();
    }
    if told.missed > 0 {
        line["missed"] = told.missed.into();
    }
    line
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(mut event: Value, ring: &Ring) -> Value {
    event["port"] = ring.port.as_str().into();
    event["ring"] = ring.ring.into();
    if ring.is_host {
        event["host"] = true.into();
    }
    event
}

fn event(told: &Told<'_>, event: &Event) -> Value {
    match event {
        Event::Learnt(number) => json!({"event": "learnt", "number": number}),
        Event::Found(number) => json!({"event": "looked_up", "number": number}),
        Event::Flooded { ports } => json!({"event": "flooded", "ports": ports}),
        Event::Copied {
            to,
            slot,
            slots,
            empty,
            converted,
        } => at(
            json!({"event": "copied", "slot": slot, "slots": slots, "empty": empty, "converted": converted}),
            to,
        ),
        Event::Passed { to, slot, slots } => {
            at(json!({"event": "passed", "slot": slot, "slots": slots}), to)
        }
        Event::Sent(way) => json!({"event": "sent", "to": self::way(*way)}),
        Event::Arrived(way) => json!({"event": "arrived", "from": self::way(*way)}),
        Event::Shown {
            to,
            slot,
            slots,
            missed,
        } => at(
            json!({"event": "shown", "slot": slot, "slots": slots, "missed": missed}),
            to,
        ),
        Event::Dropped {
            at: ring,
            why,
            packets,
        } => {
            let (reason, counter) = reason(why);
            let dropped = json!({"event": "dropped", "reason": reason, "counter": counter, "packets": packets});
            match ring {
                Some(ring) => at(dropped, ring),
                None => dropped,
            }
        }
        Event::BadSlots(n) => json!({"event": "bad_slot", "slots": n}),
        Event::Truncated => json!({"event": "truncated"}),
        Event::Kept(why) => json!({"event": "kept", "reason": reason(why).0}),
        Event::Woke { ring, client } => {
            let mut woke = at(json!({"event": "woke", "description": client}), ring);
            if let Known::Of(program, pid) = told.names.process(*client) {
                woke["program"] = program.into();
                woke["pid"] = pid.into();
            }
            woke
        }
        Event::Reinit => json!({"event": "reinit"}),
        Event::TooMuch => json!({"event": "too_much"}),
    }
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Wire => "wire",
        Way::Host => "host",
    }
}

/// A reason, and the counter of `uvale stats` that has counted it.
fn reason(why: &Reason) -> (&'static str, Option<&'static str>) {
    match why {
        Reason::Short => ("short", Some("short")),
        Reason::OwnPort => ("own_port", Some("no_destination")),
        Reason::PortGone => ("port_gone", Some("no_destination")),
        Reason::NoReceiver => ("no_receiver", Some("no_receiver")),
        Reason::Stuck => ("stuck", Some("no_receiver")),
        Reason::Full => ("full", Some("full")),
        Reason::Unconvertible => ("unconvertible", Some("unconvertible")),
        Reason::NoSwitch => ("no_switch", None),
        Reason::NoBatch => ("no_batch", None),
        Reason::Alone => ("alone", None),
        Reason::Refused => ("refused", Some("bad_slot")),
        Reason::LinkDown => ("link_down", Some("no_receiver")),
        Reason::WireFull => ("wire_full", None),
        Reason::FullAt(_) => ("full", None),
        Reason::Incomplete => ("incomplete", None),
    }
}
