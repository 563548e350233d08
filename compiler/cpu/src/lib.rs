//! Scheduled kernels to machine code. Nothing here knows an operator.

pub mod lower;
pub mod memory;
pub mod target;
pub mod vir;
pub mod x86;

pub use memory::CodeMemory;
pub use target::Isa;
