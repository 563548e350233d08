//! Scheduled kernels to CUDA C++ text. Nothing here knows an operator, and nothing here needs CUDA to build.
//!
//! The text is C++17 and includes no header: it stands over [`PRELUDE`], which is compiled by NVRTC for a device, or by
//! any compiler with `NNC_EMULATE` defined, on top of `emulator/emulator.h`.
//!
//! **Loops.** Block loops choose the block: loops over one grid dimension that follow each other are different blocks.
//! Thread loops choose the thread: loops over one block dimension that follow each other are the same threads, one
//! after the other. What no thread loop binds, every thread does for itself, but memory is then written by the first
//! only. Iterations of block and thread loops are taken to be independent.
//!
//! **Buffers.** Registers are arrays of a thread. So is scratch memory that is read only where the same thread loops
//! also write it. Other scratch memory is shared by the threads of a block.
//!
//! **Barriers** stand where threads pass on values: see `barriers`.

mod access;
mod barriers;
mod emit;
mod expr;
mod homes;
mod names;
pub mod nvrtc;
mod routine;
mod shape;
mod vectors;

use kernel::{Affine, Scheduled};
use std::fmt;

pub use routine::routine;

/// What every emitted text needs before it.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// One kernel as text, and how to launch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the `extern "C"` function.
    pub entry: String,
    /// Without the prelude.
    pub text: String,
    /// Blocks in each dimension, over the kernel's sizes. With none in one of them there is nothing to launch.
    pub grid: [Affine; 3],
    /// Threads of a block in each dimension.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// What the function takes, 8 bytes each: the error word's address, the argument buffers' in order, size arguments
    /// in order. These are the slots of a CPU kernel's table without scratch memory. Buffers start at multiples of 16
    /// bytes and do not overlap.
    pub parameters: Vec<String>,
    /// Bytes of the longest buffer that its offsets reach.
    pub most: usize,
}

/// A feature of kernels that this back end does not offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the CUDA back end does not support {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

pub(crate) fn unsupported<T>(what: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(what.into()))
}

/// The kernel as CUDA C++.
pub fn emit(kernel: &Scheduled) -> Result<Source, Unsupported> {
    emit::emit(kernel)
}
