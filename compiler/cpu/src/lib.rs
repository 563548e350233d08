//! Scheduled kernels to machine code. Nothing here knows an operator.

pub mod clif;
pub mod lower;
pub mod memory;
pub mod module;
pub mod target;
pub mod vir;
pub mod x86;

pub use memory::CodeMemory;
pub use module::Module;
pub use target::Isa;
