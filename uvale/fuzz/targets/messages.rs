//! Whatever a peer sends to the daemon: messages, and netmap requests inside them, carried out on
//! a world. Nothing may panic, and every refusal carries an errno that netmap can give.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nm_abi::AbiBytes;
use uvale_control::local::LocalWorld;
use uvale_control::Config;
use uvale_link::nic_helper::Question;
use uvale_link::proto::{Call, Reply, decode};
use uvale_request::Request;

#[derive(arbitrary::Arbitrary, Debug)]
enum Step<'a> {
    Message(&'a [u8]),
    Raw(&'a [u8]),
    Request { reqtype: u8, name: &'a str, body: &'a [u8], client: u8 },
    Close(u8),
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let Ok(local) = LocalWorld::new(Config::default()) else { return };
    let mut world = local.world.lock().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| world.open()).collect();
    for step in steps.into_iter().take(40) {
        match step {
            Step::Message(bytes) => {
                let _ = decode::<Reply>(bytes);
                let _ = Question::decode(bytes);
                if let Some(Call::Request { request, .. }) = decode::<Call>(bytes) {
                    carry_out(&mut world, clients[0], &request);
                }
            }
            Step::Raw(bytes) => carry_out(&mut world, clients[1], bytes),
            Step::Request { reqtype, name, body, client } => {
                let client = clients[usize::from(client) % clients.len()];
                let mut header = nm_abi::nmreq_header::zeroed();
                header.nr_version = nm_abi::NETMAP_API;
                header.nr_reqtype = u16::from(reqtype % 18);
                uvale_request::set_name(&mut header, name.as_bytes());
                let mut bytes = body.to_vec();
                bytes.resize(uvale_request::body_size(header.nr_reqtype), 0);
                let request = Request { header, body: bytes, options: Vec::new() };
                carry_out(&mut world, client, &request.encode());
            }
            Step::Close(client) => {
                let i = usize::from(client) % clients.len();
                world.close(clients[i]);
                clients[i] = world.open();
            }
        }
    }
    for client in clients {
        world.close(client);
    }
    assert!(!world.collect(), "nobody holds a lock, so everything can be freed");
    let left = world.ports().filter(|p| p.kind != uvale_control::PortKind::Persistent).count();
    assert_eq!(left, 0, "ports without users");
});

fn carry_out(world: &mut uvale_control::World, client: uvale_control::ClientId, bytes: &[u8]) {
    let Some(mut request) = Request::decode(bytes) else { return };
    if let Err(refusal) = world.request(client, &mut request) {
        assert!((1..134).contains(&refusal.errno.raw_os_error()));
        assert!(!refusal.why.is_empty());
    }
}
