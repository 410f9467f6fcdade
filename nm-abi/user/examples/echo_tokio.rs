//! Sends every packet back to where it came from:  echo_tokio PORT
//!
//! uvale run -- echo_tokio vale0:echo

use nm_user::{AsyncPort, Port};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nm_user::Error> {
    let name = std::env::args().nth(1).expect("usage: echo_tokio PORT");
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
