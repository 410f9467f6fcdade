//! Rings and packets without a front end: the guest's side is a [`Driver`], the port a ring in memory of our own.

mod packets;
mod requests;
mod rings;
