//! Builds the frames that a guest with offloads hands over: headers of the whole packet, and the
//! sum of the pseudo header where the checksum goes.

use crate::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, NEEDS_CSUM};

pub const DST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub const SRC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// A TCP or UDP packet.
#[derive(Clone, Debug)]
pub struct Frame {
    /// number of 802.1Q tags
    pub vlans: usize,
    pub ipv4: bool,
    pub udp: bool,
    /// IPv4 options in 32-bit words
    pub ip_options: usize,
    /// TCP options in 32-bit words
    pub tcp_options: usize,
    pub id: u16,
    pub seq: u32,
    pub tcp_flags: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn tcp4(payload: usize) -> Self {
        Self {
            vlans: 0,
            ipv4: true,
            udp: false,
            ip_options: 0,
            tcp_options: 0,
            id: 0x1234,
            seq: 0x0102_0304,
            tcp_flags: 0x10 | 0x08 | 0x01,
            payload: (0..payload).map(|i| (i * 31 + i / 256) as u8).collect(),
        }
    }

    pub fn udp4(payload: usize) -> Self {
        Self {
            udp: true,
            ..Self::tcp4(payload)
        }
    }

    pub fn tcp6(payload: usize) -> Self {
        Self {
            ipv4: false,
            ..Self::tcp4(payload)
        }
    }

    /// Offset of the IP header.
    pub fn l3(&self) -> usize {
        14 + 4 * self.vlans
    }

    /// Offset of the TCP or UDP header.
    pub fn l4(&self) -> usize {
        self.l3()
            + if self.ipv4 {
                20 + 4 * self.ip_options
            } else {
                40
            }
    }

    /// Bytes of all headers.
    pub fn header_len(&self) -> usize {
        self.l4()
            + if self.udp {
                8
            } else {
                20 + 4 * self.tcp_options
            }
    }

    /// The checksum's offset in the TCP or UDP header.
    pub fn csum_offset(&self) -> usize {
        if self.udp { 6 } else { 16 }
    }

    pub fn gso_type(&self) -> u8 {
        match (self.udp, self.ipv4) {
            (true, _) => GSO_UDP,
            (false, true) => GSO_TCPV4,
            (false, false) => GSO_TCPV6,
        }
    }

    /// The virtio-net header that asks for segmentation into frames of `mfs` bytes.
    pub fn gso_header(&self, mfs: usize) -> [u8; 10] {
        self.vnet_header(
            NEEDS_CSUM,
            self.gso_type(),
            mfs.saturating_sub(self.header_len()),
        )
    }

    /// The virtio-net header that asks for nothing but the checksum.
    pub fn csum_header(&self) -> [u8; 10] {
        self.vnet_header(NEEDS_CSUM, GSO_NONE, 0)
    }

    pub fn vnet_header(&self, flags: u8, gso_type: u8, gso_size: usize) -> [u8; 10] {
        let mut header = [0; 10];
        header[0] = flags;
        header[1] = gso_type;
        let fields = [self.header_len(), gso_size, self.l4(), self.csum_offset()];
        for (i, field) in fields.into_iter().enumerate() {
            header[2 + 2 * i..4 + 2 * i].copy_from_slice(&(field as u16).to_ne_bytes());
        }
        header
    }

    /// The frame, from the Ethernet header on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(DST_MAC);
        out.extend(SRC_MAC);
        for tag in 0..self.vlans {
            out.extend([0x81, 0, 0, 5 + tag as u8]);
        }
        let protocol = if self.udp { 17 } else { 6 };
        let l4_len = self.header_len() - self.l4() + self.payload.len();
        let pseudo = if self.ipv4 {
            self.ipv4_header(&mut out, protocol, l4_len)
        } else {
            self.ipv6_header(&mut out, protocol, l4_len)
        };
        self.l4_header(&mut out, pseudo, l4_len);
        out.extend(&self.payload);
        out
    }

    /// Appends the header and returns the folded sum of the pseudo header.
    fn ipv4_header(&self, out: &mut Vec<u8>, protocol: u8, l4_len: usize) -> u16 {
        let addresses = [10, 1, 2, 3, 10, 9, 8, 7];
        let len = 20 + 4 * self.ip_options + l4_len;
        let mut header = vec![0x45 + self.ip_options as u8, 0];
        out.extend([0x08, 0x00]);
        header.extend((len as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend([0, 0, 64, protocol, 0, 0]);
        header.extend(addresses);
        header.resize(header.len() + 4 * self.ip_options, 1);
        let check = !fold(&header);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        out.extend(header);
        fold(
            &[
                &addresses[..],
                &[0, protocol],
                &(l4_len as u16).to_be_bytes(),
            ]
            .concat(),
        )
    }

    fn ipv6_header(&self, out: &mut Vec<u8>, protocol: u8, l4_len: usize) -> u16 {
        let mut addresses = [0u8; 32];
        addresses[..2].copy_from_slice(&[0xfd, 0x01]);
        addresses[15..18].copy_from_slice(&[0x07, 0xfd, 0x01]);
        addresses[31] = 0x99;
        out.extend([0x86, 0xdd, 0x60, 0x01, 0x02, 0x03]);
        out.extend((l4_len as u16).to_be_bytes());
        out.extend([protocol, 64]);
        out.extend(addresses);
        fold(
            &[
                &addresses[..],
                &[0, protocol],
                &(l4_len as u16).to_be_bytes(),
            ]
            .concat(),
        )
    }

    fn l4_header(&self, out: &mut Vec<u8>, pseudo: u16, l4_len: usize) {
        out.extend([0x12, 0x34, 0x56, 0x78]);
        if self.udp {
            out.extend((l4_len as u16).to_be_bytes());
            out.extend(pseudo.to_be_bytes());
            return;
        }
        out.extend(self.seq.to_be_bytes());
        out.extend([0xaa, 0xbb, 0xcc, 0xdd]);
        out.extend([
            (5 + self.tcp_options as u8) << 4,
            self.tcp_flags,
            0x20,
            0x00,
        ]);
        out.extend(pseudo.to_be_bytes());
        out.extend([0, 0]);
        out.resize(out.len() + 4 * self.tcp_options, 1);
    }
}

/// One's complement sum of an even number of bytes.
fn fold(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes
        .chunks(2)
        .map(|w| u64::from(w[0]) << 8 | u64::from(w[1]))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// `bytes` in pieces of the lengths given, the last of which takes what is left.
pub fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for len in lengths {
        let (piece, rest) = bytes.split_at((*len).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// A virtio-net header and a frame, in slots of `size` bytes as a guest would fill them.
pub fn slots(header: &[u8], frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let packet = [header, frame].concat();
    packet.chunks(size).map(<[u8]>::to_vec).collect()
}

pub fn refs(slots: &[Vec<u8>]) -> Vec<&[u8]> {
    slots.iter().map(Vec::as_slice).collect()
}
