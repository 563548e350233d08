//! The vector IR at 128 bits through Cranelift: for targets whose vectors are no wider, and where nothing is assumed
//! of an x86 beyond its baseline.
//!
//! Functions of 4 lanes only. A mask is an i32x4 of 0 and -1. Memory under a mask is accessed lane by lane; a lane that
//! is off goes to a spare place on the stack, so there are no branches. Fused multiply-adds are exact everywhere: where
//! the machine has none, Cranelift calls a function (`module`).

use crate::vir::{Comparison, Function, Inst, IntOp, MaskOp, Memory, Op, Type, UnaryOp, Value, VecOp};
use crate::x86::EmitError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I8X16, I32, I32X4, I64};
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder, FunctionBuilderContext};
use std::collections::HashMap;

const LANES: usize = 4;
const ALL: u32 = 0b1111;

/// Where lanes that are off read zeros, and where they write.
const ZEROS: i64 = 0;
const WASTE: i64 = 8;

/// The type of every kernel: `extern "C" fn(table: *const u64, begin: i64, end: i64)`.
pub(crate) fn kernel_signature(convention: CallConv) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params = vec![AbiParam::new(I64); 3];
    signature
}

/// A function of 4 lanes in Cranelift's own IR.
pub fn translate(function: &Function, isa: &dyn TargetIsa) -> Result<ir::Function, EmitError> {
    // What follows takes for granted what this proves.
    function.verify().map_err(EmitError)?;
    if function.lanes != LANES {
        return Err(EmitError(format!("a function of {} lanes is not for vectors of 128 bits", function.lanes)));
    }
    let signature = kernel_signature(isa.default_call_conv());
    let mut translated = ir::Function::with_name_signature(ir::UserFuncName::default(), signature);
    let mut context = FunctionBuilderContext::new();
    let mut translate = Translate::new(FunctionBuilder::new(&mut translated, &mut context), function);
    translate.function();
    translate.b.seal_all_blocks();
    translate.b.finalize(isa.frontend_config());
    Ok(translated)
}

