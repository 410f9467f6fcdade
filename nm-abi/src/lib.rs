//! nm-abi
