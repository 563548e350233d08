//! Element functions as polynomials in kernel vocabulary: one text for every back end.
//!
//! [`BOUNDS`] states how exact they are; the test `functions` holds all of f32 against it. Methods are the classical ones: reduction to a small interval by an exactly
//! representable constant in two parts, then a minimax or Taylor polynomial by Horner's rule with fused
//! multiply-adds (Muller, *Elementary Functions*, 3rd ed., chapters 3 and 11).

use crate::affine::ExprId;
use crate::expr::{Binary, Compare, Exprs, Unary};
use tensor::Elem;

/// `op(x)` with functions of f32 expanded; other operations as they are.
pub fn unary(e: &mut Exprs, op: Unary, x: ExprId) -> ExprId {
    if e.elem(x) != Elem::F32 {
        return e.unary(op, x);
    }
    if let Some(literal) = e.as_const(x)
        && op == Unary::Neg
    {
        return e.constant(Elem::F32, -literal.value());
    }
    let mut f = Functions { e };
    match op {
        Unary::Exp => f.exp(x),
        Unary::Expm1 => f.expm1(x),
        Unary::Log => f.log(x),
        Unary::Log1p => f.log1p(x),
        Unary::Rsqrt => f.rsqrt(x),
        Unary::Sin => f.sin_cos(x, 0),
        Unary::Cos => f.sin_cos(x, 1),
        Unary::Atan => f.atan(x),
        Unary::Tanh => f.tanh(x),
        Unary::Sigmoid => f.sigmoid(x),
        Unary::Erf => f.erf(x),
        _ => e.unary(op, x),
    }
}

/// `op(x, y)` with `pow` of f32 expanded.
pub fn binary(e: &mut Exprs, op: Binary, x: ExprId, y: ExprId) -> ExprId {
    match op {
        Binary::Pow if e.elem(x) == Elem::F32 => Functions { e }.pow(x, y),
        _ => e.binary(op, x, y),
    }
}

/// How exact a function of f32 is.
pub struct Bound {
    pub op: Unary,
    /// The largest error, in units in the last place.
    pub ulp: f64,
    /// For arguments of at most this magnitude.
    pub within: f64,
}

const fn bound(op: Unary, ulp: f64) -> Bound {
    Bound { op, ulp, within: f64::INFINITY }
}

pub const BOUNDS: [Bound; 11] = [
    bound(Unary::Exp, 2.0),
    bound(Unary::Expm1, 2.0),
    bound(Unary::Log, 2.0),
    bound(Unary::Log1p, 4.0),
    bound(Unary::Rsqrt, 1.5),
    Bound { op: Unary::Sin, ulp: 2.0, within: 1e5 },
    Bound { op: Unary::Cos, ulp: 2.0, within: 1e5 },
    bound(Unary::Atan, 3.0),
    bound(Unary::Sigmoid, 3.0),
    bound(Unary::Tanh, 4.0),
    bound(Unary::Erf, 5.0),
];

struct Functions<'a> {
    e: &'a mut Exprs,
}

