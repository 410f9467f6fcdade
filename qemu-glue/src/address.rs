//! MAC addresses that a port always has, on every run of every process.

/// Bytes that depend on `name` alone (FNV-1a).
pub fn made_of(name: impl IntoIterator<Item = u8>) -> [u8; 8] {
    let hash = name
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.to_be_bytes()
}
