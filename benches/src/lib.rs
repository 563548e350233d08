//! Timing, and the limits of this machine.

pub mod limits;
pub mod timing;
