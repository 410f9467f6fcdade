//! NIC ports on veth pairs between network namespaces that the tests make for themselves.

mod attached;
mod calls;
mod captures;
mod closed;
mod host;
mod lives;
mod made;
mod netmap_rs;
mod networks;
mod numbered;
mod refused;
mod rights;
mod shown;
mod talk;
