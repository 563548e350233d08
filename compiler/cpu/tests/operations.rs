//! Every operation of the vector IR by itself: machine code of each kind against the interpreter, on values that are
//! special in some way.

use cpu::vir::{
    Builder, Comparison, Function, IntOp, MaskOp, Memory, Op, Reduction, UnaryOp, Unit, Value, VecOp, interpret,
};
use cpu::{Isa, Module};

/// Vectors of the input, each of 16 lanes whatever the function's are.
const A: i32 = 0;
const B: i32 = 64;
const C: i32 = 128;
/// Small integers: shift counts, offsets, and as floats exponents.
const COUNTS: i32 = 192;
const POWERS: i32 = 256;
const NEAR_ONE: i32 = 320;
/// Sums of these differ with the order in which they are added.
const ORDER: i32 = 384;
const INPUT: usize = 448 / 4;

fn input() -> Vec<u32> {
    let f = |x: f32| x.to_bits();
    let a =
        [1.5, -0.0, f32::NAN, 3e9, -2.5, 0.5, f32::INFINITY, -3e9, 2.5, 1e-40, -7.25, 0.0, 8388609.0, -1.0, 1e38, 3.5];
    let b =
        [1.5, 0.0, 1.0, -2.0, f32::NAN, -0.5, f32::INFINITY, 4.0, -2.5, 1e-40, 7.25, -0.0, 3.0, f32::NAN, 1e38, 2.0];
    let c = [-2.25, 1.0, 2.0, 6e9, 5.0, 0.25, -1.0, 3.0, 6.25, -1e-40, 0.1, 0.2, 0.3, 0.4, -1e38, 0.6];
    let counts = [0u32, 31, 5, 17, 3, 1, 2, 30, 9, 8, 7, 6, 15, 12, 11, 10];
    let powers: [f32; 16] =
        [0.0, 1.0, -1.0, 10.0, -30.0, 100.0, 3.0, -3.0, 60.0, 7.0, -7.0, 2.0, -2.0, 20.0, -20.0, 5.0];
    let near: [f32; 16] = std::array::from_fn(|i| 0.75 + i as f32 * 0.07);
    let order = [1e8f32, 1.0, -1e8, 1.0, 3e7, 0.7, 2e7, 0.3, -5e7, 1.5, 9e6, -0.9, 4e6, 2.5, -8e7, 0.1];
    [a.map(f), b.map(f), c.map(f), counts, powers.map(f), near.map(f), order.map(f)].concat()
}

/// A function that stores what each operation gives, one vector after the other.
struct Cases {
    b: Builder,
    input: Value,
    output: Value,
    at: i32,
    names: Vec<String>,
}

impl Cases {
    fn store(&mut self, name: String, value: Value) {
        let op = Op::Store { memory: Memory::F32, disp: self.at };
        self.b.effect(op, &[self.output, value]);
        self.named(name);
    }

    /// What an operation wrote at the place for the next result.
    fn named(&mut self, name: String) {
        self.names.push(name);
        self.at += 64;
    }

    fn vector(&mut self, op: Op, operands: &[Value]) {
        let value = self.b.push(op, operands);
        self.store(format!("{op:?}"), value);
    }

    fn mask(&mut self, op: Op, operands: &[Value]) {
        let mask = self.b.push(op, operands);
        self.select(format!("{op:?}"), mask);
    }

    fn select(&mut self, name: String, mask: Value) {
        let (yes, no) = (self.b.push(Op::Splat(1), &[]), self.b.push(Op::Splat(0), &[]));
        let value = self.b.push(Op::Select, &[mask, yes, no]);
        self.store(name, value);
    }

    fn integer(&mut self, op: Op, operands: &[Value]) {
        let value = self.b.push(op, operands);
        self.b.effect(Op::StoreI64(self.at), &[self.output, value]);
        self.named(format!("{op:?}"));
    }

    fn load(&mut self, disp: i32) -> Value {
        self.b.push(Op::Load { memory: Memory::F32, disp }, &[self.input])
    }
}

