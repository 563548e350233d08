//! Instructions as bytes.

use super::allocate::MachineFunction;
use super::{EmitError, Stats};
use crate::vir::{Comparison, IntOp, MaskOp, Memory, Op, Reduction, UnaryOp, Unit, VecOp};
use engine::Isa;
use iced_x86::code_asm::{
    CodeAssembler, CodeLabel, dword_ptr, get_xmm, get_ymm, get_zmm, r11d, ymmword_ptr, zmmword_ptr,
};
use iced_x86::{Code, Instruction, MemoryOperand, Register};
use regalloc2::{Allocation, Edit, InstOrEdit, Output, RegClass};
use std::collections::HashMap;

type Result<T> = std::result::Result<T, EmitError>;

/// Registers a function must leave as it found them (System V).
const SAVED: [Register; 6] = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// The integer register that the allocator leaves alone, as 32 bits.
const SCRATCH_MASK: Register = Register::R11D;

struct Encoder<'a> {
    a: CodeAssembler,
    isa: Isa,
    lanes: usize,
    pool: HashMap<Vec<u32>, CodeLabel>,
    stats: Stats,
    out: &'a Output,
}

pub fn encode(code: &MachineFunction, out: &Output, isa: Isa) -> Result<(Vec<u8>, Stats)> {
    let stats = Stats { spill_slots: out.num_spillslots, ..Stats::default() };
    let mut e = Encoder { a: CodeAssembler::new(64)?, isa, lanes: isa.lanes(), pool: HashMap::new(), stats, out };
    let saved = e.saved_registers(code);
    let frame = (out.num_spillslots * 8) as i32;
    for r in &saved {
        e.one(Code::Push_r64, *r)?;
    }
    if frame > 0 {
        e.two_imm(Code::Sub_rm64_imm32, Register::RSP, frame)?;
    }
    let blocks = code.function.blocks.len();
    let mut labels: Vec<CodeLabel> = (0..blocks).map(|_| e.a.create_label()).collect();
    // A block that only jumps is not emitted: whoever branches to it goes on to its target.
    let forwards: Vec<Option<usize>> = (0..blocks).map(|b| e.forwards(code, b)).collect();
    let resolve = |b: usize| forwards[b].unwrap_or(b);
    for b in 0..blocks {
        if forwards[b].is_some() {
            continue;
        }
        e.a.set_label(&mut labels[b])?;
        let next = (b + 1..blocks).find(|n| forwards[*n].is_none());
        let block = &code.function.blocks[b];
        for step in out.block_insts_and_edits(code, regalloc2::Block::new(b)) {
            let index = match step {
                InstOrEdit::Edit(Edit::Move { from, to }) => {
                    e.edit(*from, *to)?;
                    continue;
                }
                InstOrEdit::Inst(i) => i.index(),
            };
            let allocs = out.inst_allocs(regalloc2::Inst::new(index));
            let target = |n: usize| resolve(block.successors[n].0 as usize);
            match code.inst(index).op {
                Op::Jump if Some(target(0)) == next => {}
                Op::Jump => e.a.jmp(labels[target(0)])?,
                Op::Branch => {
                    let r = int(allocs[0]);
                    e.two(Code::Test_rm64_r64, r, r)?;
                    if Some(target(0)) == next {
                        e.a.jz(labels[target(1)])?;
                    } else {
                        e.a.jnz(labels[target(0)])?;
                        if Some(target(1)) != next {
                            e.a.jmp(labels[target(1)])?;
                        }
                    }
                }
                Op::Return => {
                    if frame > 0 {
                        e.two_imm(Code::Add_rm64_imm32, Register::RSP, frame)?;
                    }
                    for r in saved.iter().rev() {
                        e.one(Code::Pop_r64, *r)?;
                    }
                    // Cranelift and system code use legacy SSE moves.
                    e.a.vzeroupper()?;
                    e.a.ret()?;
                }
                op => {
                    e.stats.instructions += 1;
                    e.inst(op, code.inst(index).operands.len(), allocs)?;
                }
            }
        }
        // A label needs an instruction to stand at.
        if code.starts[b] + 1 == code.starts[b + 1] && block.insts[0].op == Op::Jump {
            e.a.nop()?;
        }
    }
    let mut pool: Vec<(Vec<u32>, CodeLabel)> = e.pool.drain().collect();
    pool.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
    for (words, mut label) in pool {
        e.a.set_label(&mut label)?;
        e.a.dd(&words)?;
    }
    let bytes = e.a.assemble(0)?;
    e.stats.bytes = bytes.len();
    Ok((bytes, e.stats))
}

