use kernel::Unary;

op! {
    /// `1 / sqrt(x)`, elementwise.
    "rsqrt" = Rsqrt(x) {} kind Element
}

unary!(Rsqrt, Float, |x: f64| 1.0 / x.sqrt(), Unary::Rsqrt, 2e-7);