impl Functions<'_> {
    fn k(&mut self, value: f64) -> ExprId {
        self.e.constant(Elem::F32, value)
    }

    fn un(&mut self, op: Unary, x: ExprId) -> ExprId {
        self.e.unary(op, x)
    }

    fn bin(&mut self, op: Binary, x: ExprId, y: ExprId) -> ExprId {
        self.e.binary(op, x, y)
    }

    /// Horner's rule; coefficients from the constant term up.
    fn polynomial(&mut self, x: ExprId, coefficients: &[f64]) -> ExprId {
        let (last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
        let mut p = self.k(*last);
        for c in rest.iter().rev() {
            let c = self.k(*c);
            p = self.e.fma(p, x, c);
        }
        p
    }

    fn clamp(&mut self, x: ExprId, low: f64, high: f64) -> ExprId {
        // Constants first: NaN passes.
        let (low, high) = (self.k(low), self.k(high));
        let x = self.bin(Binary::Max, low, x);
        self.bin(Binary::Min, high, x)
    }

    /// `x = n ln 2 + r` with integral `n` and `|r| <= ln 2 / 2`.
    fn reduce_ln2(&mut self, x: ExprId) -> (ExprId, ExprId) {
        let log2e = self.k(std::f64::consts::LOG2_E);
        let n = self.e.mul(x, log2e);
        let n = self.un(Unary::Round, n);
        // ln 2 in two parts; the first has 9 bits fewer than f32, so n times it is exact.
        let (high, low) = (self.k(-0.693145751953125), self.k(-1.428606765330187e-6));
        let r = self.e.fma(n, high, x);
        (n, self.e.fma(n, low, r))
    }

    /// 1.1 ulp; 0 below -104, infinity above 88.73.
    fn exp(&mut self, x: ExprId) -> ExprId {
        let x = self.clamp(x, -104.0, 89.0);
        let (n, r) = self.reduce_ln2(x);
        let p = self.polynomial(r, &EXP);
        self.bin(Binary::Ldexp, p, n)
    }

    /// `exp(x) - 1` without cancellation near 0: the polynomial of `(exp(r) - 1)`, then `2^n (p + 1) - 1`.
    fn expm1(&mut self, x: ExprId) -> ExprId {
        let x = self.clamp(x, -17.5, 89.0);
        let (n, r) = self.reduce_ln2(x);
        let q = self.polynomial(r, &EXP[2..]);
        let rr = self.e.mul(r, r);
        let p = self.e.fma(q, rr, r);
        // 2^n p + (2^n - 1)
        let one = self.k(1.0);
        let power = self.bin(Binary::Ldexp, one, n);
        let rest = self.e.sub(power, one);
        self.e.fma(power, p, rest)
    }

    /// `x = 2^n m` with m in [sqrt(1/2), sqrt(2)), by the bits; for normal positive x.
    fn split_exponent(&mut self, x: ExprId) -> (ExprId, ExprId) {
        let int = |f: &mut Self, v: i64| f.e.literal(crate::expr::Literal::int(Elem::I32, v));
        let bits = self.un(Unary::Bits, x);
        let (half, shift, mask) = (int(self, 0x3f3504f3), int(self, 23), int(self, 0x007fffff));
        let offset = self.bin(Binary::Sub, bits, half);
        let n = self.bin(Binary::Shr, offset, shift);
        let n = self.e.cast(Elem::F32, n);
        let fraction = self.bin(Binary::And, offset, mask);
        let m = self.bin(Binary::Add, fraction, half);
        (n, self.un(Unary::FromBits, m))
    }

    /// 1 ulp; negative gives NaN, 0 gives minus infinity, subnormals are scaled first.
    fn log(&mut self, x: ExprId) -> ExprId {
        let (tiny, zero, inf) = (self.k(f32::MIN_POSITIVE as f64), self.k(0.0), self.k(f64::INFINITY));
        let (up, none) = (self.k(8388608.0), self.k(23.0));
        let small = self.e.compare(Compare::Lt, x, tiny);
        let scaled = self.e.mul(x, up);
        let normal = self.e.select(small, scaled, x);
        let shift = self.e.select(small, none, zero);
        let (n, m) = self.split_exponent(normal);
        let n = self.e.sub(n, shift);
        let r = self.ln_near_one(m, n);
        let minus = self.k(f64::NEG_INFINITY);
        let nan = self.k(f64::NAN);
        let is_zero = self.e.compare(Compare::Eq, x, zero);
        let r = self.e.select(is_zero, minus, r);
        let nonnegative = self.e.compare(Compare::Le, zero, x);
        let r = self.e.select(nonnegative, r, nan);
        let is_inf = self.e.compare(Compare::Eq, x, inf);
        self.e.select(is_inf, inf, r)
    }

    /// `ln m + n ln 2` for m in [sqrt(1/2), sqrt(2)): a polynomial in `m - 1`.
    fn ln_near_one(&mut self, m: ExprId, n: ExprId) -> ExprId {
        let one = self.k(1.0);
        let f = self.e.sub(m, one);
        let ff = self.e.mul(f, f);
        let p = self.polynomial(f, &LOG);
        let cubic = self.e.mul(ff, f);
        let (low, half) = (self.k(-2.12194440e-4), self.k(-0.5));
        let y = self.e.mul(p, cubic);
        let y = self.e.fma(n, low, y);
        let y = self.e.fma(ff, half, y);
        let y = self.e.add(f, y);
        let high = self.k(0.693359375);
        self.e.fma(n, high, y)
    }

    /// Kahan: `log(u) x / (u - 1)` with `u = 1 + x` corrects the rounding of u.
    fn log1p(&mut self, x: ExprId) -> ExprId {
        let (one, inf) = (self.k(1.0), self.k(f64::INFINITY));
        let u = self.e.add(x, one);
        let d = self.e.sub(u, one);
        let log = self.log(u);
        let ratio = self.e.div(x, d);
        let y = self.e.mul(log, ratio);
        let tiny = self.e.compare(Compare::Eq, u, one);
        let y = self.e.select(tiny, x, y);
        let infinite = self.e.compare(Compare::Eq, x, inf);
        let y = self.e.select(infinite, inf, y);
        let zero = self.k(0.0);
        let pole = self.e.compare(Compare::Eq, u, zero);
        self.e.select(pole, log, y)
    }

    /// 1 ulp: a root and a division, each correctly rounded.
    fn rsqrt(&mut self, x: ExprId) -> ExprId {
        let (one, root) = (self.k(1.0), self.un(Unary::Sqrt, x));
        self.e.div(one, root)
    }

    /// Reduction by pi/2 in three floats, each product exact inside its fused multiply-add: the first difference is a
    /// multiple of 2^-23 below 1, so nothing is rounded before what cancels has cancelled. `quarter` 0 is the sine, 1 the
    /// cosine.
    fn sin_cos(&mut self, x: ExprId, quarter: i64) -> ExprId {
        let int = |f: &mut Self, v: i64| f.e.literal(crate::expr::Literal::int(Elem::I32, v));
        let two_over_pi = self.k(std::f64::consts::FRAC_2_PI);
        let n = self.e.mul(x, two_over_pi);
        let n = self.un(Unary::Round, n);
        let mut r = x;
        for part in [-1.5707963705062866, 4.371138828673793e-08, 1.7151245100058819e-15] {
            let part = self.k(part);
            r = self.e.fma(n, part, r);
        }
        let rr = self.e.mul(r, r);
        let sine = self.polynomial(rr, &SIN);
        let cubic = self.e.mul(rr, r);
        let sine = self.e.fma(sine, cubic, r);
        let cosine = self.polynomial(rr, &COS);
        let quadrant = self.e.cast(Elem::I32, n);
        let (shift, one, two, zero) = (int(self, quarter), int(self, 1), int(self, 2), int(self, 0));
        let quadrant = self.bin(Binary::Add, quadrant, shift);
        let odd = self.bin(Binary::And, quadrant, one);
        let odd = self.e.compare(Compare::Ne, odd, zero);
        let value = self.e.select(odd, cosine, sine);
        let upper = self.bin(Binary::And, quadrant, two);
        let upper = self.e.compare(Compare::Ne, upper, zero);
        let negative = self.un(Unary::Neg, value);
        self.e.select(upper, negative, value)
    }

    /// `atan x = pi/2 - atan(1/x)` above 1; then a polynomial in x² on [0, 1]. 3 ulp.
    fn atan(&mut self, x: ExprId) -> ExprId {
        let (one, quarter, zero) = (self.k(1.0), self.k(std::f64::consts::FRAC_PI_2), self.k(0.0));
        let a = self.un(Unary::Abs, x);
        let large = self.e.compare(Compare::Lt, one, a);
        let inverse = self.e.div(one, a);
        let t = self.e.select(large, inverse, a);
        let tt = self.e.mul(t, t);
        let p = self.polynomial(tt, &ATAN);
        let cubic = self.e.mul(tt, t);
        let y = self.e.fma(p, cubic, t);
        let rest = self.e.sub(quarter, y);
        let y = self.e.select(large, rest, y);
        let negative = self.e.compare(Compare::Lt, x, zero);
        let minus = self.un(Unary::Neg, y);
        self.e.select(negative, minus, y)
    }

    /// `1 / (1 + exp(-x))`: 2 ulp.
    fn sigmoid(&mut self, x: ExprId) -> ExprId {
        let one = self.k(1.0);
        let minus = self.un(Unary::Neg, x);
        let e = self.exp(minus);
        let d = self.e.add(e, one);
        self.e.div(one, d)
    }

    /// With `e = expm1(2|x|)`, `tanh|x| = e / (e + 2)`: 3 ulp, odd by construction.
    fn tanh(&mut self, x: ExprId) -> ExprId {
        let (two, zero) = (self.k(2.0), self.k(0.0));
        let a = self.un(Unary::Abs, x);
        let most = self.k(10.0);
        let a = self.bin(Binary::Min, most, a);
        let t = self.e.add(a, a);
        let (n, r) = self.reduce_ln2(t);
        let q = self.polynomial(r, &EXP[2..]);
        let rr = self.e.mul(r, r);
        let p = self.e.fma(q, rr, r);
        let one = self.k(1.0);
        let power = self.bin(Binary::Ldexp, one, n);
        let rest = self.e.sub(power, one);
        let e = self.e.fma(power, p, rest);
        let d = self.e.add(e, two);
        let y = self.e.div(e, d);
        let negative = self.e.compare(Compare::Lt, x, zero);
        let minus = self.un(Unary::Neg, y);
        self.e.select(negative, minus, y)
    }

    /// `x P(x²) / Q(x²)` up to 3.92, from where erf is 1 within half an ulp. Largest error 4 ulp.
    fn erf(&mut self, x: ExprId) -> ExprId {
        let (low, high) = (self.k(-3.92), self.k(3.92));
        // In this order NaN stays NaN.
        let x = self.bin(Binary::Max, low, x);
        let x = self.bin(Binary::Min, high, x);
        let xx = self.e.mul(x, x);
        let p = self.polynomial(xx, &ERF_P);
        let q = self.polynomial(xx, &ERF_Q);
        let xp = self.e.mul(x, p);
        self.e.div(xp, q)
    }

    /// `exp(y log x)` for positive x; exact constants 0, 0.5, 1, 2 and 3 are products. Negative x with integral y keeps
    /// its sign.
    fn pow(&mut self, x: ExprId, y: ExprId) -> ExprId {
        if let Some(literal) = self.e.as_const(y) {
            let square = |f: &mut Self| f.e.mul(x, x);
            match literal.value() {
                0.0 => return self.k(1.0),
                0.5 => return self.un(Unary::Sqrt, x),
                1.0 => return x,
                2.0 => return square(self),
                3.0 => {
                    let s = square(self);
                    return self.e.mul(s, x);
                }
                -0.5 => return self.rsqrt(x),
                -1.0 => {
                    let one = self.k(1.0);
                    return self.e.div(one, x);
                }
                _ => {}
            }
        }
        let (zero, half) = (self.k(0.0), self.k(0.5));
        let a = self.un(Unary::Abs, x);
        let log = self.log(a);
        let product = self.e.mul(y, log);
        let value = self.exp(product);
        let halved = self.e.mul(y, half);
        let whole = self.un(Unary::Floor, halved);
        let odd = self.e.compare(Compare::Ne, whole, halved);
        let floor = self.un(Unary::Floor, y);
        let integral = self.e.compare(Compare::Eq, floor, y);
        let minus = self.un(Unary::Neg, value);
        let signed = self.e.select(odd, minus, value);
        let nan = self.k(f64::NAN);
        let signed = self.e.select(integral, signed, nan);
        let negative = self.e.compare(Compare::Lt, x, zero);
        let value = self.e.select(negative, signed, value);
        let one = self.k(1.0);
        let none = self.e.compare(Compare::Eq, y, zero);
        self.e.select(none, one, value)
    }
}

