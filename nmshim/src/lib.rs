//! nmshim
