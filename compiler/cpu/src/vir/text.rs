//! Text of a function, for dumps.

use super::{Block, Function, Op, Type};
use std::fmt;

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "function lanes {} {{", self.lanes)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let ty = |v: &super::Value| match self.types[v.0 as usize] {
                Type::I64 => "i64",
                Type::Vec => "vec",
                Type::Mask => "mask",
            };
            let params: Vec<String> = block.params.iter().map(|v| format!("{v}: {}", ty(v))).collect();
            writeln!(f, "block{i}({}):", params.join(", "))?;
            write_block(f, block)?;
        }
        writeln!(f, "}}")
    }
}

fn write_block(f: &mut fmt::Formatter, block: &Block) -> fmt::Result {
    for inst in &block.insts {
        write!(f, "  ")?;
        if let Some(r) = inst.result {
            write!(f, "{r} = ")?;
        }
        match inst.op {
            Op::Vec(op) => write!(f, "{op:?}")?,
            Op::Int(op) => write!(f, "Int{op:?}")?,
            Op::Splat(bits) => write!(f, "Splat({:?})", f32::from_bits(bits))?,
            op => write!(f, "{op:?}")?,
        }
        for v in &inst.operands {
            write!(f, " {v}")?;
        }
        for (n, s) in block.successors.iter().enumerate().filter(|_| matches!(inst.op, Op::Jump | Op::Branch)) {
            let arguments: Vec<String> = block.arguments.iter().map(|a| a.to_string()).collect();
            let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
            write!(f, "{} block{}{arguments}", if n > 0 { "," } else { "" }, s.0)?;
        }
        writeln!(f)?;
    }
    Ok(())
}
