//! Scheduled kernels to machine code. Nothing here knows an operator.

pub mod clif;
mod jit;
pub mod lower;
pub mod module;
pub mod scalar;
pub mod vir;
pub mod x86;

pub use cranelift_codegen::ir::Function as ScalarFunction;
pub use engine::{CodeMemory, Isa};
pub use module::{EntryStep, ExternalCall, Module};
