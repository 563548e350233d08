//! Kernels of models, timed.

pub mod kernels;
