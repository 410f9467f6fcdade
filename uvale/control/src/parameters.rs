//! netmap's module parameters: which there are, what a text means to each, and when a new value
//! takes effect. `docs/parameters.md` is the table for people.
//!
//! As in netmap a value is stored unchecked, and fails only when it is used; whoever writes a bad
//! one gets a warning.

use core::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::memory::Which;
use super::{Config, Refusal, Result, World};
use uvale_engine::BATCH;

/// The parameters that are neither sizes of memory nor the number of switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are netmap's; see the table below")]
pub struct Knobs {
    pub verbose: i32,
    pub debug: i32,
    pub no_timestamp: i32,
    pub no_pendintr: i32,
    pub txsync_retry: i32,
    pub fwd: i32,
    pub admode: i32,
    pub generic_hwcsum: i32,
    pub generic_mit: i32,
    pub generic_ringsize: i32,
    pub generic_rings: i32,
    pub generic_txqdisc: i32,
    pub ptnet_vnet_hdr: i32,
    pub ptnet_gso: bool,
    pub default_pipes: i32,
    pub bridge_batch: i32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            verbose: 0,
            debug: 0,
            no_timestamp: 0,
            no_pendintr: 1,
            txsync_retry: 2,
            fwd: 0,
            admode: 0,
            generic_hwcsum: 0,
            generic_mit: 100_000,
            generic_ringsize: 1024,
            generic_rings: 1,
            generic_txqdisc: 1,
            ptnet_vnet_hdr: 1,
            ptnet_gso: true,
            default_pipes: 0,
            bridge_batch: BATCH as i32,
        }
    }
}

/// What a parameter does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// what it does in netmap
    Yes,
    /// nothing: its subject does not exist here
    Stored,
    /// it shows a state
    Shown,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// a signed 32-bit number
    Int,
    /// an unsigned one
    Uint,
    /// Y or N
    Bool,
}

/// Where a value is.
#[derive(Clone, Copy)]
enum Source {
    /// in the configuration; may be written
    Knob(fn(&Config) -> i64, fn(&mut Config, i64)),
    /// in the configuration; fixed once the world exists
    AtStart(fn(&Config) -> i64, fn(&mut Config, i64)),
    /// bytes of an object of the global allocator
    CurrentSize(Which),
    /// how many objects it has
    CurrentNumber(Which),
}

/// A module parameter.
pub struct Parameter {
    /// its name
    pub name: &'static str,
    kind: Kind,
    source: Source,
    /// what it does here
    pub effect: Effect,
    /// what it is about
    pub what: &'static str,
}

impl Parameter {
    /// May it be written while a world exists?
    pub fn is_writable(&self) -> bool {
        matches!(self.source, Source::Knob(..))
    }

    /// The value it starts with in netmap, as its file reads.
    pub fn default_value(&self) -> String {
        let value = match self.source {
            Source::Knob(get, _) | Source::AtStart(get, _) => get(&Config::default()),
            Source::CurrentSize(_) | Source::CurrentNumber(_) => 0,
        };
        self.kind.show(value)
    }
}

const fn parameter(
    name: &'static str,
    kind: Kind,
    source: Source,
    effect: Effect,
    what: &'static str,
) -> Parameter {
    Parameter {
        name,
        kind,
        source,
        effect,
        what,
    }
}

/// A signed number among the knobs.
macro_rules! int {
    ($name:ident, $effect:ident, $what:literal) => {
        parameter(
            stringify!($name),
            Kind::Int,
            Source::Knob(|c| c.knobs.$name.into(), |c, n| c.knobs.$name = n as i32),
            Effect::$effect,
            $what,
        )
    };
}

/// Size or number of objects of a pool. In netmap they are unsigned, and shown as signed.
macro_rules! pool {
    ($name:literal, $allocator:ident $pool:ident $field:ident, $what:literal) => {
        parameter(
            $name,
            Kind::Int,
            Source::Knob(
                |c| c.$allocator.$pool.$field as i32 as i64,
                |c, n| c.$allocator.$pool.$field = n as u32,
            ),
            Effect::Yes,
            $what,
        )
    };
}

macro_rules! current {
    ($name:literal, $source:ident $which:ident, $what:literal) => {
        parameter(
            $name,
            Kind::Int,
            Source::$source(Which::$which),
            Effect::Shown,
            $what,
        )
    };
}

