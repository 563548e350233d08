use kernel::Unary;

op! {
    /// Natural logarithm, elementwise.
    "log" = Log(x) {} kind Element
}

unary!(Log, Float, f64::ln, Unary::Log, 2e-7, |v, x, _, dy| v.div(dy, x));
