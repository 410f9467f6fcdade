//! What `/dev/netmap` looks like to programs, whichever way they are reached.

/// Major and minor number: a miscellaneous device with a dynamic minor.
pub const NUMBER: (u32, u32) = (10, 125);
/// Its mode: a character device that everybody may open here.
pub const MODE: u32 = 0o020_666;
/// Its inode; programs compare them between calls, and with those that a directory lists.
pub const INODE: u64 = 0x6e6d_0000;
