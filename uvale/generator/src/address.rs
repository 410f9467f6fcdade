//! MAC addresses, and ranges of IP addresses and UDP ports, as the command line writes them.

pub use uvale_tools::mac::{Mac, parse_mac};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Default UDP port of both ends.
const DEFAULT_PORT: u16 = 1234;

/// A range of addresses and ports. The port counts fastest; when it wraps, the address advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    /// First address.
    pub first: IpAddr,
    /// Number of addresses, at least 1.
    pub addresses: u64,
    /// First UDP port.
    pub first_port: u16,
    /// Last UDP port, not below `first_port`.
    pub last_port: u16,
    /// Which 16-bit group of an IPv6 address counts, 0 (leftmost) to 7; unused for IPv4.
    pub group: u8,
}

impl IpRange {
    /// Number of ports, at least 1.
    pub fn ports(&self) -> u64 {
        u64::from(self.last_port - self.first_port) + 1
    }

    /// Number of different (address, port) pairs.
    pub fn flows(&self) -> u64 {
        self.addresses.saturating_mul(self.ports())
    }

    /// The pair at position `index` of the cycle.
    pub fn at(&self, index: u64) -> (IpAddr, u16) {
        let index = index % self.flows();
        let port = self.first_port + (index % self.ports()) as u16;
        (self.address(index / self.ports()), port)
    }

    /// The address `offset` steps after the first one.
    pub fn address(&self, offset: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(a) => {
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits().wrapping_add(offset as u32)))
            }
            IpAddr::V6(a) => {
                let mut groups = a.segments();
                let group = &mut groups[usize::from(self.group & 7)];
                *group = group.wrapping_add(offset as u16);
                IpAddr::V6(groups.into())
            }
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |a: IpAddr, port: u16| match a {
            IpAddr::V4(a) => format!("{a}:{port}"),
            IpAddr::V6(a) => format!("[{a}]:{port}"),
        };
        write!(f, "{}", show(self.first, self.first_port))?;
        if self.flows() > 1 {
            write!(
                f,
                "-{}",
                show(self.address(self.addresses - 1), self.last_port)
            )?;
        }
        Ok(())
    }
}

/// Parses `ADDR[:PORT][-ADDR[:PORT]]`, or `ADDR:PORT-PORT` to vary the port alone. IPv6
/// addresses with a port stand in brackets and may be preceded by `GROUP@` (0 to 7), which says
/// which 16-bit group the range varies. Ends given in the wrong order are swapped.
pub fn parse_range(text: &str, v6: bool) -> Result<IpRange, String> {
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (low, Some(high)),
        None => (text, None),
    };
    let low = parse_end(low, v6)?;
    let low_port = low.port.unwrap_or(DEFAULT_PORT);
    let high = match high {
        None => End { port: None, ..low },
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => End {
            port: Some(parse_port(port)?),
            ..low
        },
        Some(end) => parse_end(end, v6)?,
    };
    let high_port = high.port.unwrap_or(low_port);
    let group = high.group.or(low.group).unwrap_or(7);
    let (first, addresses) = order(low.address, high.address, group).ok_or_else(|| {
        format!(
            "'{text}': both ends may differ only in 16-bit group {group} (GROUP@ picks another)"
        )
    })?;
    Ok(IpRange {
        first,
        addresses,
        first_port: low_port.min(high_port),
        last_port: low_port.max(high_port),
        group,
    })
}

#[derive(Clone, Copy)]
struct End {
    address: IpAddr,
    port: Option<u16>,
    group: Option<u8>,
}

/// The lower end and the number of addresses from it to the other end.
fn order(a: IpAddr, b: IpAddr, group: u8) -> Option<(IpAddr, u64)> {
    match (a, b) {
        (IpAddr::V4(x), IpAddr::V4(y)) => {
            let (low, high) = (x.min(y), x.max(y));
            Some((
                IpAddr::V4(low),
                u64::from(high.to_bits() - low.to_bits()) + 1,
            ))
        }
        (IpAddr::V6(x), IpAddr::V6(y)) => {
            let (low, high) = (x.min(y), x.max(y));
            let at = usize::from(group);
            let (from, to) = (low.segments(), high.segments());
            let mut same = from;
            same[at] = to[at];
            (same == to).then(|| (IpAddr::V6(low), u64::from(to[at] - from[at]) + 1))
        }
        _ => None,
    }
}

