//! Programs that make system calls past the C library, trapped in the process (`NMSHIM_REACH=trap`).

mod cases;
mod go;
mod programs;
