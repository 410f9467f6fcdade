//! What is told: metrics with their names, units and samples.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use uvale_link::proto::Report;
use uvale_link::report::{self, Port};
use uvale_link::session::Session;

use super::super::nics::name_among;
use super::super::show::fetch;
use super::super::stats::counters::{Direction, directions};
use super::super::stats::with_host_rings;

/// All that is asked of the daemon.
pub struct World {
    daemon: report::Daemon,
    ports: Vec<Port>,
    switches: Vec<report::Switch>,
}

impl World {
    /// Asks it.
    pub fn ask(session: &Session) -> Result<Self, String> {
        Ok(World {
            daemon: fetch(session, Report::Daemon)?.1,
            ports: fetch(session, Report::Ports)?.1,
            switches: fetch(session, Report::Switches)?.1,
        })
    }
}

/// Labels of a sample.
pub type Labels = Vec<(&'static str, String)>;

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// its name without unit
    pub name: &'static str,
    /// a sentence
    pub help: &'static str,
    /// its unit
    pub unit: Option<Unit>,
    /// counter, gauge or info
    pub kind: MetricType,
    /// its values by labels
    pub samples: Vec<(Labels, u64)>,
}

impl Family {
    fn new(name: &'static str, unit: Option<Unit>, kind: MetricType, help: &'static str) -> Self {
        Family {
            name,
            help,
            unit,
            kind,
            samples: Vec::new(),
        }
    }

    fn with(mut self, samples: impl IntoIterator<Item = (Labels, u64)>) -> Self {
        self.samples.extend(samples);
        self
    }
}

