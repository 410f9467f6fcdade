//! `uvale test-run`, the process that carries out one run of a case of `uvale test`: with real programs, in worlds and
//! networks of its own, killed and starved.

mod ends;
mod ground;
mod networks;
mod reach;
mod strict;
mod talk;
mod wires;
