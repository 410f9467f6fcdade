//! `-f ping` and `-f pong`: round trip times.
//!
//! A ping carries, at the start of its UDP payload and in the machine's byte order as pkt-gen's
//! does, a 32-bit number and its time of sending as 32-bit seconds and nanoseconds. The sender keeps
//! the same in a table, so only true answers count.

use std::time::Duration;

use nm_abi::NS_REPORT;

use super::endpoint::{Device, Endpoint, TICK, Worker, monotonic};
use super::latency::Latency;
use super::memory::Ring;
use super::pacer::{NANOS, Pacer};
use super::packet::Packet;
use super::rx::Silence;
use super::slots::{Chain, Quota, fragment_len, gather, put, slots_for};
use super::stats::Outcome;
use super::tally::Tally;

/// Pings that are remembered; more than ever wait for their answers.
const TABLE: usize = 1 << 16;
const STAMP: usize = 12;
/// How long the last answers may take to leave.
const PARTING: Duration = Duration::from_secs(1);

/// What a ping carries: number, seconds, nanoseconds.
fn stamp(number: u32, nanos: u64) -> [u8; STAMP] {
    let mut bytes = [0; STAMP];
    bytes[..4].copy_from_slice(&number.to_ne_bytes());
    bytes[4..8].copy_from_slice(&((nanos / NANOS) as u32).to_ne_bytes());
    bytes[8..].copy_from_slice(&((nanos % NANOS) as u32).to_ne_bytes());
    bytes
}

#[derive(Clone, Copy, Default)]
struct Ping {
    number: u32,
    nanos: u64,
    waiting: bool,
}

struct Pinger {
    table: Vec<Ping>,
    latency: Latency,
    waiting: u64,
    late: u64,
    payload: usize,
}

impl Pinger {
    fn sent(&mut self, number: u32, nanos: u64) {
        self.table[number as usize % TABLE] = Ping {
            number,
            nanos,
            waiting: true,
        };
        self.waiting += 1;
    }

    /// Looks at a packet that came at `now`; returns its round trip time if it is an answer.
    fn answer(&mut self, packet: &[u8], now: u64) -> Option<u64> {
        let carried = packet.get(self.payload..self.payload + STAMP)?;
        let number = u32::from_ne_bytes(carried.get(..4)?.try_into().ok()?);
        let ping = &mut self.table[number as usize % TABLE];
        if ping.number != number || carried != stamp(number, ping.nanos) {
            return None;
        }
        if !ping.waiting {
            self.late += 1;
            return None;
        }
        ping.waiting = false;
        self.waiting -= 1;
        let time = now.saturating_sub(ping.nanos);
        self.latency.add(time);
        Some(time)
    }

    /// Gives up on what is still waiting; returns how many there were.
    fn give_up(&mut self) -> u64 {
        if self.waiting > 0 {
            self.table.iter_mut().for_each(|ping| ping.waiting = false);
        }
        std::mem::take(&mut self.waiting)
    }
}

/// Sends bursts of pings and waits for their answers.
pub fn ping<D: Device>(worker: &Worker<'_>, endpoint: &mut Endpoint<D>) -> Result<Outcome, String> {
    let config = worker.config;
    let mut packet = Packet::new(&config.packet.addresses, config.packet.length);
    let mut pinger = Pinger {
        table: vec![Ping::default(); TABLE],
        latency: Latency::default(),
        waiting: 0,
        late: 0,
        payload: packet.payload_offset(),
    };
    let mut chains: Vec<Chain> = endpoint.rx.iter().map(|_| Chain::default()).collect();
    let mut pacer = (worker.rate > 0).then(|| Pacer::new(worker.rate, monotonic()));
    let (mut tally, mut lost) = (Tally::default(), 0);
    let start = monotonic();
    while !worker.stopping() && worker.left(tally.packets) > 0 {
        let mut burst = worker
            .left(tally.packets)
            .min(u64::from(config.burst))
            .min(TABLE as u64 / 2);
        if let Some(pacer) = &mut pacer {
            burst = burst.min(pacer.due(monotonic()));
            if burst == 0 {
                worker.sleep(pacer.wait(monotonic(), 1).min(TICK));
                continue;
            }
        }
        let sent = send_pings(endpoint, &mut packet, &mut pinger, burst, &mut tally)?;
        if sent == 0 {
            tally.full += 1;
            endpoint.wait_tx(config.busy, TICK)?;
            continue;
        }
        tally.batches += 1;
        endpoint.sync_tx()?;
        if let Some(pacer) = &mut pacer {
            pacer.sent(sent);
        }
        await_answers(worker, endpoint, &mut chains, &mut pinger, &mut tally)?;
        // answers may be on their way when it is told to end
        if !worker.stopping() {
            lost += pinger.give_up();
        }
    }
    endpoint.release_rx()?;
    worker.counters.store(&tally);
    let latency = Some(pinger.latency.summary(tally.packets, lost, pinger.late));
    Ok(Outcome {
        tally,
        span: Some((start, monotonic())),
        latency,
        ..Outcome::default()
    })
}

