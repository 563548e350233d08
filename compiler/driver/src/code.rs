//! Kernels to machine code in executable memory.

use crate::error::Error;
use cpu::{CodeMemory, Isa};
use engine::KernelFn;
use kernel::Scheduled;

/// Functions start on lines of the instruction cache.
const ALIGN: usize = 64;

/// Machine code of several kernels in one piece of memory.
pub struct MachineCode {
    memory: CodeMemory,
    offsets: Vec<usize>,
}

impl MachineCode {
    /// Compiles all kernels for `isa`; `Err` names the kernel that cannot be.
    pub fn new<'k>(kernels: impl IntoIterator<Item = &'k Scheduled>, isa: Isa) -> Result<MachineCode, CodeError> {
        let mut bytes: Vec<u8> = vec![];
        let mut offsets = vec![];
        for (index, kernel) in kernels.into_iter().enumerate() {
            let unsupported = |reason: String| CodeError::Kernel { index, reason };
            let function = cpu::lower::lower(kernel).map_err(|e| unsupported(e.to_string()))?;
            let (code, _) = cpu::x86::emit(&function, isa).map_err(|e| unsupported(e.to_string()))?;
            bytes.resize(bytes.len().next_multiple_of(ALIGN), 0xcc);
            offsets.push(bytes.len());
            bytes.extend(code);
        }
        let memory = CodeMemory::new(&bytes).map_err(CodeError::Memory)?;
        Ok(MachineCode { memory, offsets })
    }

    /// The kernels' functions, in order. They live as long as the code.
    pub fn functions(&self) -> Vec<KernelFn> {
        let function = |offset: &usize| {
            // SAFETY: each offset is where the emitter put a function with this signature.
            unsafe { std::mem::transmute::<*const u8, KernelFn>(self.memory.as_ptr().add(*offset)) }
        };
        self.offsets.iter().map(function).collect()
    }
}

pub enum CodeError {
    Kernel { index: usize, reason: String },
    Memory(std::io::Error),
}

impl From<CodeError> for Error {
    fn from(error: CodeError) -> Error {
        match error {
            CodeError::Kernel { index, reason } => Error::Defect(format!("kernel {index}: {reason}")),
            CodeError::Memory(e) => Error::Memory(e),
        }
    }
}
