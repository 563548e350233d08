use kernel::Unary;

op! {
    /// Cosine, elementwise.
    "cos" = Cos(x) {} kind Element
}

unary!(Cos, Float, f64::cos, Unary::Cos, 2e-7, |v, x, _, dy| v.neg(v.mul(dy, v.push(super::Sin {}, &[x]))));
