//! uvale
