//! `uvale vm`: ports of virtual machines.

mod dgram;
mod ground;
mod machine;
mod vhost;
mod virtio;