fn int(a: Allocation) -> Register {
    Register::RAX + a.as_reg().expect("operands are in registers").hw_enc() as u32
}

fn int32(a: Allocation) -> Register {
    Register::EAX + a.as_reg().expect("operands are in registers").hw_enc() as u32
}

fn mask(a: Allocation) -> Register {
    Register::K0 + a.as_reg().expect("operands are in registers").hw_enc() as u32
}

fn mem(base: Register, disp: i32) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, disp as i64)
}

impl Encoder<'_> {
    fn wide(&self) -> bool {
        self.isa == Isa::Avx512
    }

    fn vec(&self, a: Allocation) -> Register {
        let index = a.as_reg().expect("operands are in registers").hw_enc() as u32;
        if self.wide() { Register::ZMM0 + index } else { Register::YMM0 + index }
    }

    fn add(&mut self, i: Instruction) -> Result<()> {
        Ok(self.a.add_instruction(i)?)
    }

    fn one(&mut self, c: Code, r: Register) -> Result<()> {
        self.add(Instruction::with1(c, r)?)
    }

    fn two(&mut self, c: Code, x: Register, y: Register) -> Result<()> {
        self.add(Instruction::with2(c, x, y)?)
    }

    fn two_imm(&mut self, c: Code, x: Register, n: i32) -> Result<()> {
        self.add(Instruction::with2(c, x, n)?)
    }

    fn load(&mut self, c: Code, x: Register, m: MemoryOperand) -> Result<()> {
        self.add(Instruction::with2(c, x, m)?)
    }

    fn store(&mut self, c: Code, m: MemoryOperand, x: Register) -> Result<()> {
        self.add(Instruction::with2(c, m, x)?)
    }

    fn three(&mut self, c: Code, x: Register, y: Register, z: Register) -> Result<()> {
        self.add(Instruction::with3(c, x, y, z)?)
    }

    fn three_imm(&mut self, c: Code, x: Register, y: Register, n: i32) -> Result<()> {
        self.add(Instruction::with3(c, x, y, n)?)
    }

    fn saved_registers(&self, code: &MachineFunction) -> Vec<Register> {
        let mut used = [false; 16];
        let mut note = |a: &Allocation| {
            if let Some(r) = a.as_reg().filter(|r| r.class() == RegClass::Int) {
                used[r.hw_enc()] = true;
            }
        };
        for b in 0..code.function.blocks.len() {
            for step in self.out.block_insts_and_edits(code, regalloc2::Block::new(b)) {
                match step {
                    InstOrEdit::Inst(i) => self.out.inst_allocs(i).iter().for_each(&mut note),
                    InstOrEdit::Edit(Edit::Move { from, to }) => [from, to].into_iter().for_each(&mut note),
                }
            }
        }
        SAVED.into_iter().filter(|r| used[*r as usize - Register::RAX as usize]).collect()
    }

    fn forwards(&self, code: &MachineFunction, b: usize) -> Option<usize> {
        let block = &code.function.blocks[b];
        let quiet = |step: InstOrEdit| match step {
            InstOrEdit::Inst(_) => true,
            InstOrEdit::Edit(Edit::Move { from, to }) => from == to,
        };
        let alone = b > 0 && block.insts.len() == 1 && block.insts[0].op == Op::Jump;
        let idle = alone && self.out.block_insts_and_edits(code, regalloc2::Block::new(b)).all(quiet);
        // Chains of such blocks do not arise: loops and guards put code between them.
        idle.then(|| block.successors[0].0 as usize).filter(|to| *to != b)
    }

    /// A move of the register allocator: between registers, or a spill.
    fn edit(&mut self, from: Allocation, to: Allocation) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let class = from.as_reg().or(to.as_reg()).expect("regalloc2 moves through registers").class();
        let slot = |a: Allocation| mem(Register::RSP, a.as_stack().expect("not a register").index() as i32 * 8);
        match class {
            RegClass::Int => self.stats.integer_moves += 1,
            _ if from.is_reg() && to.is_reg() => self.stats.vector_moves += 1,
            _ => self.stats.vector_spills += 1,
        }
        let (both, in_, out) = match (class, self.wide()) {
            (RegClass::Int, _) => (Code::Mov_r64_rm64, Code::Mov_r64_rm64, Code::Mov_rm64_r64),
            (RegClass::Vector, _) => (Code::VEX_Kmovq_kr_km64, Code::VEX_Kmovq_kr_km64, Code::VEX_Kmovq_m64_kr),
            (_, true) => (
                Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
                Code::EVEX_Vmovups_zmm_k1z_zmmm512,
                Code::EVEX_Vmovups_zmmm512_k1z_zmm,
            ),
            (_, false) => (Code::VEX_Vmovaps_ymm_ymmm256, Code::VEX_Vmovups_ymm_ymmm256, Code::VEX_Vmovups_ymmm256_ymm),
        };
        let register = |e: &Self, a| match class {
            RegClass::Int => int(a),
            RegClass::Vector => mask(a),
            RegClass::Float => e.vec(a),
        };
        match (from.is_reg(), to.is_reg()) {
            (true, true) => {
                let (x, y) = (register(self, to), register(self, from));
                self.two(both, x, y)
            }
            (false, true) => {
                let x = register(self, to);
                self.load(in_, x, slot(from))
            }
            _ => {
                let x = register(self, from);
                self.store(out, slot(to), x)
            }
        }
    }

    fn constant(&mut self, words: &[u32]) -> CodeLabel {
        if let Some(label) = self.pool.get(words) {
            return *label;
        }
        let label = self.a.create_label();
        self.pool.insert(words.to_vec(), label);
        label
    }

    fn load_constant(&mut self, to: Register, words: &[u32]) -> Result<()> {
        let label = self.constant(words);
        match (words.len(), self.wide()) {
            (1, true) => self.a.vbroadcastss(get_zmm(to).expect("a vector register"), dword_ptr(label))?,
            (1, false) => self.a.vbroadcastss(get_ymm(to).expect("a vector register"), dword_ptr(label))?,
            (_, true) => self.a.vmovups(get_zmm(to).expect("a vector register"), zmmword_ptr(label))?,
            (_, false) => self.a.vmovups(get_ymm(to).expect("a vector register"), ymmword_ptr(label))?,
        }
        Ok(())
    }

    fn zero(&mut self, x: Register) -> Result<()> {
        let code = if self.wide() { Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32 } else { Code::VEX_Vpxor_ymm_ymm_ymmm256 };
        self.three(code, x, x, x)
    }

    /// i32 in r11 to all lanes.
    fn splat_scratch(&mut self, to: Register) -> Result<()> {
        if self.wide() {
            return self.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, to, Register::R11D);
        }
        let low = Register::XMM0 + (to as u32 - Register::YMM0 as u32);
        self.two(Code::VEX_Vmovd_xmm_rm32, low, Register::R11D)?;
        self.two(Code::VEX_Vpbroadcastd_ymm_xmmm32, to, low)
    }

    fn inst(&mut self, op: Op, uses: usize, x: &[Allocation]) -> Result<()> {
        let last = x.len() - 1;
        match op {
            Op::Param(_) | Op::Jump | Op::Branch | Op::Return => Ok(()),
            Op::Const(0) => self.two(Code::Xor_r32_rm32, int32(x[0]), int32(x[0])),
            Op::Const(n) if u32::try_from(n).is_ok() => {
                self.add(Instruction::with2(Code::Mov_r32_imm32, int32(x[0]), n as u32)?)
            }
            Op::Const(n) => self.add(Instruction::with2(Code::Mov_r64_imm64, int(x[0]), n)?),
            Op::Int(op) => self.int_op(op, x),
            Op::AddImm(n) if x[0] == x[1] => self.two_imm(Code::Add_rm64_imm32, int(x[1]), n),
            Op::AddImm(n) => self.load(Code::Lea_r64_m, int(x[1]), mem(int(x[0]), n)),
            Op::MulImm(n) => self.three_imm(Code::Imul_r64_rm64_imm32, int(x[1]), int(x[0]), n),
            Op::ShrImm(n) => self.add(Instruction::with2(Code::Shr_rm64_imm8, int(x[1]), n as u32)?),
            Op::LoadI64(d) => self.load(Code::Mov_r64_rm64, int(x[1]), mem(int(x[0]), d)),
            Op::LoadI32(d) => self.load(Code::Movsxd_r64_rm32, int(x[1]), mem(int(x[0]), d)),
            Op::LoadU8(d) => self.load(Code::Movzx_r32_rm8, int32(x[1]), mem(int(x[0]), d)),
            Op::StoreI64(d) => self.store(Code::Mov_rm64_r64, mem(int(x[0]), d), int(x[1])),
            Op::Load { memory, disp } => self.vector_load(memory, disp, uses, x),
            Op::Broadcast { memory: memory @ (Memory::U8 | Memory::U16), disp } => {
                let code = if memory == Memory::U8 { Code::Movzx_r32_rm8 } else { Code::Movzx_r32_rm16 };
                self.load(code, Register::R11D, mem(int(x[0]), disp))?;
                self.splat_scratch(self.vec(x[1]))
            }
            Op::Broadcast { disp, .. } => {
                let code =
                    if self.wide() { Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32 } else { Code::VEX_Vbroadcastss_ymm_m32 };
                self.load(code, self.vec(x[1]), mem(int(x[0]), disp))
            }
            Op::Store { memory, disp } => self.vector_store(memory, disp, uses, x),
            Op::StoreStream { disp } => self.store_stream(disp, x),
            Op::Gather { disp } => self.gather(disp, x),
            Op::Prefetch { disp } => self.add(Instruction::with1(Code::Prefetcht0_m8, mem(int(x[0]), disp))?),
            Op::Splat(0) => self.zero(self.vec(x[0])),
            Op::Splat(bits) => self.load_constant(self.vec(x[0]), &[bits]),
            Op::Iota => {
                let words: Vec<u32> = (0..self.lanes as u32).collect();
                self.load_constant(self.vec(x[0]), &words)
            }
            Op::Entries { table, first } => {
                let entries = &table.entries()[first as usize..][..self.lanes];
                let words: Vec<u32> = entries.iter().map(|e| e.to_bits()).collect();
                self.load_constant(self.vec(x[0]), &words)
            }
            Op::Permute => {
                let code = if self.wide() {
                    Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32
                } else {
                    Code::VEX_Vpermps_ymm_ymm_ymmm256
                };
                self.three(code, self.vec(x[2]), self.vec(x[1]), self.vec(x[0]))
            }
            Op::SplatInt => {
                self.two(Code::Mov_r32_rm32, Register::R11D, int32(x[0]))?;
                self.splat_scratch(self.vec(x[1]))
            }
            Op::Vec(VecOp::Ldexp) if !self.wide() => self.ldexp(x),
            Op::Vec(op) => {
                let code = vec_code(op, self.wide());
                self.three(code, self.vec(x[2]), self.vec(x[0]), self.vec(x[1]))
            }
            Op::Unzip { unit, odd } => {
                let n = match (unit, self.wide(), odd) {
                    (Unit::Block, false, false) => 0x20,
                    (Unit::Block, false, true) => 0x31,
                    (_, _, false) => 0x88,
                    (_, _, true) => 0xdd,
                };
                let code = match (unit, self.wide()) {
                    (Unit::Lane, true) => Code::EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8,
                    (Unit::Lane, false) => Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8,
                    (Unit::Block, true) => Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8,
                    (Unit::Block, false) => Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
                };
                self.add(Instruction::with4(code, self.vec(x[2]), self.vec(x[0]), self.vec(x[1]), n)?)
            }
            Op::Zip { high } => self.zip(high, x),
            Op::FmaAcc => {
                let code = if self.wide() {
                    Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er
                } else {
                    Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256
                };
                self.three(code, self.vec(x[3]), self.vec(x[0]), self.vec(x[1]))
            }
            Op::Fma => {
                let code = if self.wide() {
                    Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er
                } else {
                    Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256
                };
                self.three(code, self.vec(x[3]), self.vec(x[1]), self.vec(x[2]))
            }
            Op::Unary(op) => self.unary(op, x),
            Op::Compare(op) => self.compare(op, x),
            Op::Select if self.wide() => {
                let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
                let mut i = Instruction::with3(code, self.vec(x[3]), self.vec(x[2]), self.vec(x[1]))?;
                i.set_op_mask(mask(x[0]));
                self.add(i)
            }
            Op::Select => {
                let (d, m, a, b) = (self.vec(x[3]), self.vec(x[0]), self.vec(x[1]), self.vec(x[2]));
                self.add(Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, d, b, a, m)?)
            }
            Op::Mask(op) => self.mask_op(op, x),
            Op::MaskConst(bits) if self.wide() => {
                self.a.mov(r11d, bits)?;
                self.two(Code::VEX_Kmovw_kr_r32, mask(x[0]), Register::R11D)
            }
            Op::MaskConst(bits) => {
                let words: Vec<u32> = (0..self.lanes).map(|i| if bits >> i & 1 == 1 { u32::MAX } else { 0 }).collect();
                self.load_constant(self.vec(x[0]), &words)
            }
            Op::MaskFirst if self.wide() => {
                self.a.mov(r11d, u32::MAX)?;
                self.three(Code::VEX_Bzhi_r32_rm32_r32, Register::R11D, Register::R11D, int32(x[0]))?;
                self.two(Code::VEX_Kmovw_kr_r32, mask(x[1]), Register::R11D)
            }
            Op::MaskFirst => {
                self.two(Code::Mov_r32_rm32, Register::R11D, int32(x[0]))?;
                let d = self.vec(x[1]);
                self.splat_scratch(d)?;
                let words: Vec<u32> = (0..self.lanes as u32).collect();
                let label = self.constant(&words);
                let d = get_ymm(d).expect("a vector register");
                Ok(self.a.vpcmpgtd(d, d, ymmword_ptr(label))?)
            }
            Op::Reduce(op) => self.reduce(op, x[0], x[1], x[last]),
        }
    }

    fn int_op(&mut self, op: IntOp, x: &[Allocation]) -> Result<()> {
        let (d, a, b) = (int(x[2]), int(x[0]), int(x[1]));
        match op {
            IntOp::Add => {
                let m = MemoryOperand::new(a, b, 1, 0, 0, false, Register::None);
                self.load(Code::Lea_r64_m, d, m)
            }
            IntOp::Sub => self.two(Code::Sub_rm64_r64, d, b),
            IntOp::Mul => self.two(Code::Imul_r64_rm64, d, b),
            IntOp::And => self.two(Code::And_rm64_r64, d, b),
            IntOp::Or => self.two(Code::Or_rm64_r64, d, b),
            IntOp::Xor => self.two(Code::Xor_rm64_r64, d, b),
            IntOp::Min | IntOp::Max => {
                self.two(Code::Cmp_rm64_r64, d, b)?;
                let code = if op == IntOp::Min { Code::Cmovg_r64_rm64 } else { Code::Cmovl_r64_rm64 };
                self.two(code, d, b)
            }
        }
    }

    fn vector_load(&mut self, memory: Memory, disp: i32, uses: usize, x: &[Allocation]) -> Result<()> {
        let (to, from) = (self.vec(x[x.len() - 1]), mem(int(x[0]), disp));
        if self.wide() {
            let code = match memory {
                Memory::F32 | Memory::I32 => Code::EVEX_Vmovups_zmm_k1z_zmmm512,
                Memory::U8 => Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128,
                Memory::U16 => Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256,
            };
            let mut i = Instruction::with2(code, to, from)?;
            if uses == 2 {
                i.set_op_mask(mask(x[1]));
                i.set_zeroing_masking(true);
            }
            return self.add(i);
        }
        match (memory, uses) {
            (Memory::F32 | Memory::I32, 1) => self.load(Code::VEX_Vmovups_ymm_ymmm256, to, from),
            (Memory::F32 | Memory::I32, _) => {
                let m = self.vec(x[1]);
                self.add(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, to, m, from)?)
            }
            (Memory::U8 | Memory::U16, _) => {
                let (extend, insert) = match memory {
                    Memory::U8 => (Code::VEX_Vpmovzxbd_ymm_xmmm64, Code::VEX_Vpinsrb_xmm_xmm_r32m8_imm8),
                    _ => (Code::VEX_Vpmovzxwd_ymm_xmmm128, Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8),
                };
                if uses == 1 {
                    return self.load(extend, to, from);
                }
                let low = self.low_half(to);
                self.zero(to)?;
                self.each_lane(self.vec(x[1]), &mut |e, lane| {
                    let at = mem(int(x[0]), disp + lane * memory.size() as i32);
                    e.add(Instruction::with4(insert, low, low, at, lane)?)
                })?;
                self.two(extend, to, low)
            }
        }
    }

    fn vector_store(&mut self, memory: Memory, disp: i32, uses: usize, x: &[Allocation]) -> Result<()> {
        let (to, from) = (mem(int(x[0]), disp), self.vec(x[1]));
        if self.wide() {
            let code = match memory {
                Memory::F32 | Memory::I32 => Code::EVEX_Vmovups_zmmm512_k1z_zmm,
                Memory::U8 => Code::EVEX_Vpmovdb_xmmm128_k1z_zmm,
                Memory::U16 => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
            };
            let mut i = Instruction::with2(code, to, from)?;
            if uses == 3 {
                i.set_op_mask(mask(x[2]));
            }
            return self.add(i);
        }
        match (memory, uses) {
            (Memory::F32 | Memory::I32, 2) => self.store(Code::VEX_Vmovups_ymmm256_ymm, to, from),
            (Memory::F32 | Memory::I32, _) => {
                let m = self.vec(x[2]);
                self.add(Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, to, m, from)?)
            }
            (Memory::U8 | Memory::U16, _) => {
                let (extract, size) = match memory {
                    Memory::U8 => (Code::VEX_Vpextrb_r32m8_xmm_imm8, 1),
                    _ => (Code::VEX_Vpextrw_r32m16_xmm_imm8, 2),
                };
                let (low, high) = (self.low_half(from), self.low_half(self.vec(x[uses])));
                self.three_imm(Code::VEX_Vextracti128_xmmm128_ymm_imm8, high, from, 1)?;
                let mut put = |e: &mut Self, lane: i32| {
                    let half = if lane < 4 { low } else { high };
                    let at = mem(int(x[0]), disp + lane * size);
                    e.add(Instruction::with3(extract, at, half, lane % 4 * (4 / size))?)
                };
                match uses {
                    3 => self.each_lane(self.vec(x[2]), &mut put),
                    _ => (0..8).try_for_each(|lane| put(self, lane)),
                }
            }
        }
    }

    /// Runs what `code` emits for each lane of AVX2 whose bit of the mask is set: small elements have no masked moves
    /// there.
    fn each_lane(&mut self, mask: Register, code: &mut dyn FnMut(&mut Self, i32) -> Result<()>) -> Result<()> {
        self.two(Code::VEX_Vmovmskps_r32_ymm, SCRATCH_MASK, mask)?;
        for lane in 0..8 {
            let mut skip = self.a.create_label();
            self.two_imm(Code::Test_rm32_imm32, SCRATCH_MASK, 1 << lane)?;
            self.a.jz(skip)?;
            code(self, lane)?;
            self.a.set_label(&mut skip)?;
        }
        // A label needs an instruction to stand at.
        Ok(self.a.nop()?)
    }

    fn low_half(&self, x: Register) -> Register {
        let index = x as u32 - Register::YMM0 as u32;
        Register::XMM0 + index
    }

    fn gather(&mut self, disp: i32, x: &[Allocation]) -> Result<()> {
        let to = self.vec(x[x.len() - 1]);
        let at = MemoryOperand::new(int(x[0]), self.vec(x[1]), 4, disp as i64, 1, false, Register::None);
        self.zero(to)?;
        if self.wide() {
            // The gather clears its mask as it goes.
            self.two(Code::VEX_Kmovw_kr_km16, Register::K7, mask(x[2]))?;
            let mut i = Instruction::with2(Code::EVEX_Vgatherdps_zmm_k1_vm32z, to, at)?;
            i.set_op_mask(Register::K7);
            return self.add(i);
        }
        let copy = self.vec(x[3]);
        self.two(Code::VEX_Vmovaps_ymm_ymmm256, copy, self.vec(x[2]))?;
        self.add(Instruction::with3(Code::VEX_Vgatherdps_ymm_vm32y_ymm, to, at, copy)?)
    }

    fn zip(&mut self, high: bool, x: &[Allocation]) -> Result<()> {
        let (a, b, d) = (self.vec(x[0]), self.vec(x[1]), self.vec(*x.last().expect("a result")));
        if self.wide() {
            let first = if high { 8 } else { 0 };
            let places: Vec<u32> = (0..16).map(|i| first + i / 2 + i % 2 * 16).collect();
            self.load_constant(d, &places)?;
            return self.three(Code::EVEX_Vpermi2ps_zmm_k1z_zmm_zmmm512b32, d, a, b);
        }
        let upper = self.vec(x[2]);
        self.three(Code::VEX_Vunpckhps_ymm_ymm_ymmm256, upper, a, b)?;
        self.three(Code::VEX_Vunpcklps_ymm_ymm_ymmm256, d, a, b)?;
        let blocks = if high { 0x31 } else { 0x20 };
        self.add(Instruction::with4(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, d, d, upper, blocks)?)
    }

    /// The processor stores past the caches at aligned addresses only, hence the branch, always the same way in a loop.
    fn store_stream(&mut self, disp: i32, x: &[Allocation]) -> Result<()> {
        let (streamed, plain) = match self.wide() {
            true => (Code::EVEX_Vmovntps_m512_zmm, Code::EVEX_Vmovups_zmmm512_k1z_zmm),
            false => (Code::VEX_Vmovntps_m256_ymm, Code::VEX_Vmovups_ymmm256_ymm),
        };
        let (pointer, value) = (int(x[0]), self.vec(x[1]));
        let size = 4 * self.isa.lanes() as i32;
        if disp % size != 0 {
            return self.store(plain, mem(pointer, disp), value);
        }
        let (mut unaligned, mut end) = (self.a.create_label(), self.a.create_label());
        self.two_imm(Code::Test_rm64_imm32, pointer, size - 1)?;
        self.a.jnz(unaligned)?;
        self.store(streamed, mem(pointer, disp), value)?;
        self.a.jmp(end)?;
        self.a.set_label(&mut unaligned)?;
        self.store(plain, mem(pointer, disp), value)?;
        self.a.set_label(&mut end)?;
        Ok(self.a.zero_bytes()?)
    }

    /// `x * 2^h * 2^(n - h)`, `h = floor(n / 2)`, by building the powers' exponents.
    fn ldexp(&mut self, x: &[Allocation]) -> Result<()> {
        let (a, n, half, rest, d) = (self.vec(x[0]), self.vec(x[1]), self.vec(x[2]), self.vec(x[3]), self.vec(x[4]));
        let bias = self.constant(&[127; 8]);
        let bias = ymmword_ptr(bias);
        let y = |r: Register| get_ymm(r).expect("a vector register");
        self.a.vcvtps2dq(y(rest), y(n))?;
        self.a.vpsrad(y(half), y(rest), 1u32)?;
        self.a.vpsubd(y(rest), y(rest), y(half))?;
        self.a.vpaddd(y(half), y(half), bias)?;
        self.a.vpaddd(y(rest), y(rest), bias)?;
        self.a.vpslld(y(half), y(half), 23u32)?;
        self.a.vpslld(y(rest), y(rest), 23u32)?;
        self.a.vmulps(y(d), y(a), y(half))?;
        Ok(self.a.vmulps(y(d), y(d), y(rest))?)
    }

    fn unary(&mut self, op: UnaryOp, x: &[Allocation]) -> Result<()> {
        let (d, a) = (self.vec(x[1]), self.vec(x[0]));
        let rounding = match op {
            UnaryOp::Round => 0,
            UnaryOp::Floor => 1,
            UnaryOp::Ceil => 2,
            _ => 3,
        };
        let code = match (op, self.wide()) {
            (UnaryOp::Sqrt, true) => Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er,
            (UnaryOp::Sqrt, false) => Code::VEX_Vsqrtps_ymm_ymmm256,
            (UnaryOp::ToFloat, true) => Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
            (UnaryOp::ToFloat, false) => Code::VEX_Vcvtdq2ps_ymm_ymmm256,
            (UnaryOp::ToInt, true) => Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae,
            (UnaryOp::ToInt, false) => Code::VEX_Vcvttps2dq_ymm_ymmm256,
            (_, true) => return self.three_imm(Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, d, a, rounding),
            (_, false) => return self.three_imm(Code::VEX_Vroundps_ymm_ymmm256_imm8, d, a, rounding),
        };
        self.two(code, d, a)
    }

    fn compare(&mut self, op: Comparison, x: &[Allocation]) -> Result<()> {
        let (a, b) = (self.vec(x[0]), self.vec(x[1]));
        let predicate = match op {
            Comparison::Eq => 0,
            Comparison::Lt => 1,
            Comparison::Le => 2,
            Comparison::Ne | Comparison::EqI | Comparison::LtI => 4,
        };
        if self.wide() {
            let d = mask(x[2]);
            return match op {
                Comparison::EqI => self.three(Code::EVEX_Vpcmpeqd_kr_k1_zmm_zmmm512b32, d, a, b),
                Comparison::LtI => self.three(Code::EVEX_Vpcmpgtd_kr_k1_zmm_zmmm512b32, d, b, a),
                _ => self.add(Instruction::with4(Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, d, a, b, predicate)?),
            };
        }
        let d = self.vec(x[2]);
        match op {
            Comparison::EqI => self.three(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, d, a, b),
            Comparison::LtI => self.three(Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, d, b, a),
            _ => self.add(Instruction::with4(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, d, a, b, predicate)?),
        }
    }

    fn mask_op(&mut self, op: MaskOp, x: &[Allocation]) -> Result<()> {
        let (wide, narrow) = match op {
            MaskOp::And => (Code::VEX_Kandw_kr_kr_kr, Code::VEX_Vandps_ymm_ymm_ymmm256),
            MaskOp::Or => (Code::VEX_Korw_kr_kr_kr, Code::VEX_Vorps_ymm_ymm_ymmm256),
            MaskOp::Xor => (Code::VEX_Kxorw_kr_kr_kr, Code::VEX_Vxorps_ymm_ymm_ymmm256),
            MaskOp::AndNot => (Code::VEX_Kandnw_kr_kr_kr, Code::VEX_Vandnps_ymm_ymm_ymmm256),
        };
        // The instruction negates its first operand; ours is the second.
        let (a, b) = if op == MaskOp::AndNot { (x[1], x[0]) } else { (x[0], x[1]) };
        if self.wide() {
            self.three(wide, mask(x[2]), mask(a), mask(b))
        } else {
            self.three(narrow, self.vec(x[2]), self.vec(a), self.vec(b))
        }
    }

    fn reduce(&mut self, op: Reduction, from: Allocation, temporary: Allocation, to: Allocation) -> Result<()> {
        let (a, t, d) = (self.vec(from), self.vec(temporary), self.vec(to));
        let code = vec_code(op.op(), self.wide());
        let mut current = a;
        if self.wide() {
            for halves in [0x4e, 0xb1] {
                let shuffle = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                self.add(Instruction::with4(shuffle, t, current, current, halves)?)?;
                self.three(code, d, current, t)?;
                current = d;
            }
        } else {
            let permute = Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8;
            self.add(Instruction::with4(permute, t, a, a, 1)?)?;
            self.three(code, d, a, t)?;
        }
        let within = if self.wide() {
            Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8
        } else {
            Code::VEX_Vpermilps_ymm_ymmm256_imm8
        };
        for order in [0x4e, 0xb1] {
            self.three_imm(within, t, d, order)?;
            self.three(code, d, d, t)?;
        }
        if matches!(op, Reduction::Max | Reduction::Min) {
            // Zeros of both signs compare equal, so lanes may differ: the first one counts.
            let index = d as u32 - if self.wide() { Register::ZMM0 } else { Register::YMM0 } as u32;
            let low = get_xmm(Register::XMM0 + index).expect("a vector register");
            match self.wide() {
                true => self.a.vbroadcastss(get_zmm(d).expect("a vector register"), low)?,
                false => self.a.vbroadcastss(get_ymm(d).expect("a vector register"), low)?,
            }
        }
        Ok(())
    }
}