fn parse_end(text: &str, v6: bool) -> Result<End, String> {
    if v6 {
        parse_v6_end(text)
    } else {
        parse_v4_end(text)
    }
}

fn parse_v4_end(text: &str) -> Result<End, String> {
    let (address, port) = match text.split_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (text, None),
    };
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| format!("'{text}' does not start with an IPv4 address (-6 for IPv6)"))?;
    let port = port.map(parse_port).transpose()?;
    Ok(End {
        address: address.into(),
        port,
        group: None,
    })
}

fn parse_v6_end(text: &str) -> Result<End, String> {
    let (group, rest) = match text.split_once('@') {
        Some((group, rest)) => {
            let number = group.parse::<u8>().ok().filter(|g| *g < 8);
            (
                Some(number.ok_or_else(|| {
                    format!("'{group}' is not a 16-bit group of an IPv6 address (0 to 7)")
                })?),
                rest,
            )
        }
        None => (None, text),
    };
    let (address, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (address, tail) = inner
                .split_once(']')
                .ok_or_else(|| format!("'{text}' lacks a ']'"))?;
            match tail.strip_prefix(':') {
                Some(port) => (address, Some(parse_port(port)?)),
                None if tail.is_empty() => (address, None),
                None => return Err(format!("'{tail}' after ']' is not a port (':PORT')")),
            }
        }
        None => (rest, None),
    };
    let address: Ipv6Addr = address
        .parse()
        .map_err(|_| format!("'{address}' is not an IPv6 address"))?;
    Ok(End {
        address: address.into(),
        port,
        group,
    })
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not a UDP port (0 to 65535)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> IpRange {
        parse_range(text, false).unwrap()
    }

    #[test]
    fn v4_ranges() {
        let one = v4("10.0.0.1");
        assert_eq!((one.flows(), one.first_port), (1, 1234));
        let both = v4("10.0.0.1:5-10.0.0.3:7");
        assert_eq!((both.addresses, both.ports(), both.flows()), (3, 3, 9));
        assert_eq!(both.at(0), ("10.0.0.1".parse().unwrap(), 5));
        assert_eq!(both.at(2), ("10.0.0.1".parse().unwrap(), 7));
        assert_eq!(both.at(3), ("10.0.0.2".parse().unwrap(), 5));
        assert_eq!(both.at(9), both.at(0));
        assert_eq!(both.to_string(), "10.0.0.1:5-10.0.0.3:7");
        let swapped = v4("10.0.0.3:7-10.0.0.1:5");
        assert_eq!(swapped, both);
        let ports = v4("10.0.0.1:100-200");
        assert_eq!((ports.addresses, ports.ports()), (1, 101));
        let whole = v4("0.0.0.0-255.255.255.255");
        assert_eq!(whole.addresses, 1 << 32);
        assert_eq!(
            whole.at(u64::from(u32::MAX)).0,
            "255.255.255.255".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn v6_ranges() {
        let range = parse_range("[2001:db8::1]:9-[2001:db8::4]:9", true).unwrap();
        assert_eq!((range.addresses, range.ports()), (4, 1));
        assert_eq!(range.at(3).0, "2001:db8::4".parse::<IpAddr>().unwrap());
        let group = parse_range("1@2001:0::1-2001:ff::1", true).unwrap();
        assert_eq!(group.addresses, 256);
        assert_eq!(group.at(2).0, "2001:2::1".parse::<IpAddr>().unwrap());
        assert!(parse_range("2001:db8::1-2001:db9::1", true).is_err());
        assert!(parse_range("8@::1", true).is_err());
        assert!(parse_range("[::1", true).is_err());
        assert!(parse_range("[::1]x", true).is_err());
    }

    #[test]
    fn bad_ranges_say_what_is_wrong() {
        for bad in [
            "",
            "10.0.0",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "10.0.0.1:1-",
            "::1",
            "10.0.0.1-70000",
        ] {
            assert!(parse_range(bad, false).is_err(), "{bad}");
        }
        assert!(parse_range("::1", false).unwrap_err().contains("-6"));
    }
}
