//! Rows of the NIC section, and what is wanted of them.

use serde::Serialize;

use crate::measure::{Outcome, percentile};
use crate::report::{Target, ratio};

/// All of the section.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub wire: Vec<Wire>,
    pub xdp: Vec<XdpWire>,
    pub ping_pong: Option<PingPong>,
    pub joined: Vec<Joined>,
    pub joining: Option<Joining>,
}

/// Over a veth pair: million packets a second delivered, and ratios.
#[derive(Debug, Serialize)]
pub struct Wire {
    len: u16,
    batch: u32,
    /// sendmmsg and TPACKET_V3
    bare: f64,
    /// sendmmsg and TPACKET_V2
    bare_v2: f64,
    /// a netmap port and TPACKET_V3
    tx: f64,
    tx_to_bare: f64,
    /// sendmmsg and a netmap port
    rx: f64,
    rx_to_bare: f64,
    /// other programs took processor time in every window of a column
    disturbed: bool,
}

impl Wire {
    /// Figures of bare V3, bare V2, tx, rx.
    pub fn new(batch: u32, len: u16, outcomes: &[Outcome; 4]) -> Self {
        let [bare, bare_v2, tx, rx] = outcomes;
        Self {
            len,
            batch,
            bare: bare.rate().delivered,
            bare_v2: bare_v2.rate().delivered,
            tx: tx.rate().delivered,
            tx_to_bare: tx.ratio(bare),
            rx: rx.rate().delivered,
            rx_to_bare: rx.ratio(bare),
            disturbed: outcomes.iter().any(Outcome::is_disturbed),
        }
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:>5} {:>5} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7}",
            "bytes", "batch", "bare V3", "bare V2", "port tx", "/bare", "port rx", "/bare"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = if self.disturbed { "  disturbed" } else { "" };
        format!(
            "{:>5} {:>5} {:>9.3} {:>9.3} {:>9.3} {:>7.2} {:>9.3} {:>7.2}{mark}",
            self.len,
            self.batch,
            self.bare,
            self.bare_v2,
            self.tx,
            self.tx_to_bare,
            self.rx,
            self.rx_to_bare
        )
    }
}

/// Over a veth pair by AF_XDP: million packets a second delivered, and ratios.
#[derive(Debug, Serialize)]
pub struct XdpWire {
    len: u16,
    batch: u32,
    bare: f64,
    /// a netmap port and a bare receiver
    tx: f64,
    tx_to_bare: f64,
    /// a bare sender and a netmap port
    rx: f64,
    rx_to_bare: f64,
    disturbed: bool,
}

impl XdpWire {
    /// Figures of the bare pair, tx, rx.
    pub fn new(batch: u32, len: u16, outcomes: &[Outcome; 3]) -> Self {
        let [bare, tx, rx] = outcomes;
        Self {
            len,
            batch,
            bare: bare.rate().delivered,
            tx: tx.rate().delivered,
            tx_to_bare: tx.ratio(bare),
            rx: rx.rate().delivered,
            rx_to_bare: rx.ratio(bare),
            disturbed: outcomes.iter().any(Outcome::is_disturbed),
        }
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:>5} {:>5} {:>9} {:>9} {:>7} {:>9} {:>7}",
            "bytes", "batch", "bare XDP", "port tx", "/bare", "port rx", "/bare"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = if self.disturbed { "  disturbed" } else { "" };
        format!(
            "{:>5} {:>5} {:>9.3} {:>9.3} {:>7.2} {:>9.3} {:>7.2}{mark}",
            self.len, self.batch, self.bare, self.tx, self.tx_to_bare, self.rx, self.rx_to_bare
        )
    }
}

/// Both ends of a veth pair are ports: million packets a second delivered.
#[derive(Debug, Serialize)]
pub struct Joined {
    len: u16,
    batch: u32,
    pipe: f64,
    joined: f64,
    joined_to_pipe: f64,
    disturbed: bool,
}