fn vec_code(op: VecOp, wide: bool) -> Code {
    let (zmm, ymm) = match op {
        VecOp::Add => (Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, Code::VEX_Vaddps_ymm_ymm_ymmm256),
        VecOp::Sub => (Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er, Code::VEX_Vsubps_ymm_ymm_ymmm256),
        VecOp::Mul => (Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er, Code::VEX_Vmulps_ymm_ymm_ymmm256),
        VecOp::Div => (Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, Code::VEX_Vdivps_ymm_ymm_ymmm256),
        VecOp::Min => (Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae, Code::VEX_Vminps_ymm_ymm_ymmm256),
        VecOp::Max => (Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae, Code::VEX_Vmaxps_ymm_ymm_ymmm256),
        VecOp::Ldexp => (Code::EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er, Code::INVALID),
        VecOp::AddI => (Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpaddd_ymm_ymm_ymmm256),
        VecOp::SubI => (Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpsubd_ymm_ymm_ymmm256),
        VecOp::MulI => (Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpmulld_ymm_ymm_ymmm256),
        VecOp::MinI => (Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpminsd_ymm_ymm_ymmm256),
        VecOp::MaxI => (Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpmaxsd_ymm_ymm_ymmm256),
        VecOp::And => (Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vandps_ymm_ymm_ymmm256),
        VecOp::Or => (Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vorps_ymm_ymm_ymmm256),
        VecOp::Xor => (Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vxorps_ymm_ymm_ymmm256),
        VecOp::Shl => (Code::EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpsllvd_ymm_ymm_ymmm256),
        VecOp::Shr => (Code::EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32, Code::VEX_Vpsravd_ymm_ymm_ymmm256),
    };
    if wide { zmm } else { ymm }
}