#[rustfmt::skip]
static PARAMETERS: &[Parameter] = &[
    int!(verbose, Yes, "1: the daemon's log has a line for each request that is served"),
    int!(debug, Stored, "bits of what netmap's developers debug"),
    int!(no_timestamp, Yes, "1: a receive ring's time stamp is set only if NR_TIMESTAMP is"),
    int!(no_pendintr, Stored, "NICs: always look for new packets"),
    int!(txsync_retry, Stored, "NICs on a switch: how often to try for room"),
    int!(fwd, Stored, "host rings: forward packets as if NR_FORWARD were set"),
    int!(admode, Stored, "NICs: 0 best, 1 native, 2 emulated adapter"),
    int!(generic_hwcsum, Stored, "emulated adapter: checksums by the NIC"),
    int!(generic_mit, Stored, "emulated adapter: nanoseconds between notifications"),
    int!(generic_ringsize, Yes, "slots of a NIC's ring if ethtool does not say"),
    int!(generic_rings, Stored, "emulated adapter: rings"),
    int!(generic_txqdisc, Stored, "emulated adapter: use a qdisc"),
    int!(ptnet_vnet_hdr, Stored, "ptnet devices: allow virtio-net headers"),
    parameter(
        "ptnet_gso",
        Kind::Bool,
        Source::Knob(|c| c.knobs.ptnet_gso.into(), |c, n| c.knobs.ptnet_gso = n != 0),
        Effect::Stored,
        "ptnet devices: segmentation offload",
    ),
    int!(default_pipes, Stored, "nothing, in netmap too"),
    int!(bridge_batch, Yes, "most slots that a switch forwards in one batch; 0: everything sent is dropped"),
    parameter(
        "max_bridges",
        Kind::Uint,
        Source::AtStart(|c| c.max_switches.into(), |c, n| c.max_switches = n as u32),
        Effect::Yes,
        "most switches that may exist at a time",
    ),
    pool!("if_size", global netif size, "bytes of a netmap_if of the global allocator"),
    current!("if_curr_size", CurrentSize If, "the same as it is"),
    pool!("if_num", global netif num, "netmap_ifs of the global allocator"),
    current!("if_curr_num", CurrentNumber If, "the same as it is"),
    pool!("priv_if_size", private netif size, "least bytes of a netmap_if of a private allocator"),
    pool!("priv_if_num", private netif num, "least number of netmap_ifs of a private allocator"),
    pool!("ring_size", global ring size, "bytes of a ring of the global allocator"),
    current!("ring_curr_size", CurrentSize Ring, "the same as it is"),
    pool!("ring_num", global ring num, "rings of the global allocator"),
    current!("ring_curr_num", CurrentNumber Ring, "the same as it is"),
    pool!("priv_ring_size", private ring size, "least bytes of a ring of a private allocator"),
    pool!("priv_ring_num", private ring num, "least number of rings of a private allocator"),
    pool!("buf_size", global buf size, "bytes of a buffer of the global allocator"),
    current!("buf_curr_size", CurrentSize Buf, "the same as it is"),
    pool!("buf_num", global buf num, "buffers of the global allocator"),
    current!("buf_curr_num", CurrentNumber Buf, "the same as it is"),
    pool!("priv_buf_size", private buf size, "least bytes of a buffer of a private allocator"),
    pool!("priv_buf_num", private buf num, "least number of buffers of a private allocator"),
];

fn find(name: &str) -> Result<&'static Parameter> {
    PARAMETERS.iter().find(|p| p.name == name).ok_or_else(|| {
        Refusal::new(
            Errno::NOENT,
            format!("there is no parameter {name}; `uvale ctl param` lists them"),
        )
    })
}

/// What `text` means to the kernel where it takes a number: decimal, 0x... or 0..., with a sign,
/// and at most one newline after it.
fn number(text: &str, kind: Kind) -> core::result::Result<i64, Errno> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [
            b'0',
            b'x' | b'X',
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F',
            ..,
        ] => (&digits[2..], 16),
        [b'0', _, ..] => (digits, 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(Errno::INVAL);
    }
    // what does not fit here does not fit anywhere
    let value = i64::from_str_radix(digits, radix).map_err(|_| Errno::RANGE)?;
    let value = if negative { -value } else { value };
    let fits = match kind {
        Kind::Int => i32::try_from(value).is_ok(),
        Kind::Uint if negative => return Err(Errno::INVAL),
        Kind::Uint => u32::try_from(value).is_ok(),
        Kind::Bool => true,
    };
    if fits { Ok(value) } else { Err(Errno::RANGE) }
}