/// exp on [-ln 2 / 2, ln 2 / 2], fitted by least squares with Lawson's weights. Largest error 4.2e-9 of the value.
const EXP: [f64; 7] = [
    1.0,
    1.0,
    0.4999999403953552,
    0.1666651964187622,
    0.041668400168418884,
    0.008368851616978645,
    0.0013814320554956794,
];

/// `(ln(1 + f) - f + f²/2) / f³` for f in [sqrt(1/2) - 1, sqrt(2) - 1]. Largest error 2.9e-8.
const LOG: [f64; 9] = [
    0.3333333134651184,
    -0.2499999701976776,
    0.20000715553760529,
    -0.1666780263185501,
    0.14249058067798615,
    -0.12425687164068222,
    0.11685419827699661,
    -0.11479733884334564,
    0.06971611827611923,
];

/// `(sin r - r) / r³` in r², |r| up to pi/4. Largest error 2.8e-11.
const SIN: [f64; 4] = [-0.1666666716337204, 0.008333331905305386, -0.00019840081222355366, 2.724914793361677e-06];

/// `cos r` in r², |r| up to pi/4. Largest error 4.8e-11.
const COS: [f64; 5] = [1.0, -0.5, 0.04166661575436592, -0.0013886606320738792, 2.4378765374422073e-05];

/// `(atan t - t) / t³` in t², t up to 1. Largest error 1.6e-8.
const ATAN: [f64; 9] = [
    -0.3333333134651184,
    0.19999739527702332,
    -0.1427856832742691,
    0.11033764481544495,
    -0.08656880259513855,
    0.0625016912817955,
    -0.035871539264917374,
    0.01350777130573988,
    -0.0023869972210377455,
];

/// `erf(x) / x` as `P / Q` in x², |x| up to 3.92: fitted by least squares with Lawson's weights, then to f32 evaluation.
const ERF_P: [f64; 6] = [
    1.1283791065216064,
    0.1904064267873764,
    0.052748724818229675,
    0.0037656163331121206,
    0.00028488293173722923,
    2.050090643024305e-06,
];
const ERF_Q: [f64; 6] =
    [1.0, 0.5020760297775269, 0.1141090989112854, 0.014969215728342533, 0.0011625358602032065, 3.8091751775937155e-05];
