//! Scheduled kernels to machine code. Nothing here knows an operator.

pub mod clif;
pub mod lower;
pub mod module;
pub mod vir;
pub mod x86;

pub use engine::{CodeMemory, Isa};
pub use module::{EntryStep, Module};