struct Translate<'a> {
    b: FunctionBuilder<'a>,
    function: &'a Function,
    params: Vec<ir::Value>,
    blocks: Vec<ir::Block>,
    /// What has been translated; a vector may be of floats or of integers.
    values: Vec<Option<ir::Value>>,
    /// Lanes of constant vectors, and constant masks.
    splats: HashMap<Value, u32>,
    masks: HashMap<Value, u32>,
    /// Address of the spare place on the stack.
    spare: ir::Value,
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'a> Translate<'a> {
    fn new(mut b: FunctionBuilder<'a>, function: &'a Function) -> Translate<'a> {
        let prologue = b.create_block();
        let blocks: Vec<ir::Block> = function.blocks.iter().map(|_| b.create_block()).collect();
        b.append_block_params_for_function_params(prologue);
        b.switch_to_block(prologue);
        let params = b.block_params(prologue).to_vec();
        let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4));
        let spare = b.ins().stack_addr(I64, slot, 0);
        let zero = b.ins().iconst(I64, 0);
        b.ins().store(flags(), zero, spare, ZEROS as i32);
        b.ins().jump(blocks[0], &[]);
        let values = vec![None; function.types.len()];
        Translate { b, function, params, blocks, values, splats: HashMap::new(), masks: HashMap::new(), spare }
    }

    fn function(&mut self) {
        let function = self.function;
        for (block, clif) in function.blocks.iter().zip(self.blocks.clone()) {
            for param in &block.params {
                let ty = match function.types[param.0 as usize] {
                    Type::I64 => I64,
                    Type::Vec => F32X4,
                    Type::Mask => I32X4,
                };
                self.values[param.0 as usize] = Some(self.b.append_block_param(clif, ty));
            }
        }
        for at in reverse_postorder(function) {
            self.b.switch_to_block(self.blocks[at]);
            let block = &function.blocks[at];
            for inst in &block.insts {
                let to = |n: usize| block.successors[n].0 as usize;
                match inst.op {
                    Op::Jump => {
                        let arguments: Vec<ir::BlockArg> =
                            block.arguments.iter().map(|v| self.argument(*v).into()).collect();
                        self.b.ins().jump(self.blocks[to(0)], &arguments);
                    }
                    Op::Branch => {
                        let condition = self.get(inst.operands[0]);
                        let (yes, no) = (self.blocks[to(0)], self.blocks[to(1)]);
                        self.b.ins().brif(condition, yes, &[], no, &[]);
                    }
                    Op::Return => {
                        self.b.ins().return_(&[]);
                    }
                    _ => {
                        if let (Some(value), Some(result)) = (self.operation(inst), inst.result) {
                            self.values[result.0 as usize] = Some(value);
                        }
                    }
                }
            }
        }
    }

    fn get(&self, v: Value) -> ir::Value {
        self.values[v.0 as usize].expect("the verifier proved that values are defined before their use")
    }

    /// What one instruction makes of an integer.
    fn with(&mut self, v: Value, build: impl FnOnce(FuncInstBuilder, ir::Value) -> ir::Value) -> ir::Value {
        let x = self.get(v);
        build(self.b.ins(), x)
    }

    fn as_type(&mut self, value: ir::Value, ty: ir::Type) -> ir::Value {
        match self.b.func.dfg.value_type(value) == ty {
            true => value,
            false => self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(ir::Endianness::Little), value),
        }
    }

    fn floats(&mut self, v: Value) -> ir::Value {
        self.as_type(self.get(v), F32X4)
    }

    fn ints(&mut self, v: Value) -> ir::Value {
        self.as_type(self.get(v), I32X4)
    }

    /// A value as block parameters have it.
    fn argument(&mut self, v: Value) -> ir::Value {
        match self.function.types[v.0 as usize] {
            Type::I64 => self.get(v),
            Type::Vec => self.floats(v),
            Type::Mask => self.ints(v),
        }
    }

    fn constant(&mut self, lanes: [u32; LANES]) -> ir::Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|n| n.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(I32X4, constant)
    }

    fn splat(&mut self, bits: u32) -> ir::Value {
        self.constant([bits; LANES])
    }

    fn operation(&mut self, inst: &Inst) -> Option<ir::Value> {
        let o = &inst.operands;
        Some(match inst.op {
            Op::Param(i) => self.params[i as usize],
            Op::Const(n) => self.b.ins().iconst(I64, n),
            Op::Int(op) => {
                let (a, b) = (self.get(o[0]), self.get(o[1]));
                self.int_op(op, a, b)
            }
            Op::AddImm(n) => self.with(o[0], |ins, x| ins.iadd_imm_s(x, n as i64)),
            Op::MulImm(n) => self.with(o[0], |ins, x| ins.imul_imm_s(x, n as i64)),
            Op::ShrImm(n) => self.with(o[0], |ins, x| ins.ushr_imm_u(x, n as i64)),
            Op::LoadI64(disp) => self.with(o[0], |ins, x| ins.load(I64, flags(), x, disp)),
            Op::LoadI32(disp) => self.with(o[0], |ins, x| ins.sload32(flags(), x, disp)),
            Op::LoadU8(disp) => self.with(o[0], |ins, x| ins.uload8(I64, flags(), x, disp)),
            Op::StoreI64(disp) => {
                let (pointer, value) = (self.get(o[0]), self.get(o[1]));
                self.b.ins().store(flags(), value, pointer, disp);
                return None;
            }
            Op::Load { memory, disp } => self.load(memory, disp, o[0], o.get(1).copied()),
            Op::Broadcast { memory, disp } => {
                let pointer = self.get(o[0]);
                match memory {
                    Memory::F32 => {
                        let element = self.b.ins().load(F32, flags(), pointer, disp);
                        self.b.ins().splat(F32X4, element)
                    }
                    _ => {
                        let element = self.load_element(memory, pointer, disp);
                        self.b.ins().splat(I32X4, element)
                    }
                }
            }
            Op::Store { memory, disp } => {
                self.store(memory, disp, o[0], o[1], o.get(2).copied());
                return None;
            }
            Op::StoreStream { disp } => {
                self.store(Memory::F32, disp, o[0], o[1], None);
                return None;
            }
            Op::Gather { disp } => self.gather(disp, o[0], o[1], o[2]),
            Op::Prefetch { .. } => return None,
            Op::Splat(bits) => {
                self.splats.extend(inst.result.map(|r| (r, bits)));
                self.splat(bits)
            }
            Op::Iota => self.constant([0, 1, 2, 3]),
            Op::Entries { table, first } => {
                self.constant(std::array::from_fn(|i| table.entries()[first as usize + i].to_bits()))
            }
            Op::Permute => self.permute(o[0], o[1]),
            Op::SplatInt => {
                let n = self.get(o[0]);
                self.splat_int(n)
            }
            Op::Vec(op) => self.vec_op(op, o[0], o[1]),
            Op::Unzip { odd, .. } => {
                let (a, b, first) = (self.floats(o[0]), self.floats(o[1]), odd as u8);
                self.rearranged(a, b, [first, first + 2, first + 4, first + 6])
            }
            Op::Zip { high } => {
                let (a, b, first) = (self.floats(o[0]), self.floats(o[1]), 2 * high as u8);
                self.rearranged(a, b, [first, first + 4, first + 1, first + 5])
            }
            Op::FmaAcc | Op::Fma => {
                let (a, b, c) = (self.floats(o[0]), self.floats(o[1]), self.floats(o[2]));
                self.b.ins().fma(a, b, c)
            }
            Op::Unary(op) => self.unary_op(op, o[0]),
            Op::Compare(op) => self.compare(op, o[0], o[1]),
            Op::Select => {
                let (mask, a, b) = (self.ints(o[0]), self.ints(o[1]), self.ints(o[2]));
                self.b.ins().bitselect(mask, a, b)
            }
            Op::Mask(op) => {
                let (a, b) = (self.ints(o[0]), self.ints(o[1]));
                match op {
                    MaskOp::And => self.b.ins().band(a, b),
                    MaskOp::Or => self.b.ins().bor(a, b),
                    MaskOp::AndNot => self.b.ins().band_not(a, b),
                    MaskOp::Xor => self.b.ins().bxor(a, b),
                }
            }
            Op::MaskConst(bits) => {
                self.masks.extend(inst.result.map(|r| (r, bits & ALL)));
                self.constant(std::array::from_fn(|i| if bits >> i & 1 == 1 { u32::MAX } else { 0 }))
            }
            Op::MaskFirst => {
                let n = self.get(o[0]);
                let n = self.splat_int(n);
                let lanes = self.constant([0, 1, 2, 3]);
                self.b.ins().icmp(IntCC::SignedGreaterThan, n, lanes)
            }
            Op::Reduce(op) => self.reduce(op.op(), o[0]),
            Op::Jump | Op::Branch | Op::Return => unreachable!("ends of blocks are not operations"),
        })
    }

    /// Each of the four lanes everywhere, and among them a choice by the two bits of the index: permutations by a register
    /// are not in the baseline.
    fn permute(&mut self, a: Value, index: Value) -> ir::Value {
        let lane = |t: &mut Self, i: u8| {
            let a = t.floats(a);
            let all = t.rearranged(a, a, [i; LANES]);
            t.as_type(all, I32X4)
        };
        let bit = |t: &mut Self, bit: u32| {
            let (index, bit) = (t.ints(index), t.splat(bit));
            let masked = t.b.ins().band(index, bit);
            t.b.ins().icmp(IntCC::Equal, masked, bit)
        };
        let lanes: [ir::Value; LANES] = std::array::from_fn(|i| lane(self, i as u8));
        let (odd, upper) = (bit(self, 1), bit(self, 2));
        let low = self.b.ins().bitselect(odd, lanes[1], lanes[0]);
        let high = self.b.ins().bitselect(odd, lanes[3], lanes[2]);
        self.b.ins().bitselect(upper, high, low)
    }

    fn int_op(&mut self, op: IntOp, a: ir::Value, b: ir::Value) -> ir::Value {
        let first_if = |t: &mut Self, condition: IntCC| {
            let holds = t.b.ins().icmp(condition, a, b);
            t.b.ins().select(holds, a, b)
        };
        match op {
            IntOp::Add => self.b.ins().iadd(a, b),
            IntOp::Sub => self.b.ins().isub(a, b),
            IntOp::Mul => self.b.ins().imul(a, b),
            IntOp::Min => first_if(self, IntCC::SignedLessThan),
            IntOp::Max => first_if(self, IntCC::SignedGreaterThan),
            IntOp::And => self.b.ins().band(a, b),
            IntOp::Or => self.b.ins().bor(a, b),
            IntOp::Xor => self.b.ins().bxor(a, b),
        }
    }

    fn splat_int(&mut self, n: ir::Value) -> ir::Value {
        let n = self.b.ins().ireduce(I32, n);
        self.b.ins().splat(I32X4, n)
    }

    /// One element as i32.
    fn load_element(&mut self, memory: Memory, pointer: ir::Value, disp: i32) -> ir::Value {
        match memory {
            Memory::F32 | Memory::I32 => self.b.ins().load(I32, flags(), pointer, disp),
            Memory::U8 => self.b.ins().uload8(I32, flags(), pointer, disp),
            Memory::U16 => self.b.ins().uload16(I32, flags(), pointer, disp),
        }
    }

    /// Address and displacement of lane `i`, or of the spare place if it is off; `None` if that is known.
    fn lane_place(
        &mut self,
        mask: Option<Value>,
        i: usize,
        pointer: ir::Value,
        disp: i32,
        spare: i64,
    ) -> Option<(ir::Value, i32)> {
        let known = mask.map_or(Some(ALL), |m| self.masks.get(&m).copied());
        match (known, mask) {
            (Some(bits), _) if bits >> i & 1 == 0 => None,
            (None, Some(mask)) => {
                let mask = self.ints(mask);
                let on = self.b.ins().extractlane(mask, i as u8);
                let place = self.b.ins().iadd_imm_s(pointer, disp as i64);
                let spare = self.b.ins().iadd_imm_s(self.spare, spare);
                Some((self.b.ins().select(on, place, spare), 0))
            }
            _ => Some((pointer, disp)),
        }
    }

    fn is_whole(&self, mask: Option<Value>) -> bool {
        mask.is_none_or(|m| self.masks.get(&m) == Some(&ALL))
    }

    fn load(&mut self, memory: Memory, disp: i32, pointer: Value, mask: Option<Value>) -> ir::Value {
        let pointer = self.get(pointer);
        if memory.size() == 4 && self.is_whole(mask) {
            return self.b.ins().load(F32X4, flags(), pointer, disp);
        }
        let mut lanes = self.splat(0);
        for i in 0..LANES {
            let disp = disp + i as i32 * memory.size() as i32;
            if let Some((place, disp)) = self.lane_place(mask, i, pointer, disp, ZEROS) {
                let element = self.load_element(memory, place, disp);
                lanes = self.b.ins().insertlane(lanes, element, i as u8);
            }
        }
        lanes
    }

    fn store(&mut self, memory: Memory, disp: i32, pointer: Value, value: Value, mask: Option<Value>) {
        let pointer = self.get(pointer);
        if memory.size() == 4 && self.is_whole(mask) {
            let value = self.get(value);
            self.b.ins().store(flags(), value, pointer, disp);
            return;
        }
        let lanes = self.ints(value);
        for i in 0..LANES {
            let disp = disp + i as i32 * memory.size() as i32;
            if let Some((place, disp)) = self.lane_place(mask, i, pointer, disp, WASTE) {
                let element = self.b.ins().extractlane(lanes, i as u8);
                match memory {
                    Memory::F32 | Memory::I32 => self.b.ins().store(flags(), element, place, disp),
                    Memory::U8 => self.b.ins().istore8(flags(), element, place, disp),
                    Memory::U16 => self.b.ins().istore16(flags(), element, place, disp),
                };
            }
        }
    }

    fn gather(&mut self, disp: i32, pointer: Value, index: Value, mask: Value) -> ir::Value {
        let (pointer, index) = (self.get(pointer), self.ints(index));
        let mut lanes = self.splat(0);
        for i in 0..LANES {
            let offset = self.b.ins().extractlane(index, i as u8);
            let offset = self.b.ins().sextend(I64, offset);
            let offset = self.b.ins().ishl_imm_u(offset, 2);
            let place = self.b.ins().iadd(pointer, offset);
            if let Some((place, disp)) = self.lane_place(Some(mask), i, place, disp, ZEROS) {
                let element = self.load_element(Memory::F32, place, disp);
                lanes = self.b.ins().insertlane(lanes, element, i as u8);
            }
        }
        lanes
    }

    fn vec_op(&mut self, op: VecOp, a: Value, b: Value) -> ir::Value {
        if let VecOp::Shl | VecOp::Shr = op {
            return self.shift(op, a, b);
        }
        let (a, b) = (self.get(a), self.get(b));
        self.lanes_op(op, a, b)
    }

    fn lanes_op(&mut self, op: VecOp, a: ir::Value, b: ir::Value) -> ir::Value {
        use VecOp::*;
        let float = matches!(op, Add | Sub | Mul | Div | Min | Max | Ldexp);
        let ty = if float { F32X4 } else { I32X4 };
        let (a, b) = (self.as_type(a, ty), self.as_type(b, ty));
        let first_if = |t: &mut Self, condition: FloatCC| {
            let holds = t.b.ins().fcmp(condition, a, b);
            let holds = t.as_type(holds, F32X4);
            t.b.ins().bitselect(holds, a, b)
        };
        match op {
            Add => self.b.ins().fadd(a, b),
            Sub => self.b.ins().fsub(a, b),
            Mul => self.b.ins().fmul(a, b),
            Div => self.b.ins().fdiv(a, b),
            Min => first_if(self, FloatCC::LessThan),
            Max => first_if(self, FloatCC::GreaterThan),
            Ldexp => self.ldexp(a, b),
            AddI => self.b.ins().iadd(a, b),
            SubI => self.b.ins().isub(a, b),
            MulI => self.b.ins().imul(a, b),
            MinI => self.b.ins().smin(a, b),
            MaxI => self.b.ins().smax(a, b),
            And => self.b.ins().band(a, b),
            Or => self.b.ins().bor(a, b),
            Xor => self.b.ins().bxor(a, b),
            Shl | Shr => unreachable!("shifts have a count of their own"),
        }
    }

    /// Cranelift shifts all lanes by one count: what differs between lanes is shifted lane by lane.
    fn shift(&mut self, op: VecOp, a: Value, count: Value) -> ir::Value {
        let lanes = self.ints(a);
        let shift = |t: &mut Self, x: ir::Value, count: ir::Value| match op {
            VecOp::Shl => t.b.ins().ishl(x, count),
            _ => t.b.ins().sshr(x, count),
        };
        if let Some(count) = self.splats.get(&count).copied() {
            let count = self.b.ins().iconst(I32, count as i64);
            return shift(self, lanes, count);
        }
        let counts = self.ints(count);
        let mut out = lanes;
        for i in 0..LANES as u8 {
            let (x, count) = (self.b.ins().extractlane(lanes, i), self.b.ins().extractlane(counts, i));
            let x = shift(self, x, count);
            out = self.b.ins().insertlane(out, x, i);
        }
        out
    }

    /// `a * 2^n` by two powers made from bits, each of half the exponent.
    fn ldexp(&mut self, a: ir::Value, n: ir::Value) -> ir::Value {
        let n = self.b.ins().fcvt_to_sint_sat(I32X4, n);
        let (one, bits) = (self.b.ins().iconst(I32, 1), self.b.ins().iconst(I32, 23));
        let half = self.b.ins().sshr(n, one);
        let rest = self.b.ins().isub(n, half);
        let bias = self.splat(127);
        [half, rest].into_iter().fold(a, |a, n| {
            let n = self.b.ins().iadd(n, bias);
            let n = self.b.ins().ishl(n, bits);
            let power = self.as_type(n, F32X4);
            self.b.ins().fmul(a, power)
        })
    }

    fn unary_op(&mut self, op: UnaryOp, a: Value) -> ir::Value {
        let x = match op {
            UnaryOp::ToFloat => self.ints(a),
            _ => self.floats(a),
        };
        match op {
            UnaryOp::Sqrt => self.b.ins().sqrt(x),
            UnaryOp::Round => self.b.ins().nearest(x),
            UnaryOp::Floor => self.b.ins().floor(x),
            UnaryOp::Ceil => self.b.ins().ceil(x),
            UnaryOp::Trunc => self.b.ins().trunc(x),
            UnaryOp::ToFloat => self.b.ins().fcvt_from_sint(F32X4, x),
            UnaryOp::ToInt => {
                let (low, high) = (self.splat((-2147483648f32).to_bits()), self.splat(2147483648f32.to_bits()));
                let (low, high) = (self.as_type(low, F32X4), self.as_type(high, F32X4));
                let above = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, x, low);
                let below = self.b.ins().fcmp(FloatCC::LessThan, x, high);
                let inside = self.b.ins().band(above, below);
                let (n, least) = (self.b.ins().fcvt_to_sint_sat(I32X4, x), self.splat(i32::MIN as u32));
                self.b.ins().bitselect(inside, n, least)
            }
        }
    }

    fn compare(&mut self, op: Comparison, a: Value, b: Value) -> ir::Value {
        let float = |op| {
            move |t: &mut Self| {
                let (a, b) = (t.floats(a), t.floats(b));
                t.b.ins().fcmp(op, a, b)
            }
        };
        let int = |op| {
            move |t: &mut Self| {
                let (a, b) = (t.ints(a), t.ints(b));
                t.b.ins().icmp(op, a, b)
            }
        };
        match op {
            Comparison::Eq => float(FloatCC::Equal)(self),
            Comparison::Ne => float(FloatCC::NotEqual)(self),
            Comparison::Lt => float(FloatCC::LessThan)(self),
            Comparison::Le => float(FloatCC::LessThanOrEqual)(self),
            Comparison::EqI => int(IntCC::Equal)(self),
            Comparison::LtI => int(IntCC::SignedLessThan)(self),
        }
    }

    /// Halves with halves, then the first lane in all.
    fn reduce(&mut self, op: VecOp, a: Value) -> ir::Value {
        let mut lanes = self.floats(a);
        for from in [[2, 3, 2, 3], [1, 1, 1, 1]] {
            let other = self.rearranged(lanes, lanes, from);
            lanes = self.lanes_op(op, lanes, other);
        }
        self.rearranged(lanes, lanes, [0, 0, 0, 0])
    }

    /// Lanes of a, counted from 0, and of b, from 4.
    fn rearranged(&mut self, a: ir::Value, b: ir::Value, from: [u8; LANES]) -> ir::Value {
        let bytes: Vec<u8> = from.iter().flat_map(|i| (0..4).map(move |byte| 4 * i + byte)).collect();
        let mask = self.b.func.dfg.immediates.push(bytes.into());
        let (a, b) = (self.as_type(a, I8X16), self.as_type(b, I8X16));
        let lanes = self.b.ins().shuffle(a, b, mask);
        self.as_type(lanes, F32X4)
    }
}

/// Blocks that can be reached, each after one of its predecessors at least and after all that dominate it.
fn reverse_postorder(function: &Function) -> Vec<usize> {
    let mut seen = vec![false; function.blocks.len()];
    let mut order = vec![];
    // Blocks with the number of successors that have been looked at.
    let mut stack = vec![(0, 0)];
    seen[0] = true;
    while let Some((block, next)) = stack.pop() {
        match function.blocks[block].successors.get(next) {
            None => order.push(block),
            Some(s) => {
                stack.push((block, next + 1));
                let s = s.0 as usize;
                if !std::mem::replace(&mut seen[s], true) {
                    stack.push((s, 0));
                }
            }
        }
    }
    order.reverse();
    order
}
