//! MAC addresses as the command line writes them.

use std::fmt;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Parses six hexadecimal octets of one or two digits, separated by colons.
pub fn parse_mac(text: &str) -> Result<Mac, String> {
    let bad =
        || format!("'{text}' is not a MAC address (six hexadecimal octets, aa:bb:cc:dd:ee:ff)");
    let mut octets = [0u8; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next().ok_or_else(bad)?;
        let hex =
            !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Err(bad());
        }
        *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    if parts.next().is_some() {
        return Err(bad());
    }
    Ok(Mac(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        assert_eq!(
            parse_mac("ff:0:1:Ab:cd:0e").unwrap(),
            Mac([0xff, 0, 1, 0xab, 0xcd, 0x0e])
        );
        assert_eq!(Mac([0, 1, 2, 3, 4, 0xff]).to_string(), "00:01:02:03:04:ff");
        for bad in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:zz",
            "1:2:3:4:5:123",
            "1:2:3:4:5:+1",
            "1:2:3:4::6",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
