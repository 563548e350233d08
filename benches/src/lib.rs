//! Timing, the limits of this machine, and kernels of models.

pub mod kernels;
pub mod limits;
pub mod timing;
