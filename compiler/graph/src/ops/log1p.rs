use kernel::Unary;

op! {
    /// `log(1 + x)`, exact near 0, elementwise.
    "log1p" = Log1p(x) {} kind Element
}

unary!(Log1p, Float, f64::ln_1p, Unary::Log1p, 4e-7, |v, x, _, dy| v.div(dy, v.plus(x, 1.0)));
