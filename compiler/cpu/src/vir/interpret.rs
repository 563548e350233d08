//! Runs a function over host memory, lane by lane. Machine code must agree with it bit for bit.

use super::{Comparison, Function, Inst, IntOp, MaskOp, Memory, Op, Type, UnaryOp, Unit, Value, VecOp};

#[derive(Clone)]
enum Slot {
    Int(i64),
    Vec(Vec<u32>),
    Mask(u32),
}

struct Machine<'a> {
    function: &'a Function,
    slots: Vec<Slot>,
}

/// Runs `function`.
///
/// # Safety
/// As for compiled code: the table must hold what the function expects, and its pointers must be valid.
pub unsafe fn run(function: &Function, table: *const u64, begin: i64, end: i64) {
    let slots = function.types.iter().map(|ty| match ty {
        Type::I64 => Slot::Int(0),
        Type::Vec => Slot::Vec(vec![0; function.lanes]),
        Type::Mask => Slot::Mask(0),
    });
    let mut m = Machine { function, slots: slots.collect() };
    let mut at = 0;
    'blocks: loop {
        let block = &function.blocks[at];
        for inst in &block.insts {
            let to = match inst.op {
                Op::Jump => 0,
                Op::Branch => (m.int(inst.operands[0]) == 0) as usize,
                Op::Return => return,
                Op::Param(i) => {
                    let value = [table as i64, begin, end][i as usize];
                    m.set(inst, Slot::Int(value));
                    continue;
                }
                _ => {
                    // SAFETY: the caller vouches for the pointers.
                    unsafe { m.step(inst) };
                    continue;
                }
            };
            at = block.successors[to].0 as usize;
            let values: Vec<Slot> = block.arguments.iter().map(|v| m.slots[v.0 as usize].clone()).collect();
            for (param, value) in function.blocks[at].params.iter().zip(values) {
                m.slots[param.0 as usize] = value;
            }
            continue 'blocks;
        }
        return;
    }
}

