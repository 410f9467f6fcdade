//! Which frames have an order, and how far the steps of a port have come in it.

use std::collections::BTreeMap;

/// The order in which frames have to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// any
    None,
    /// within a flow: between rings there is no order
    OfFlows,
    /// that of the case
    Whole,
}

/// How far the steps of a port that look at the order have come among its frames.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// behind the last frame whose step was in the order of the case
    whole: usize,
    /// of each flow, behind the last frame of it
    flows: BTreeMap<u32, usize>,
}

impl Passed {
    /// Where a frame has to be at least.
    pub fn behind(&self, order: Order, frame: &[u8]) -> usize {
        let of_flow = self.flows.get(&flow(frame)).copied().unwrap_or(0);
        match order {
            Order::None => 0,
            Order::OfFlows => of_flow,
            Order::Whole => of_flow.max(self.whole),
        }
    }

    /// Frame number `i` has been found.
    pub fn pass(&mut self, order: Order, frame: &[u8], i: usize) {
        self.flows.insert(flow(frame), i + 1);
        if order == Order::Whole {
            self.whole = i + 1;
        }
    }
}

/// A number that the frames of a flow share, as NICs make one to choose a ring: of addresses and ports.
pub fn flow(frame: &[u8]) -> u32 {
    let ip = match frame.get(12..14) {
        Some([0x08, 0x00]) => 26..38,
        Some([0x86, 0xdd]) => 22..58,
        _ => 0..0,
    };
    let end = frame.len();
    let parts = [0..12.min(end), ip.start.min(end)..ip.end.min(end)];
    let bytes = parts.into_iter().flat_map(|part| &frame[part]);
    bytes.fold(0x811c_9dc5, |sum: u32, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