/// All metrics.
pub fn of(world: &World) -> Vec<Family> {
    [
        of_daemon(world),
        of_memories(&world.daemon.memories),
        of_ports(world),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn label(key: &'static str, value: impl ToString) -> (&'static str, String) {
    (key, value.to_string())
}

fn of_daemon(world: &World) -> Vec<Family> {
    let World {
        daemon,
        ports,
        switches,
    } = world;
    let gauge = |name, unit, help, value: u64| {
        Family::new(name, unit, MetricType::Gauge, help).with([(Labels::new(), value)])
    };
    // the one that asks is the daemon itself
    let processes = daemon.processes.saturating_sub(1) as u64;
    let mut kinds: Vec<(Labels, u64)> = Vec::new();
    for port in ports {
        let kind = vec![label("kind", &port.kind)];
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let version = (vec![label("version", &daemon.version)], 1);
    let learned = switches
        .iter()
        .map(|switch| (vec![label("switch", &switch.name)], switch.learned.into()));
    let mut families = vec![
        Family::new("uvale", None, MetricType::Info, "The daemon.").with([version]),
        gauge(
            "uvale_uptime",
            Some(Unit::Seconds),
            "Time since the daemon started.",
            daemon.uptime,
        ),
        gauge(
            "uvale_processes",
            None,
            "Processes that are attached.",
            processes,
        ),
        gauge(
            "uvale_descriptors",
            None,
            "Open descriptions of /dev/netmap.",
            daemon.descriptors as u64,
        ),
        gauge("uvale_switches", None, "Switches.", switches.len() as u64),
        gauge(
            "uvale_switches_limit",
            None,
            "Switches that there may be.",
            daemon.max_switches.into(),
        ),
        Family::new(
            "uvale_switch_addresses",
            None,
            MetricType::Gauge,
            "Addresses that a switch has learned.",
        )
        .with(learned),
        Family::new("uvale_ports", None, MetricType::Gauge, "Ports by kind.").with(kinds),
    ];
    if let Some(resident) = resident() {
        let help = "Memory that the daemon's process has resident, shared memory included.";
        families.push(gauge(
            "uvale_resident_memory",
            Some(Unit::Bytes),
            help,
            resident,
        ));
    }
    families
}

/// Resident memory of this process, which is the daemon's.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn of_memories(memories: &[report::Memory]) -> Vec<Family> {
    const POOLS: [&str; 3] = ["interfaces", "rings", "buffers"];
    let id = |memory: &report::Memory| label("mem_id", memory.mem_id);
    let objects = |of: fn(&report::Memory) -> [u32; 3]| {
        memories.iter().flat_map(move |memory| {
            let pools = POOLS.iter().zip(of(memory));
            pools
                .map(move |(pool, n)| (vec![id(memory), label("pool", pool)], n.into()))
                .collect::<Vec<_>>()
        })
    };
    let gauge = |name, unit, help| Family::new(name, unit, MetricType::Gauge, help);
    vec![
        gauge(
            "uvale_memory",
            Some(Unit::Bytes),
            "What a program maps of a memory.",
        )
        .with(
            memories
                .iter()
                .map(|memory| (vec![id(memory)], memory.size)),
        ),
        gauge(
            "uvale_memory_users",
            None,
            "Ports and others that use a memory.",
        )
        .with(
            memories
                .iter()
                .map(|memory| (vec![id(memory)], memory.users.into())),
        ),
        gauge("uvale_memory_objects", None, "Objects of a memory's pools.")
            .with(objects(|memory| memory.total)),
        gauge(
            "uvale_memory_objects_used",
            None,
            "Objects of them that are in use.",
        )
        .with(objects(|memory| memory.used)),
    ]
}

fn of_ports(world: &World) -> Vec<Family> {
    let packets = || Some(Unit::Other("packets".to_owned()));
    let counter = |name, unit, help| Family::new(name, unit, MetricType::Counter, help);
    let gauge = |name, unit, help| Family::new(name, unit, MetricType::Gauge, help);
    let mut users = gauge(
        "uvale_port_users",
        None,
        "Descriptors that are bound to a port.",
    );
    let mut carried = counter(
        "uvale_ring",
        packets(),
        "Packets that a ring sent or received.",
    );
    let mut bytes = counter("uvale_ring", Some(Unit::Bytes), "Their bytes.");
    let mut dropped = counter(
        "uvale_ring_dropped",
        packets(),
        "Packets that were dropped, by reason.",
    );
    let mut faults = counter(
        "uvale_ring_faults",
        None,
        "What programs did wrong, by reason.",
    );
    let mut wakeups = counter(
        "uvale_ring_wakeups",
        None,
        "Wake-ups sent to those that sleep on a ring.",
    );
    let mut pending = gauge(
        "uvale_ring_pending",
        packets(),
        "Slots of a ring that hold packets.",
    );
    let mut seen = std::collections::HashSet::new();
    for (own, port) in named(&world.ports) {
        // two of one name cannot be told from each other, and would be no metrics
        if !seen.insert(own.clone()) {
            continue;
        }
        users.samples.push((own.clone(), port.users.into()));
        for (way, Direction { rings, .. }) in ["tx", "rx"].into_iter().zip(directions(&port)) {
            for (index, line) in rings.iter().enumerate() {
                let mut ring = own.clone();
                ring.extend([label("direction", way), label("ring", index)]);
                carried.samples.push((ring.clone(), line.packets));
                bytes.samples.push((ring.clone(), line.bytes));
                reasons(&mut dropped, &ring, line.drops());
                reasons(&mut faults, &ring, line.faults());
                if let ("rx", Some(rx)) = (way, port.rx.get(index)) {
                    wakeups.samples.push((ring.clone(), rx.wakeups));
                    pending.samples.push((ring, rx.pending.into()));
                }
            }
        }
    }
    vec![users, carried, bytes, dropped, faults, wakeups, pending]
}

/// Ports with the labels that tell them from each other; a NIC's host rings are a port of their own, if they are used.
fn named(ports: &[Port]) -> impl Iterator<Item = (Labels, Port)> {
    ports.iter().flat_map(move |port| {
        let name = name_among(port, ports);
        let of_its_own = with_host_rings(port.clone()).map(move |part| {
            let host = part
                .name
                .strip_prefix(port.name.as_str())
                .unwrap_or_default();
            let switch = part.switch.clone().unwrap_or_default();
            (
                vec![
                    label("port", format!("{name}{host}")),
                    label("switch", switch),
                ],
                part,
            )
        });
        of_its_own.collect::<Vec<_>>()
    })
}

fn reasons(family: &mut Family, ring: &Labels, of: impl Iterator<Item = (&'static str, u64)>) {
    for (reason, n) in of {
        let mut labels = ring.clone();
        labels.push(label("reason", reason));
        family.samples.push((labels, n));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::stats::counters::tests::{port, rx, tx};
    use super::*;

    /// A world with a port, which has a name that has to be escaped.
    pub fn world() -> World {
        World {
            daemon: report::Daemon {
                version: "1.2".into(),
                pid: 7,
                uptime: 61,
                processes: 3,
                attached: Vec::new(),
                descriptors: 2,
                max_switches: 8,
                memories: vec![report::Memory {
                    mem_id: 1,
                    size: 4096,
                    users: 2,
                    used: [1, 2, 3],
                    total: [10, 20, 30],
                }],
            },
            ports: vec![
                port(
                    "vale0:\"a\"\\\n",
                    vec![tx(3, 1), tx(4, 0)],
                    vec![rx(10, 400)],
                ),
                port("vale0:b", vec![tx(0, 0)], vec![rx(0, 0)]),
                // another one of the same name
                port("vale0:b", vec![tx(9, 9)], vec![rx(9, 9)]),
            ],
            switches: vec![report::Switch {
                name: "vale0".into(),
                index: 0,
                learned: 5,
                ports: Vec::new(),
            }],
        }
    }
}