impl Machine<'_> {
    fn int(&self, v: Value) -> i64 {
        match &self.slots[v.0 as usize] {
            Slot::Int(n) => *n,
            _ => unreachable!("the verifier proved that {v} is an integer"),
        }
    }

    fn vec(&self, v: Value) -> &[u32] {
        match &self.slots[v.0 as usize] {
            Slot::Vec(lanes) => lanes,
            _ => unreachable!("the verifier proved that {v} is a vector"),
        }
    }

    fn mask(&self, v: Value) -> u32 {
        match &self.slots[v.0 as usize] {
            Slot::Mask(m) => *m,
            _ => unreachable!("the verifier proved that {v} is a mask"),
        }
    }

    fn set(&mut self, inst: &Inst, value: Slot) {
        if let Some(r) = inst.result {
            self.slots[r.0 as usize] = value;
        }
    }

    fn all(&self) -> u32 {
        ((1u64 << self.function.lanes) - 1) as u32
    }

    fn lanes(&self, f: impl FnMut(usize) -> u32) -> Slot {
        Slot::Vec((0..self.function.lanes).map(f).collect())
    }

    fn bits(&self, f: impl Fn(usize) -> bool) -> Slot {
        Slot::Mask((0..self.function.lanes).map(|i| (f(i) as u32) << i).sum())
    }

    unsafe fn step(&mut self, inst: &Inst) {
        let o = &inst.operands;
        let pointer = |m: &Self, disp: i32| (m.int(o[0]) + disp as i64) as usize;
        // SAFETY of all reads and writes below: the caller of `run` vouches for the pointers.
        let value = match inst.op {
            Op::Const(n) => Slot::Int(n),
            Op::Int(op) => {
                let (a, b) = (self.int(o[0]), self.int(o[1]));
                Slot::Int(match op {
                    IntOp::Add => a.wrapping_add(b),
                    IntOp::Sub => a.wrapping_sub(b),
                    IntOp::Mul => a.wrapping_mul(b),
                    IntOp::Min => a.min(b),
                    IntOp::Max => a.max(b),
                    IntOp::And => a & b,
                    IntOp::Or => a | b,
                    IntOp::Xor => a ^ b,
                })
            }
            Op::AddImm(n) => Slot::Int(self.int(o[0]).wrapping_add(n as i64)),
            Op::MulImm(n) => Slot::Int(self.int(o[0]).wrapping_mul(n as i64)),
            Op::ShrImm(n) => Slot::Int((self.int(o[0]) as u64 >> n) as i64),
            Op::LoadI64(d) => Slot::Int(unsafe { (pointer(self, d) as *const i64).read_unaligned() }),
            Op::LoadI32(d) => Slot::Int(unsafe { (pointer(self, d) as *const i32).read_unaligned() } as i64),
            Op::LoadU8(d) => Slot::Int(unsafe { *(pointer(self, d) as *const u8) } as i64),
            Op::StoreI64(d) => {
                let value = self.int(o[1]);
                unsafe { (pointer(self, d) as *mut i64).write_unaligned(value) };
                return;
            }
            Op::Load { memory, disp } => {
                let mask = o.get(1).map_or(self.all(), |m| self.mask(*m));
                let base = pointer(self, disp);
                self.lanes(|i| match mask >> i & 1 {
                    0 => 0,
                    _ => unsafe { read(memory, base + i * memory.size() as usize) },
                })
            }
            Op::Broadcast { memory, disp } => {
                let bits = unsafe { read(memory, pointer(self, disp)) };
                self.lanes(|_| bits)
            }
            Op::Store { memory, disp } => {
                let mask = o.get(2).map_or(self.all(), |m| self.mask(*m));
                let base = pointer(self, disp);
                for (i, bits) in self.vec(o[1]).iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1) {
                    unsafe { write(memory, base + i * memory.size() as usize, *bits) };
                }
                return;
            }
            Op::StoreStream { disp } => {
                let base = pointer(self, disp);
                for (i, bits) in self.vec(o[1]).iter().enumerate() {
                    unsafe { write(Memory::F32, base + i * 4, *bits) };
                }
                return;
            }
            Op::Gather { disp } => {
                let (base, mask) = (pointer(self, disp), self.mask(o[2]));
                let index = self.vec(o[1]);
                self.lanes(|i| match mask >> i & 1 {
                    0 => 0,
                    _ => unsafe { read(Memory::F32, (base as i64 + 4 * index[i] as i32 as i64) as usize) },
                })
            }
            Op::Splat(bits) => self.lanes(|_| bits),
            Op::Iota => self.lanes(|i| i as u32),
            Op::Entries { table, first } => self.lanes(|i| table.entries()[first as usize + i].to_bits()),
            Op::Permute => {
                let (a, index) = (self.vec(o[0]), self.vec(o[1]));
                self.lanes(|i| a[index[i] as usize % a.len()])
            }
            Op::SplatInt => {
                let n = self.int(o[0]) as u32;
                self.lanes(|_| n)
            }
            Op::Vec(op) => {
                let (a, b) = (self.vec(o[0]), self.vec(o[1]));
                self.lanes(|i| vec_op(op, a[i], b[i]))
            }
            Op::Unzip { unit, odd } => {
                let (a, b) = (self.vec(o[0]), self.vec(o[1]));
                let moved = |lane: usize| match unit {
                    Unit::Lane => lane / 4 * 4 + (lane * 2 + odd as usize) % 4,
                    Unit::Block => (lane / 4 * 2 + odd as usize) % (a.len() / 4) * 4 + lane % 4,
                };
                let from_b = |lane: usize| match unit {
                    Unit::Lane => lane % 4 >= 2,
                    Unit::Block => lane >= a.len() / 2,
                };
                self.lanes(|i| if from_b(i) { b[moved(i)] } else { a[moved(i)] })
            }
            Op::Zip { high } => {
                let (a, b) = (self.vec(o[0]), self.vec(o[1]));
                let first = if high { a.len() / 2 } else { 0 };
                self.lanes(|i| [a, b][i % 2][first + i / 2])
            }
            Op::FmaAcc | Op::Fma => {
                let (a, b, c) = (self.vec(o[0]), self.vec(o[1]), self.vec(o[2]));
                let f = f32::from_bits;
                self.lanes(|i| f(a[i]).mul_add(f(b[i]), f(c[i])).to_bits())
            }
            Op::Unary(op) => {
                let a = self.vec(o[0]);
                self.lanes(|i| unary_op(op, a[i]))
            }
            Op::Compare(op) => {
                let (a, b) = (self.vec(o[0]), self.vec(o[1]));
                self.bits(|i| compare(op, a[i], b[i]))
            }
            Op::Select => {
                let (m, a, b) = (self.mask(o[0]), self.vec(o[1]), self.vec(o[2]));
                self.lanes(|i| if m >> i & 1 == 1 { a[i] } else { b[i] })
            }
            Op::Mask(op) => {
                let (a, b) = (self.mask(o[0]), self.mask(o[1]));
                Slot::Mask(match op {
                    MaskOp::And => a & b,
                    MaskOp::Or => a | b,
                    MaskOp::AndNot => a & !b,
                    MaskOp::Xor => a ^ b,
                })
            }
            Op::MaskConst(m) => Slot::Mask(m & self.all()),
            Op::MaskFirst => {
                let n = self.int(o[0]);
                self.bits(|i| (i as i64) < n)
            }
            Op::Reduce(op) => {
                let mut lanes = self.vec(o[0]).to_vec();
                while lanes.len() > 1 {
                    let upper = lanes.split_off(lanes.len() / 2);
                    for (a, b) in lanes.iter_mut().zip(upper) {
                        *a = vec_op(op.op(), *a, b);
                    }
                }
                self.lanes(|_| lanes[0])
            }
            Op::Prefetch { .. } => return,
            Op::Param(_) | Op::Jump | Op::Branch | Op::Return => unreachable!("handled by the loop"),
        };
        self.set(inst, value);
    }
}

