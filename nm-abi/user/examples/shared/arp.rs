//! Answers to "who has this address?"

use std::net::Ipv4Addr;

use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket, ether_type};

/// A MAC address of our own for an IP address: locally administered, and as unique as the address.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

/// Turns a question for `address` into its answer, where it lies. False if the frame is something else.
pub fn answer(frame: &mut [u8], address: Ipv4Addr) -> bool {
    let Some((header, body)) = frame.split_at_mut_checked(14) else {
        return false;
    };
    let arp = ArpPacket::from_slice(body)
        .ok()
        .filter(|_| header[12..] == ether_type::ARP.0.to_be_bytes());
    let Some(asked) = arp.and_then(|arp| arp.try_eth_ipv4().ok()) else {
        return false;
    };
    if asked.operation != ArpOperation::REQUEST || asked.target_ipv4 != address.octets() {
        return false;
    }
    let answer = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: mac_of(address),
        sender_ipv4: asked.target_ipv4,
        target_mac: asked.sender_mac,
        target_ipv4: asked.sender_ipv4,
    };
    header[..6].copy_from_slice(&answer.target_mac);
    header[6..12].copy_from_slice(&answer.sender_mac);
    body[..ArpEthIpv4Packet::LEN].copy_from_slice(&answer.to_bytes());
    true
}