fn cases(lanes: usize) -> (Function, Vec<String>) {
    let mut b = Builder::new(lanes);
    let params = [0, 1, 2].map(|i| b.push(Op::Param(i), &[]));
    let input = b.push(Op::LoadI64(0), &[params[0]]);
    let output = b.push(Op::LoadI64(8), &[params[0]]);
    let mut t = Cases { b, input, output, at: 0, names: vec![] };
    let [x, y, z, counts, powers, near, order] = [A, B, C, COUNTS, POWERS, NEAR_ONE, ORDER].map(|disp| t.load(disp));

    use VecOp::*;
    for op in [Add, Sub, Mul, Div, Min, Max, AddI, SubI, MulI, MinI, MaxI, And, Or, Xor] {
        t.vector(Op::Vec(op), &[x, y]);
    }
    t.vector(Op::Vec(Ldexp), &[near, powers]);
    for op in [Shl, Shr] {
        t.vector(Op::Vec(op), &[x, counts]);
        let five = t.b.push(Op::Splat(5), &[]);
        t.vector(Op::Vec(op), &[x, five]);
    }
    for high in [false, true] {
        t.vector(Op::Zip { high }, &[x, y]);
    }
    for odd in [false, true] {
        t.vector(Op::Unzip { unit: Unit::Lane, odd }, &[x, y]);
        if lanes > 4 {
            t.vector(Op::Unzip { unit: Unit::Block, odd }, &[x, y]);
        }
    }
    t.vector(Op::FmaAcc, &[x, y, z]);
    t.vector(Op::Fma, &[x, y, z]);
    for op in [UnaryOp::Round, UnaryOp::Floor, UnaryOp::Ceil, UnaryOp::Trunc, UnaryOp::ToFloat, UnaryOp::ToInt] {
        t.vector(Op::Unary(op), &[x]);
    }
    t.vector(Op::Unary(UnaryOp::Sqrt), &[z]);
    for op in [Reduction::Sum, Reduction::Prod, Reduction::Max, Reduction::Min] {
        t.vector(Op::Reduce(op), &[near]);
        t.vector(Op::Reduce(op), &[order]);
    }
    t.vector(Op::Splat(0x4048f5c3), &[]);
    t.vector(Op::Splat(0), &[]);
    t.vector(Op::Iota, &[]);
    t.vector(Op::SplatInt, &[params[2]]);

    use Comparison::*;
    let masks = [Eq, Ne, Lt, Le, EqI, LtI].map(|op| {
        t.mask(Op::Compare(op), &[x, y]);
        t.b.push(Op::Compare(op), &[x, y])
    });
    for op in [MaskOp::And, MaskOp::Or, MaskOp::AndNot, MaskOp::Xor] {
        t.mask(Op::Mask(op), &[masks[1], masks[3]]);
    }
    t.mask(Op::MaskConst(0b1010_0110_1100_0101), &[]);
    t.mask(Op::MaskFirst, &[params[1]]);
    t.mask(Op::MaskFirst, &[params[2]]);

    let (all, some) = (t.b.push(Op::MaskConst(u32::MAX), &[]), t.b.push(Op::MaskConst(0b0110_1001_0000_0101), &[]));
    let first = t.b.push(Op::MaskFirst, &[params[1]]);
    for mask in [all, some, first, masks[2]] {
        for memory in [Memory::F32, Memory::I32, Memory::U8, Memory::U16] {
            t.vector(Op::Load { memory, disp: B }, &[input, mask]);
            t.b.effect(Op::Store { memory, disp: t.at }, &[output, x, mask]);
            t.named(format!("Store {memory:?}"));
        }
        t.vector(Op::Gather { disp: A }, &[input, counts, mask]);
    }
    for memory in [Memory::F32, Memory::I32, Memory::U8, Memory::U16] {
        t.vector(Op::Load { memory, disp: COUNTS }, &[input]);
        t.vector(Op::Broadcast { memory, disp: B + 12 }, &[input]);
        t.b.effect(Op::Store { memory, disp: t.at }, &[output, z]);
        t.named(format!("Store {memory:?}"));
    }
    t.b.effect(Op::StoreStream { disp: t.at }, &[output, z]);
    t.named("StoreStream".into());
    t.b.effect(Op::Prefetch { disp: 0 }, &[input]);

    let n = t.b.push(Op::LoadI64(A + 8), &[input]);
    for op in [IntOp::Add, IntOp::Sub, IntOp::Mul, IntOp::Min, IntOp::Max, IntOp::And, IntOp::Or, IntOp::Xor] {
        t.integer(Op::Int(op), &[n, params[1]]);
    }
    for op in [Op::AddImm(-7), Op::MulImm(-12), Op::MulImm(64), Op::ShrImm(3)] {
        t.integer(op, &[n]);
    }
    for op in [Op::LoadI64(B), Op::LoadI32(A + 4), Op::LoadU8(A + 7)] {
        t.integer(op, &[input]);
    }
    t.integer(Op::Const(-5_000_000_000), &[]);
    t.b.ret();
    (t.b.function, t.names)
}

/// The output as words.
fn run(names: &[String], call: impl Fn(*const u64, i64, i64)) -> Vec<u32> {
    let mut words = vec![0u32; names.len() * 16 + 16];
    let offset = (64 - words.as_ptr() as usize % 64) % 64 / 4;
    let input = input();
    assert_eq!(input.len(), INPUT);
    let table = [input.as_ptr() as u64, words[offset..].as_mut_ptr() as u64];
    call(table.as_ptr(), 3, 9);
    words[offset..][..names.len() * 16].to_vec()
}

fn check(isa: Isa, mut module: Module) {
    let (function, names) = cases(isa.lanes());
    assert_eq!(function.verify(), Ok(()));
    let id = module.kernel(&function, isa).unwrap();
    let expected = run(&names, |table, begin, end| unsafe { interpret::run(&function, table, begin, end) });
    for code in [module.finish().unwrap(), module.finish_by_jit().unwrap()] {
        // SAFETY: the function takes such a table.
        let native = run(&names, |table, begin, end| unsafe { code.kernel(id)(table, begin, end) });
        for (i, name) in names.iter().enumerate() {
            let (native, expected) = (&native[16 * i..][..16], &expected[16 * i..][..16]);
            // Which NaN an operation gives is nobody's promise.
            let nan = |x: &u32| f32::from_bits(*x).is_nan();
            let same = |(n, e): (&u32, &u32)| n == e || (nan(n) && nan(e));
            assert!(
                native.iter().zip(expected).all(same),
                "{isa}: {name}\nmachine     {native:08x?}\ninterpreted {expected:08x?}"
            );
        }
    }
}

#[test]
fn machine_code_agrees_with_the_interpreter() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= Isa::host()) {
        check(isa, Module::new().unwrap());
    }
}

/// No fused multiply-add, no rounding instructions: Cranelift calls functions.
#[test]
fn code_for_every_machine_agrees_too() {
    check(Isa::Baseline, Module::baseline().unwrap());
}
