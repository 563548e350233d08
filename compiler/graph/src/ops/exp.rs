use kernel::Unary;

op! {
    /// Natural exponential, elementwise.
    "exp" = Exp(x) {} kind Element
}

unary!(Exp, Float, f64::exp, Unary::Exp, 2e-7, |v, _, y, dy| v.mul(dy, y));
