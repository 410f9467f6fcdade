//! NIC ports on veth pairs between network namespaces that the tests make for themselves.

mod calls;
mod ground;
mod lives;
mod numbered;
