//! What benches share.

pub mod timing;
