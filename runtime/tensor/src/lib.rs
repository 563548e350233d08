//! Host tensors: element type, shape, bytes.

pub mod elem;

pub use elem::Elem;
