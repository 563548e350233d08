//! Element functions as machine code against f64, in units in the last place: a sample each time, and all of f32 by
//!
//! ```text
//! cargo test -p nnc-tests --test functions -- --ignored --nocapture
//! ```
//!
//! which takes a minute or two for each function. `kernel::functions::BOUNDS` states what is allowed.

use cpu::{Isa, Module, lower};
use engine::Code;
use kernel::functions::{BOUNDS, Bound};
use kernel::{Affine, Elem, Kernel, Role, Subscript, Unary, apply, interpret};

/// Neighbours in the order of their bits that are computed at a time.
const BLOCK: usize = 1 << 16;

fn exact(op: Unary, x: f64) -> f64 {
    match op {
        // Beyond it is 1 within a quarter of an ulp, and the exact value takes long.
        Unary::Erf if x.abs() > 4.0 => x.signum(),
        _ => interpret::unary(op, Elem::F32, x),
    }
}

/// What each element of a block becomes.
fn compiled(op: Unary, isa: Isa) -> Code {
    let mut k = Kernel::new("function");
    let i = k.axis("i", BLOCK as i64);
    let from = k.buffer("x", Role::In, Elem::F32, &[(BLOCK as i64).into()]);
    let x = k.load(from, vec![Subscript::from(i)]);
    let y = k.exprs.unary(op, x);
    let to = k.buffer("y", Role::Out, Elem::F32, &[(BLOCK as i64).into()]);
    k.stage(to, vec![Affine::var(i)], y);
    let lanes = isa.lanes() as i64;
    let schedule = format!("split i {lanes} io l; nest y: io l@");
    let scheduled = apply(&k, &schedule.parse().unwrap(), lanes).unwrap();
    let mut module = Module::new().unwrap();
    module.kernel(&lower::lower(&scheduled).unwrap(), isa).unwrap();
    module.finish().unwrap()
}

/// The distance between floats around a number.
fn ulp(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).clamp(-126, 127);
    2f64.powi(exponent - 23)
}

/// How far off a result is, in ulp; infinity counts as the number that would follow the largest.
fn off(got: f32, exact: f64) -> f64 {
    let beyond = 2f64.powi(128);
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let (got, exact) = ((got as f64).clamp(-beyond, beyond), exact.clamp(-beyond, beyond));
    if got == exact { 0.0 } else { (got - exact).abs() / ulp(exact) }
}

/// The largest error over every block, or some, and where it is.
fn worst(bound: &Bound, isa: Isa, every: usize) -> (f64, f32) {
    let code = compiled(bound.op, isa);
    let mut worst = (0.0, 0.0);
    let (mut x, mut y) = (vec![0f32; BLOCK], vec![0f32; BLOCK]);
    for block in (0..1 << 16).step_by(every) {
        x.iter_mut().enumerate().for_each(|(i, x)| *x = f32::from_bits(((block as u32) << 16) | i as u32));
        if !(x[0].abs() as f64 <= bound.within) && !x[0].is_nan() {
            continue;
        }
        let mut error = 0i64;
        let table = [&raw mut error as u64, x.as_ptr() as u64, y.as_mut_ptr() as u64, 0];
        // SAFETY: the table is that of this kernel.
        unsafe { code.kernel(0)(table.as_ptr(), 0, 1) };
        for (x, y) in x.iter().zip(&y).filter(|(x, _)| x.abs() as f64 <= bound.within || x.is_nan()) {
            let off = off(*y, exact(bound.op, *x as f64));
            if off > worst.0 {
                worst = (off, *x);
            }
        }
    }
    worst
}

fn bound(op: Unary) -> &'static Bound {
    BOUNDS.iter().find(|b| b.op == op).unwrap_or_else(|| panic!("no bound is stated for {op:?}"))
}

fn check(op: Unary, isa: Isa, every: usize) {
    let bound = bound(op);
    let (off, at) = worst(bound, isa, every);
    println!("{op:?} on {isa}: {off:.3} ulp at {at:e}");
    assert!(off <= bound.ulp, "{op:?} on {isa} is {off:.3} ulp off at {at:e}, more than {}", bound.ulp);
}

macro_rules! functions {
    ($($name:ident $Op:ident)*) => {
        mod sample {
            $(
                #[test]
                fn $name() {
                    for isa in super::Isa::ALL.into_iter().filter(|i| *i <= super::Isa::host()) {
                        super::check(super::Unary::$Op, isa, 61);
                    }
                }
            )*
        }

        mod every_f32 {
            $(
                #[test]
                #[ignore = "takes a minute or two"]
                fn $name() {
                    super::check(super::Unary::$Op, super::Isa::host(), 1);
                }
            )*
        }
    };
}

functions! {
    exp Exp
    expm1 Expm1
    log Log
    log1p Log1p
    rsqrt Rsqrt
    sin Sin
    cos Cos
    atan Atan
    tanh Tanh
    sigmoid Sigmoid
    erf Erf
}