impl Joined {
    /// Figures of a pipe, and of the pair.
    pub fn new(batch: u32, len: u16, outcomes: &[Outcome; 2]) -> Self {
        let [pipe, joined] = outcomes;
        Self {
            len,
            batch,
            pipe: pipe.rate().delivered,
            joined: joined.rate().delivered,
            joined_to_pipe: joined.ratio(pipe),
            disturbed: outcomes.iter().any(Outcome::is_disturbed),
        }
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:>5} {:>5} {:>9} {:>9} {:>7}",
            "bytes", "batch", "pipe", "joined", "/pipe"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let mark = if self.disturbed { "  disturbed" } else { "" };
        format!(
            "{:>5} {:>5} {:>9.2} {:>9.2} {:>7.2}{mark}",
            self.len, self.batch, self.pipe, self.joined, self.joined_to_pipe
        )
    }
}

/// From a REGISTER until the port is joined, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Joining {
    /// from its beginning
    pub from_begin: f64,
    /// from when it has returned
    pub from_end: f64,
}

impl Joining {
    /// A line of text.
    pub fn line(&self) -> String {
        let Self {
            from_begin,
            from_end,
        } = self;
        format!("joined after {from_end:.2} ms ({from_begin:.2} ms with the REGISTER itself)")
    }
}

/// Round trips over a veth pair, in microseconds.
#[derive(Debug, Serialize)]
pub struct PingPong {
    bare_median: f64,
    bare_p99: f64,
    port_median: f64,
    port_p99: f64,
    ratio: f64,
}

impl PingPong {
    /// From the samples of two bare sockets, and of two ports; `None` if one has none.
    pub fn new([bare, port]: &[Outcome; 2]) -> Option<Self> {
        let us = |o: &Outcome, p| Some(f64::from(percentile(&o.samples, p)?) / 1000.0);
        let (bare_median, port_median) = (us(bare, 50)?, us(port, 50)?);
        Some(Self {
            bare_median,
            bare_p99: us(bare, 99)?,
            port_median,
            port_p99: us(port, 99)?,
            ratio: ratio(port_median, bare_median),
        })
    }

    /// A line of text.
    pub fn line(&self) -> String {
        format!(
            "ping-pong round trip   port {:>7.2} (99%: {:>7.2})   AF_PACKET {:>7.2} (99%: {:>7.2})   ratio {:.2}",
            self.port_median, self.port_p99, self.bare_median, self.bare_p99, self.ratio
        )
    }
}

impl Figures {
    /// The largest batch with small packets, compared with what is wanted.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        let least = |name, value, wanted| Target::new(name, value, wanted, false);
        let small = self.wire.iter().filter(|row| row.len == 60);
        if let Some(row) = small.max_by_key(|row| row.batch) {
            targets.push(least(
                "NIC, port sends: of a bare pair",
                row.tx_to_bare,
                0.9,
            ));
            targets.push(least(
                "NIC, port receives: of a bare pair",
                row.rx_to_bare,
                0.9,
            ));
        }
        let small = self.xdp.iter().filter(|row| row.len == 60);
        if let Some(row) = small.max_by_key(|row| row.batch) {
            let of_bare = "NIC, AF_XDP, port sends: of a bare pair";
            targets.push(least(of_bare, row.tx_to_bare, 0.9));
            let of_bare = "NIC, AF_XDP, port receives: of a bare pair";
            targets.push(least(of_bare, row.rx_to_bare, 0.9));
        }
        if let Some(p) = &self.ping_pong {
            targets.push(Target::new(
                "NIC ping-pong: times AF_PACKET",
                p.ratio,
                1.3,
                true,
            ));
        }
        let small = self.joined.iter().filter(|row| row.len == 60);
        if let Some(row) = small.max_by_key(|row| row.batch) {
            targets.push(least("NIC, joined: of a pipe", row.joined_to_pipe, 0.95));
            targets.push(least("NIC, joined: Mpps", row.joined, 40.0));
        }
        if let Some(joining) = &self.joining {
            let name = "NIC, joined after REGISTER: milliseconds";
            targets.push(Target::new(name, joining.from_end, 10.0, true));
        }
        targets
    }
}