/// What `text` means to the kernel where it takes yes or no: its first letter says it.
fn yes_or_no(text: &str) -> core::result::Result<i64, Errno> {
    match text.as_bytes() {
        [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Ok(1),
        [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

impl Kind {
    fn parse(self, name: &str, text: &str) -> Result<i64> {
        let parsed = match self {
            Kind::Bool => yes_or_no(text),
            _ => number(text, self),
        };
        let wanted = match self {
            Kind::Int => "a number from -2147483648 to 2147483647",
            Kind::Uint => "a number from 0 to 4294967295",
            Kind::Bool => "Y or N",
        };
        parsed.map_err(|errno| {
            let text = text.strip_suffix('\n').unwrap_or(text);
            Refusal::new(errno, format!("{name} takes {wanted}, not '{text}'"))
        })
    }

    fn show(self, value: i64) -> String {
        match self {
            Kind::Bool if value != 0 => "Y".into(),
            Kind::Bool => "N".into(),
            _ => value.to_string(),
        }
    }
}

impl Config {
    /// Sets a parameter before there is a world.
    ///
    /// # Errors
    /// `ENOENT`: no such parameter; `EACCES`: it only shows a state; `EINVAL` and `ERANGE`: the text
    /// is no value of its kind.
    pub fn set_parameter(&mut self, name: &str, text: &str) -> Result<()> {
        let parameter = find(name)?;
        match parameter.source {
            Source::Knob(_, set) | Source::AtStart(_, set) => {
                set(self, parameter.kind.parse(name, text)?);
                Ok(())
            }
            _ => Err(read_only(name, "it shows what is in use")),
        }
    }

    /// The batch of switches as the data path takes it.
    fn batch(&self) -> u32 {
        self.knobs.bridge_batch.clamp(0, BATCH as i32) as u32
    }
}

fn read_only(name: &str, why: &str) -> Refusal {
    Refusal::new(
        Errno::ACCESS,
        format!("{name} cannot be written while netmap runs: {why}"),
    )
}

impl World {
    /// The configuration as it is now.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has a parameter been written since the world began?
    pub fn has_changed_parameters(&self) -> bool {
        self.config != self.initial
    }

    /// All parameters.
    pub fn parameters() -> &'static [Parameter] {
        PARAMETERS
    }

    /// A parameter by name.
    pub fn parameter(name: &str) -> Option<&'static Parameter> {
        find(name).ok()
    }

    /// The value of a parameter, as its file under /sys/module/netmap/parameters reads.
    pub fn parameter_value(&self, p: &Parameter) -> String {
        p.kind.show(match p.source {
            Source::Knob(get, _) | Source::AtStart(get, _) => get(&self.config),
            Source::CurrentSize(which) => self.memories.current(which).0.into(),
            Source::CurrentNumber(which) => self.memories.current(which).1.into(),
        })
    }

    /// Writes a parameter. Gives a warning if no port will be opened with this value.
    ///
    /// # Errors
    /// As [`Config::set_parameter`]; `EACCES` also for what is fixed once the world exists.
    pub fn set_parameter(&mut self, name: &str, text: &str) -> Result<Option<String>> {
        if matches!(find(name)?.source, Source::AtStart(..)) {
            return Err(read_only(
                name,
                "it is read when the daemon starts, from its configuration file",
            ));
        }
        self.config.set_parameter(name, text)?;
        self.apply_parameters();
        let bad = self.config.check().err();
        Ok(bad
            .map(|refusal| refusal.why)
            .filter(|why| why.contains(name)))
    }

    /// Tells those who work by the parameters.
    pub(super) fn apply_parameters(&mut self) {
        self.memories.set_wanted(&self.config);
        if let Some(tuning) = self.ctl.tuning() {
            let batch = self.config.batch();
            if tuning.batch.swap(batch, Relaxed) != batch {
                self.switches_have_changed();
            }
            let stamp = u32::from(self.config.knobs.no_timestamp == 0);
            tuning.timestamps.store(stamp, Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "tests/parameters.rs"]
mod tests;
