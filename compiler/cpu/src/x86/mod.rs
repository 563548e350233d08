//! Machine code for AVX-512 and AVX2: registers by regalloc2, encoding by iced-x86.

mod allocate;
mod encode;

use crate::vir::Function;
use engine::Isa;
use iced_x86::IcedError;
use std::fmt;

/// What allocation and encoding came to, for the cost model and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub instructions: usize,
    pub vector_moves: usize,
    pub vector_spills: usize,
    pub integer_moves: usize,
    pub spill_slots: usize,
    pub bytes: usize,
}

/// Why no code could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitError(pub String);

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EmitError {}

impl From<IcedError> for EmitError {
    fn from(e: IcedError) -> EmitError {
        EmitError(e.to_string())
    }
}

/// Position-independent code of one function, its constants behind it.
pub fn emit(function: &Function, isa: Isa) -> Result<(Vec<u8>, Stats), EmitError> {
    // What follows takes for granted what this proves.
    function.verify().map_err(EmitError)?;
    if isa.lanes() != function.lanes || isa == Isa::Baseline {
        return Err(EmitError(format!("a function of {} lanes is not for {isa}", function.lanes)));
    }
    let code = allocate::MachineFunction::new(function, isa);
    let allocation = code.allocate()?;
    encode::encode(&code, &allocation, isa)
}

/// Machine code as text, one instruction a line. What lies behind the last return, the constants, is not shown.
pub fn disassemble(code: &[u8]) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut instructions: Vec<Instruction> = decoder.iter().collect();
    let end = instructions.iter().rposition(|i| i.mnemonic() == iced_x86::Mnemonic::Ret);
    instructions.truncate(end.map_or(0, |e| e + 1));
    let mut out = String::new();
    for instruction in &instructions {
        out += &format!("{:6x}  ", instruction.ip());
        formatter.format(instruction, &mut out);
        out.push('\n');
    }
    out
}