unsafe fn read(memory: Memory, at: usize) -> u32 {
    // SAFETY: the caller of `run` vouches for the pointers.
    unsafe {
        match memory {
            Memory::F32 | Memory::I32 => (at as *const u32).read_unaligned(),
            Memory::U8 => *(at as *const u8) as u32,
            Memory::U16 => (at as *const u16).read_unaligned() as u32,
        }
    }
}

unsafe fn write(memory: Memory, at: usize, bits: u32) {
    // SAFETY: as above.
    unsafe {
        match memory {
            Memory::F32 | Memory::I32 => (at as *mut u32).write_unaligned(bits),
            Memory::U8 => *(at as *mut u8) = bits as u8,
            Memory::U16 => (at as *mut u16).write_unaligned(bits as u16),
        }
    }
}

fn vec_op(op: VecOp, a: u32, b: u32) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    let (i, j) = (a as i32, b as i32);
    match op {
        VecOp::Add => (x + y).to_bits(),
        VecOp::Sub => (x - y).to_bits(),
        VecOp::Mul => (x * y).to_bits(),
        VecOp::Div => (x / y).to_bits(),
        VecOp::Min => (if x < y { x } else { y }).to_bits(),
        VecOp::Max => (if x > y { x } else { y }).to_bits(),
        VecOp::Ldexp => ((x as f64 * (y as f64).exp2()) as f32).to_bits(),
        VecOp::AddI => i.wrapping_add(j) as u32,
        VecOp::SubI => i.wrapping_sub(j) as u32,
        VecOp::MulI => i.wrapping_mul(j) as u32,
        VecOp::MinI => i.min(j) as u32,
        VecOp::MaxI => i.max(j) as u32,
        VecOp::And => a & b,
        VecOp::Or => a | b,
        VecOp::Xor => a ^ b,
        VecOp::Shl => a.wrapping_shl(b),
        VecOp::Shr => i.wrapping_shr(b) as u32,
    }
}

fn unary_op(op: UnaryOp, a: u32) -> u32 {
    let x = f32::from_bits(a);
    match op {
        UnaryOp::Sqrt => x.sqrt().to_bits(),
        UnaryOp::Round => x.round_ties_even().to_bits(),
        UnaryOp::Floor => x.floor().to_bits(),
        UnaryOp::Ceil => x.ceil().to_bits(),
        UnaryOp::Trunc => x.trunc().to_bits(),
        UnaryOp::ToFloat => (a as i32 as f32).to_bits(),
        UnaryOp::ToInt if x >= -2147483648.0 && x < 2147483648.0 => x as i32 as u32,
        UnaryOp::ToInt => i32::MIN as u32,
    }
}

fn compare(op: Comparison, a: u32, b: u32) -> bool {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    match op {
        Comparison::Eq => x == y,
        Comparison::Ne => x != y,
        Comparison::Lt => x < y,
        Comparison::Le => x <= y,
        Comparison::EqI => a == b,
        Comparison::LtI => (a as i32) < b as i32,
    }
}
