//! `uvale vm`: ports of virtual machines.

mod containers;
mod dgram;
mod ground;
mod machine;
mod preloaded;
mod ptnet;
mod ptnet_guests;
mod ptnet_qemu;
mod ptnet_shim;
mod vhost;
mod vhost_fronts;
mod vhost_guests;
mod virtio;
