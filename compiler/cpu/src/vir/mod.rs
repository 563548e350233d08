//! Vector IR: one function in SSA form with block parameters, over 64-bit integers, vectors of 32-bit lanes, and masks.
//!
//! It is what kernels become on a CPU, small enough for three consumers that agree bit for bit: an emitter for AVX-512
//! and AVX2 (`x86`), Cranelift at 128 bits (`clif`), and an interpreter (`interpret`). A function takes the argument
//! table and a range of tasks: `extern "C" fn(table: *const u64, begin: i64, end: i64)`.

pub mod interpret;
mod text;

use kernel::functions::Table;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockId(pub u32);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A pointer or a whole number.
    I64,
    /// As many 32-bit lanes as the function says: f32 or i32, as the operation reads them.
    Vec,
    /// One bit for each lane.
    Mask,
}

/// Element type in memory of a load or store; lanes hold f32 or i32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    F32,
    I32,
    /// Zero-extended to i32 on loads, truncated on stores, here and in `U16`.
    U8,
    U16,
}

impl Memory {
    pub fn size(self) -> i64 {
        match self {
            Memory::F32 | Memory::I32 => 4,
            Memory::U8 => 1,
            Memory::U16 => 2,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntOp {
    Add,
    Sub,
    Mul,
    Min,
    Max,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VecOp {
    Add,
    Sub,
    Mul,
    Div,
    /// `a < b ? a : b`
    Min,
    /// `a > b ? a : b`
    Max,
    /// `a * 2^b` for integral b, rounded once. Exact agreement of all consumers holds for |a| in [2^-24, 2^24] and
    /// for zeros; functions call it there only.
    Ldexp,
    AddI,
    SubI,
    MulI,
    MinI,
    MaxI,
    And,
    Or,
    Xor,
    /// Shift counts in 0..32.
    Shl,
    /// Arithmetic.
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Sqrt,
    /// Halves to even.
    Round,
    Floor,
    Ceil,
    Trunc,
    /// i32 lanes to f32, rounding to nearest even.
    ToFloat,
    /// f32 lanes to i32, truncating; out of range gives the least i32.
    ToInt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    EqI,
    LtI,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskOp {
    And,
    Or,
    /// First operand and not the second.
    AndNot,
    Xor,
}

/// What [`Op::Unzip`] moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Elements, within each block of four lanes.
    Lane,
    /// Whole blocks of four lanes, of which there are at least two.
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Sum,
    Prod,
    Max,
    Min,
    SumI,
    ProdI,
    MaxI,
    MinI,
}

impl Reduction {
    pub fn op(self) -> VecOp {
        match self {
            Reduction::Sum => VecOp::Add,
            Reduction::Prod => VecOp::Mul,
            Reduction::Max => VecOp::Max,
            Reduction::Min => VecOp::Min,
            Reduction::SumI => VecOp::AddI,
            Reduction::ProdI => VecOp::MulI,
            Reduction::MaxI => VecOp::MaxI,
            Reduction::MinI => VecOp::MinI,
        }
    }
}

/// Operations; operands are listed as `[…]`. `disp` is in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The function's three parameters.
    Param(u8),
    Const(i64),
    Int(IntOp),
    AddImm(i32),
    MulImm(i32),
    /// Logical.
    ShrImm(u8),
    /// [pointer]: 64 bits.
    LoadI64(i32),
    /// [pointer]: 32 bits, sign-extended.
    LoadI32(i32),
    /// [pointer]: 8 bits, zero-extended.
    LoadU8(i32),
    /// [pointer, value]
    StoreI64(i32),
    /// [pointer] or [pointer, mask]; lanes without the mask are 0 and not read.
    Load {
        memory: Memory,
        disp: i32,
    },
    /// [pointer]: one element in all lanes.
    Broadcast {
        memory: Memory,
        disp: i32,
    },
    /// [pointer, value] or [pointer, value, mask]
    Store {
        memory: Memory,
        disp: i32,
    },
    /// [pointer, value]: past the caches if `pointer` and `disp` are multiples of the vector's size.
    StoreStream {
        disp: i32,
    },
    /// [pointer, i32 lanes, mask]: elements of 4 bytes at `pointer + disp + 4 * lane`; others are 0.
    Gather {
        disp: i32,
    },
    /// [pointer]: a hint.
    Prefetch {
        disp: i32,
    },
    /// The same bits in all lanes.
    Splat(u32),
    /// 0, 1, 2 … as i32.
    Iota,
    /// As many entries of a table as there are lanes, from entry `first` on.
    Entries {
        table: Table,
        first: u8,
    },
    /// [a, i32 lanes]: for each lane the element of a at that lane, modulo the number of lanes.
    Permute,
    /// [i64]: its low 32 bits in all lanes.
    SplatInt,
    Vec(VecOp),
    /// [a, b]: those of a at even places, or at odd ones, then those of b: transposes four by four in two rounds.
    Unzip {
        unit: Unit,
        odd: bool,
    },
    /// [a, b]: by turns an element of a and one of b, from their lower halves or the `high` ones.
    Zip {
        high: bool,
    },
    /// [a, b, c]: `a * b + c`, rounded once, in the register of c.
    FmaAcc,
    /// [a, b, c]: the same, in the register of a.
    Fma,
    Unary(UnaryOp),
    Compare(Comparison),
    /// [mask, a, b]: `mask ? a : b`
    Select,
    Mask(MaskOp),
    MaskConst(u32),
    /// [i64]: lanes below it; it is not negative.
    MaskFirst,
    /// [vector]: all lanes combined, halves with halves, in all lanes.
    Reduce(Reduction),
    /// To the one successor, with its arguments.
    Jump,
    /// [i64]: to the first successor if it is not 0, else to the second. No arguments.
    Branch,
    Return,
}

impl Op {
    /// The result's type, if there is a result.
    pub fn result(self) -> Option<Type> {
        use Op::*;
        match self {
            Param(_) | Const(_) | Int(_) | AddImm(_) | MulImm(_) | ShrImm(_) => Some(Type::I64),
            LoadI64(_) | LoadI32(_) | LoadU8(_) => Some(Type::I64),
            Load { .. } | Broadcast { .. } | Gather { .. } | Splat(_) | Iota | Entries { .. } | SplatInt => {
                Some(Type::Vec)
            }
            Vec(_) | Permute | Unzip { .. } | Zip { .. } | FmaAcc | Fma | Unary(_) | Select | Reduce(_) => {
                Some(Type::Vec)
            }
            Compare(_) | Mask(_) | MaskConst(_) | MaskFirst => Some(Type::Mask),
            StoreI64(_) | Store { .. } | StoreStream { .. } | Prefetch { .. } | Jump | Branch | Return => None,
        }
    }

    /// Types of the operands; a load or store may leave the mask out.
    pub fn operands(self) -> &'static [Type] {
        use Type::{I64, Mask as M, Vec as V};
        match self {
            Op::Param(_) | Op::Const(_) | Op::Splat(_) | Op::Iota | Op::Entries { .. } | Op::MaskConst(_) => &[],
            Op::Jump | Op::Return => &[],
            Op::AddImm(_) | Op::MulImm(_) | Op::ShrImm(_) | Op::LoadI64(_) | Op::LoadI32(_) | Op::LoadU8(_) => &[I64],
            Op::Int(_) | Op::StoreI64(_) => &[I64, I64],
            Op::Load { .. } => &[I64, M],
            Op::Broadcast { .. } | Op::Prefetch { .. } | Op::SplatInt | Op::MaskFirst | Op::Branch => &[I64],
            Op::Store { .. } => &[I64, V, M],
            Op::StoreStream { .. } => &[I64, V],
            Op::Gather { .. } => &[I64, V, M],
            Op::Vec(_) | Op::Permute | Op::Unzip { .. } | Op::Zip { .. } | Op::Compare(_) => &[V, V],
            Op::FmaAcc | Op::Fma => &[V, V, V],
            Op::Unary(_) | Op::Reduce(_) => &[V],
            Op::Select => &[M, V, V],
            Op::Mask(_) => &[M, M],
        }
    }

    pub fn has_optional_mask(self) -> bool {
        matches!(self, Op::Load { .. } | Op::Store { .. })
    }

    /// Whether an unused result makes the instruction needless.
    fn is_pure(self) -> bool {
        self.result().is_some() && !matches!(self, Op::Param(_))
    }
}

#[derive(Clone, Debug)]
pub struct Inst {
    pub op: Op,
    pub operands: Vec<Value>,
    pub result: Option<Value>,
}

#[derive(Clone, Debug, Default)]
pub struct Block {
    pub params: Vec<Value>,
    pub insts: Vec<Inst>,
    pub successors: Vec<BlockId>,
    /// Arguments of a jump.
    pub arguments: Vec<Value>,
}

#[derive(Clone, Debug)]
pub struct Function {
    pub lanes: usize,
    pub blocks: Vec<Block>,
    pub types: Vec<Type>,
}

/// Appends to a function. Blocks are ended by `jump`, `branch` or `ret`, and started by `switch`.
pub struct Builder {
    pub function: Function,
    current: usize,
}

impl Builder {
    pub fn new(lanes: usize) -> Builder {
        Builder { function: Function { lanes, blocks: vec![Block::default()], types: vec![] }, current: 0 }
    }

    pub fn value(&mut self, ty: Type) -> Value {
        self.function.types.push(ty);
        Value(self.function.types.len() as u32 - 1)
    }

    pub fn ty(&self, value: Value) -> Type {
        self.function.types[value.0 as usize]
    }

    /// Adds an operation that has a result.
    pub fn push(&mut self, op: Op, operands: &[Value]) -> Value {
        let ty = op.result().expect("the operation has a result");
        let result = self.value(ty);
        let inst = Inst { op, operands: operands.to_vec(), result: Some(result) };
        self.function.blocks[self.current].insts.push(inst);
        result
    }

    /// Adds an operation for its effect.
    pub fn effect(&mut self, op: Op, operands: &[Value]) {
        self.function.blocks[self.current].insts.push(Inst { op, operands: operands.to_vec(), result: None });
    }

    pub fn block(&mut self) -> BlockId {
        self.function.blocks.push(Block::default());
        BlockId(self.function.blocks.len() as u32 - 1)
    }

    pub fn switch(&mut self, block: BlockId) {
        self.current = block.0 as usize;
    }

    pub fn param(&mut self, block: BlockId, ty: Type) -> Value {
        let value = self.value(ty);
        self.function.blocks[block.0 as usize].params.push(value);
        value
    }

    pub fn jump(&mut self, to: BlockId, arguments: &[Value]) {
        self.effect(Op::Jump, &[]);
        let block = &mut self.function.blocks[self.current];
        block.successors = vec![to];
        block.arguments = arguments.to_vec();
    }

    pub fn branch(&mut self, condition: Value, not_zero: BlockId, zero: BlockId) {
        self.effect(Op::Branch, &[condition]);
        self.function.blocks[self.current].successors = vec![not_zero, zero];
    }

    pub fn ret(&mut self) {
        self.effect(Op::Return, &[]);
    }
}

impl Function {
    /// Removes instructions whose results nobody uses.
    pub fn remove_dead(&mut self) {
        let mut used = vec![false; self.types.len()];
        loop {
            let before = used.iter().filter(|u| **u).count();
            for block in self.blocks.iter().rev() {
                block.arguments.iter().for_each(|v| used[v.0 as usize] = true);
                for inst in block.insts.iter().rev() {
                    if !inst.op.is_pure() || inst.result.is_some_and(|r| used[r.0 as usize]) {
                        inst.operands.iter().for_each(|v| used[v.0 as usize] = true);
                    }
                }
            }
            if used.iter().filter(|u| **u).count() == before {
                break;
            }
        }
        for block in &mut self.blocks {
            block.insts.retain(|i| !i.op.is_pure() || i.result.is_some_and(|r| used[r.0 as usize]));
        }
    }

    /// Checks types, that every value is defined before its use on each path, and the shape of blocks.
    pub fn verify(&self) -> Result<(), String> {
        let mut predecessors = vec![vec![]; self.blocks.len()];
        for (b, block) in self.blocks.iter().enumerate() {
            for s in &block.successors {
                predecessors[s.0 as usize].push(b);
            }
            self.verify_block(b, block)?;
        }
        // Definitely defined on entry, by iteration to the greatest fixed point; a bit for each value.
        let words = self.types.len().div_ceil(64);
        let made: Vec<Bits> = self.blocks.iter().map(|block| Bits::made(block, words)).collect();
        let mut entry = vec![Bits(vec![u64::MAX; words]); self.blocks.len()];
        entry[0] = Bits(vec![0; words]);
        loop {
            let mut changed = false;
            for b in 1..self.blocks.len() {
                let mut meet = Bits(vec![u64::MAX; words]);
                for p in &predecessors[b] {
                    let exit = entry[*p].0.iter().zip(&made[*p].0).map(|(e, m)| e | m);
                    meet.0.iter_mut().zip(exit).for_each(|(m, e)| *m &= e);
                }
                changed |= meet != entry[b];
                entry[b] = meet;
            }
            if !changed {
                break;
            }
        }
        for (b, block) in self.blocks.iter().enumerate() {
            let mut defined = entry[b].clone();
            block.params.iter().for_each(|v| defined.set(*v));
            for inst in &block.insts {
                if let Some(v) = inst.operands.iter().find(|v| !defined.has(**v)) {
                    return Err(format!("block{b}: {v} is used where it is not defined"));
                }
                inst.result.iter().for_each(|r| defined.set(*r));
            }
            if let Some(v) = block.arguments.iter().find(|v| !defined.has(**v)) {
                return Err(format!("block{b}: argument {v} is not defined"));
            }
        }
        Ok(())
    }

    fn verify_block(&self, b: usize, block: &Block) -> Result<(), String> {
        let ty = |v: &Value| self.types[v.0 as usize];
        for (i, inst) in block.insts.iter().enumerate() {
            let expected = inst.op.operands();
            let short = inst.op.has_optional_mask() && inst.operands.len() + 1 == expected.len();
            if inst.operands.len() != expected.len() && !short {
                return Err(format!("block{b}: {:?} has {} operands", inst.op, inst.operands.len()));
            }
            if let Some((v, e)) = inst.operands.iter().zip(expected).find(|(v, e)| ty(v) != **e) {
                return Err(format!("block{b}: {:?} takes {e:?}, but {v} is {:?}", inst.op, ty(v)));
            }
            let ends = matches!(inst.op, Op::Jump | Op::Branch | Op::Return);
            if ends != (i + 1 == block.insts.len()) {
                return Err(format!("block{b} ends in the middle or not at all"));
            }
        }
        let count = match block.insts.last().map(|i| i.op) {
            Some(Op::Jump) => 1,
            Some(Op::Branch) => 2,
            Some(Op::Return) => 0,
            _ => return Err(format!("block{b} is empty")),
        };
        if block.successors.len() != count {
            return Err(format!("block{b} has {} successors, not {count}", block.successors.len()));
        }
        for (n, s) in block.successors.iter().enumerate() {
            let params = &self.blocks[s.0 as usize].params;
            let arguments = if count == 1 { &block.arguments[..] } else { &[] };
            if params.len() != arguments.len() || params.iter().zip(arguments).any(|(p, a)| ty(p) != ty(a)) {
                return Err(format!("block{b}: successor {n} takes other arguments"));
            }
        }
        Ok(())
    }
}

/// A set of values.
#[derive(Clone, PartialEq)]
struct Bits(Vec<u64>);

impl Bits {
    /// The values that a block defines.
    fn made(block: &Block, words: usize) -> Bits {
        let mut bits = Bits(vec![0; words]);
        let results = block.insts.iter().filter_map(|i| i.result);
        block.params.iter().copied().chain(results).for_each(|v| bits.set(v));
        bits
    }

    fn set(&mut self, value: Value) {
        self.0[value.0 as usize / 64] |= 1 << (value.0 % 64);
    }

    fn has(&self, value: Value) -> bool {
        self.0[value.0 as usize / 64] >> (value.0 % 64) & 1 == 1
    }
}