/// Publishes up to `burst` pings on the first tx ring; returns how many there was room for.
fn send_pings<D>(
    endpoint: &mut Endpoint<D>,
    packet: &mut Packet,
    pinger: &mut Pinger,
    burst: u64,
    tally: &mut Tally,
) -> Result<u64, String>
where
    D: Device,
{
    let mut frame = vec![0; endpoint.header];
    let header = endpoint.header;
    let ring = endpoint.first_tx()?;
    let fragment = fragment_len(header + packet.bytes().len(), 1, ring.buf_size());
    let slots = slots_for(header + packet.bytes().len(), fragment);
    super::tx::check_room(std::slice::from_ref(ring), slots)?;
    let (mut room, mut next, mut sent) = (ring.space()? as usize, ring.head(), 0);
    while sent < burst && slots <= room {
        let number = tally.packets as u32;
        let nanos = monotonic();
        packet.set_payload(0, &stamp(number, nanos));
        frame.truncate(header);
        frame.extend_from_slice(packet.bytes());
        next = put(ring, next, &frame, fragment, NS_REPORT)?;
        pinger.sent(number, nanos);
        tally.packets += 1;
        tally.bytes += packet.bytes().len() as u64;
        tally.slots += slots as u64;
        room -= slots;
        sent += 1;
    }
    let cur = if sent == 0 { ring.tail()? } else { next };
    ring.publish(next, cur);
    Ok(sent)
}

/// Receives until all answers are here or the time for them is over.
fn await_answers<D: Device>(
    worker: &Worker<'_>,
    endpoint: &mut Endpoint<D>,
    chains: &mut [Chain],
    pinger: &mut Pinger,
    tally: &mut Tally,
) -> Result<(), String> {
    let config = worker.config;
    let limit = u64::try_from(config.timeout.as_nanos()).unwrap_or(u64::MAX);
    let deadline = monotonic().saturating_add(limit);
    let header = endpoint.header;
    while pinger.waiting > 0 && !worker.stopping() {
        let left = Duration::from_nanos(deadline.saturating_sub(monotonic()));
        if left.is_zero() {
            break;
        }
        endpoint.wait_rx(config.busy, left.min(TICK))?;
        let mut received = Tally::default();
        for (ring, chain) in endpoint.rx.iter_mut().zip(chains.iter_mut()) {
            let quota = Quota {
                slots: u32::MAX,
                packets: u64::MAX,
            };
            gather(ring, chain, header, quota, &mut received, &mut |packet| {
                if let Some(time) = pinger.answer(packet, monotonic()) {
                    tally.rtt_sum += time;
                    tally.answers += 1;
                }
                Ok(())
            })?;
        }
        tally.malformed += received.malformed;
        worker.counters.store(tally);
    }
    Ok(())
}

/// Sends packets back, and counts.
struct Mirror {
    /// The last packet, behind a virtio-net header of zeroes.
    frame: Vec<u8>,
    header: usize,
    tally: Tally,
}

impl Mirror {
    /// Publishes `packet` on a tx ring with its ends exchanged. Where there is no room, not even after
    /// a sync, it is left out.
    fn send_back(
        &mut self,
        packet: &[u8],
        out: &mut Ring,
        device: &impl Device,
    ) -> Result<(), String> {
        self.frame.truncate(self.header);
        self.frame.extend_from_slice(packet);
        swap_ends(self.frame.get_mut(self.header..).unwrap_or_default());
        let fragment = fragment_len(self.frame.len(), 1, out.buf_size());
        let slots = slots_for(self.frame.len(), fragment);
        if slots > out.space()? as usize {
            device
                .sync_tx()
                .map_err(|error| format!("NIOCTXSYNC: {}", uvale_tools::output::plain(&error)))?;
        }
        if packet.is_empty() || slots > out.space()? as usize {
            self.tally.skipped += 1;
            return Ok(());
        }
        let next = put(out, out.head(), &self.frame, fragment, NS_REPORT)?;
        out.publish(next, next);
        self.tally.packets += 1;
        self.tally.bytes += packet.len() as u64;
        self.tally.slots += slots as u64;
        Ok(())
    }
}

