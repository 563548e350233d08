//! Texts of the last stages, for people who look at them.

use crate::error::Error;
use cpu::Isa;
use lower::LoweredKernel;

/// Names of the passes, in order.
pub const PASSES: &[&str] = &{
    let mut names = [""; passes::PIPELINE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = passes::PIPELINE[i].name;
        i += 1;
    }
    names
};

/// A kernel as vector IR.
pub fn vector_ir(kernel: &LoweredKernel) -> Result<String, Error> {
    let function = cpu::lower::lower(&kernel.scheduled).map_err(|e| Error::Defect(e.to_string()))?;
    Ok(function.to_string())
}

/// A kernel as machine code for `isa`, one instruction a line.
pub fn assembly(kernel: &LoweredKernel, isa: Isa) -> Result<String, Error> {
    let function = cpu::lower::lower(&kernel.scheduled).map_err(|e| Error::Defect(e.to_string()))?;
    let (code, _) = cpu::x86::emit(&function, isa).map_err(|e| Error::Defect(e.to_string()))?;
    Ok(cpu::x86::disassemble(&code))
}
