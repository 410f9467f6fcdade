//! Sends every packet back to where it came from:  echo_tokio PORT
//!
//! uvale run -- echo_tokio vale0:echo

use std::io::{self, Write};
use std::process::ExitCode;

use nm_user::{AsyncPort, Port};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, nm_user::Error> {
    let args: Vec<_> = std::env::args_os()
        .filter_map(|arg| arg.into_string().ok())
        .collect();
    let [_, name] = &args[..] else {
        let _ = writeln!(io::stderr(), "usage: echo_tokio PORT");
        return Ok(ExitCode::from(2));
    };
    let mut port = AsyncPort::new(Port::open(name)?)?;
    loop {
        let (tx, rx) = port.received().await?.rings();
        let mut needed = 0;
        for (mut tx, mut rx) in tx.zip(rx) {
            while let Some(mut packet) = rx.next_packet() {
                if tx.room() < packet.slots() {
                    needed = packet.slots();
                    break;
                }
                if let Some((to, rest)) = packet.bytes_mut().split_first_chunk_mut::<6>()
                    && let Some((from, _)) = rest.split_first_chunk_mut::<6>()
                {
                    std::mem::swap(to, from);
                }
                packet.forward_to(&mut tx).expect("there is room");
            }
        }
        if needed > 0 {
            port.room(needed).await?;
        } else {
            port.port().sync_tx()?;
        }
    }
}
