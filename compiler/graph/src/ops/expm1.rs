use kernel::Unary;

op! {
    /// `exp(x) - 1`, exact near 0, elementwise.
    "expm1" = Expm1(x) {} kind Element
}

unary!(Expm1, Float, f64::exp_m1, Unary::Expm1, 4e-7, |v, _, y, dy| v.mul(dy, v.plus(y, 1.0)));
