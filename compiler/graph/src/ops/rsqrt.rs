use kernel::Unary;

op! {
    /// `1 / sqrt(x)`, elementwise.
    "rsqrt" = Rsqrt(x) {} kind Element
}

unary!(Rsqrt, Float, |x: f64| 1.0 / x.sqrt(), Unary::Rsqrt, 2e-7, |v, x, y, dy| v.div(v.mul(v.scale(dy, -0.5), y), x));
