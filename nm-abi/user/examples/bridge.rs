//! Carries packets between two ports, both ways, until it is ended:  bridge PORT PORT
//!
//! uvale run -- bridge vale0:x vale1:y

use std::io::{self, Write};
use std::process::ExitCode;

use nm_user::{Error, Interest, Open, Port, wait};

fn main() -> Result<ExitCode, Error> {
    let args: Vec<_> = std::env::args_os()
        .filter_map(|arg| arg.into_string().ok())
        .collect();
    let [_, a, b] = &args[..] else {
        let _ = writeln!(io::stderr(), "usage: bridge PORT PORT");
        return Ok(ExitCode::from(2));
    };
    let mut a = Port::open(a)?;
    let mut b = Open::new().memory_of(&a).open(b)?;
    let (mut a_waits, mut b_waits) = (false, false);
    loop {
        let watched = [
            a.watch(interest(a_waits, b_waits)),
            b.watch(interest(b_waits, a_waits)),
        ];
        // This also sends what the last round has put into tx rings.
        wait(&mut { watched }, None)?;
        a_waits = carry(&mut a, &mut b);
        b_waits = carry(&mut b, &mut a);
    }
}

/// Moves what fits. True if packets are left that wait for room.
fn carry(from: &mut Port, to: &mut Port) -> bool {
    let mut is_left = false;
    let outs = to.tx_rings().len().max(1);
    for (i, mut rx) in from.rx_rings().enumerate() {
        if let Some(mut tx) = to.tx(i % outs) {
            rx.forward_to(&mut tx);
        }
        is_left |= !rx.is_empty();
    }
    is_left
}

/// New packets, unless those that are here wait for room; and room that the other's packets wait for.
fn interest(own_wait: bool, others_wait: bool) -> Interest {
    let rx = if own_wait {
        Interest::NONE
    } else {
        Interest::RX
    };
    let tx = if others_wait {
        Interest::TX
    } else {
        Interest::NONE
    };
    rx | tx
}
