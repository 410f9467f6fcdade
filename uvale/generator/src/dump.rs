//! `-X`: packets in hexadecimal on standard output.

use std::fmt::Write as _;

use uvale_tools::output;

/// Dumps one packet, virtio-net header included if it has one.
pub fn packet(data: &[u8]) -> Result<(), String> {
    output::write(&text(data))
}

/// Sixteen bytes a line: offset, hexadecimal, characters.
fn text(data: &[u8]) -> String {
    let mut out = format!("packet of {} bytes\n", data.len());
    for (line, bytes) in data.chunks(16).enumerate() {
        let _ = write!(out, "{:5}: ", line * 16);
        for byte in bytes {
            let _ = write!(out, "{byte:02x} ");
        }
        out.extend(std::iter::repeat_n(' ', 3 * (16 - bytes.len()) + 1));
        out.extend(bytes.iter().map(|b| {
            if b.is_ascii_graphic() || *b == b' ' {
                char::from(*b)
            } else {
                '.'
            }
        }));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines() {
        let text = super::text(b"0123456789abcdef\x00Z");
        assert_eq!(
            text,
            "packet of 18 bytes\n    0: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n\
             \x20  16: 00 5a                                            .Z\n"
        );
    }
}