/// Sends every packet back with the ends of its Ethernet and IP headers exchanged.
pub fn pong<D: Device>(worker: &Worker<'_>, endpoint: &mut Endpoint<D>) -> Result<Outcome, String> {
    let config = worker.config;
    let header = endpoint.header;
    let mut chains: Vec<Chain> = endpoint.rx.iter().map(|_| Chain::default()).collect();
    let mut mirror = Mirror {
        frame: vec![0; header],
        header,
        tally: Tally::default(),
    };
    let mut received = Tally::default();
    let mut silence = Silence::new(worker, monotonic());
    let mut span: Option<(u64, u64)> = None;
    let mut at_start = Tally::default();
    while !worker.stopping() && worker.left(mirror.tally.packets) > 0 {
        let left = silence.left(monotonic());
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        endpoint.wait_rx(config.busy, left.unwrap_or(TICK).min(TICK))?;
        let before = (mirror.tally.packets, received.slots);
        let Endpoint { rx, tx, device, .. } = &mut *endpoint;
        let out = tx.first_mut().ok_or("this descriptor has no tx ring")?;
        for (ring, chain) in rx.iter_mut().zip(chains.iter_mut()) {
            let quota = Quota {
                slots: config.burst.max(64),
                packets: worker.left(mirror.tally.packets),
            };
            gather(ring, chain, header, quota, &mut received, &mut |packet| {
                mirror.send_back(packet, out, device)
            })?;
        }
        mirror.tally.malformed = received.malformed;
        if mirror.tally.packets > before.0 {
            mirror.tally.batches += 1;
            endpoint.sync_tx()?;
        }
        if received.slots > before.1 {
            let now = monotonic();
            silence.broken(now);
            if span.is_none() {
                at_start = mirror.tally;
            }
            span = Some((span.map_or(now, |(first, _)| first), now));
        }
        worker.counters.store(&mirror.tally);
    }
    endpoint.release_rx()?;
    // a pinger that has gone will not take the last answers
    let unsent = super::tx::drain(worker, endpoint, Some(PARTING))?;
    worker.counters.store(&mirror.tally);
    Ok(Outcome {
        tally: mirror.tally,
        span,
        at_start,
        unsent,
        ..Outcome::default()
    })
}

/// Exchanges source and destination of Ethernet and IP. Checksums stay right: sums do not depend
/// on the order.
fn swap_ends(packet: &mut [u8]) {
    if packet.len() < 14 {
        return;
    }
    let (first, second) = packet.split_at_mut(6);
    first.swap_with_slice(&mut second[..6]);
    let (at, len) = match packet[12..14] {
        [0x08, 0x00] => (26, 4),
        [0x86, 0xdd] => (22, 16),
        _ => return,
    };
    if let Some(addresses) = packet.get_mut(at..at + 2 * len) {
        let (source, destination) = addresses.split_at_mut(len);
        source.swap_with_slice(destination);
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::{Mac, parse_range};
    use super::super::packet::Addresses;
    use super::*;

    #[test]
    fn ends_are_exchanged_and_checksums_stay_right() {
        for (source, destination, v6) in [("10.0.0.1", "10.1.0.1", false), ("::1", "::2", true)] {
            let addresses = |a: &str, b: &str, x: u8, y: u8| Addresses {
                source_mac: Mac([x; 6]),
                destination_mac: Mac([y; 6]),
                source: parse_range(a, v6).unwrap(),
                destination: parse_range(b, v6).unwrap(),
            };
            let there = Packet::new(&addresses(source, destination, 2, 4), 90);
            let back = Packet::new(&addresses(destination, source, 4, 2), 90);
            let mut swapped = there.bytes().to_vec();
            swap_ends(&mut swapped);
            assert_eq!(swapped, back.bytes());
            for len in 0..90 {
                swap_ends(&mut swapped[..len]);
            }
        }
    }

    #[test]
    fn only_true_answers_count() {
        let mut pinger = Pinger {
            table: vec![Ping::default(); TABLE],
            latency: Latency::default(),
            waiting: 0,
            late: 0,
            payload: 2,
        };
        let packet = |number, nanos| [&[0, 0][..], &stamp(number, nanos)].concat();
        pinger.sent(7, 1_500_000_000);
        assert_eq!(
            pinger.answer(&packet(8, 1_500_000_000), 1_600_000_000),
            None
        );
        assert_eq!(
            pinger.answer(&packet(7, 1_500_000_001), 1_600_000_000),
            None
        );
        assert_eq!(
            pinger.answer(&packet(7, 1_500_000_000)[..10], 1_600_000_000),
            None
        );
        assert_eq!(
            pinger.answer(&packet(7, 1_500_000_000), 1_500_000_300),
            Some(300)
        );
        assert_eq!((pinger.waiting, pinger.late), (0, 0));
        assert_eq!(
            pinger.answer(&packet(7, 1_500_000_000), 1_500_000_400),
            None
        );
        assert_eq!(pinger.late, 1);
        pinger.sent(9, 5);
        assert_eq!(pinger.give_up(), 1);
        assert_eq!(pinger.answer(&packet(9, 5), 6), None);
        assert_eq!((pinger.late, pinger.waiting), (2, 0));
    }
}
