use kernel::Unary;

op! {
    /// Square root, elementwise.
    "sqrt" = Sqrt(x) {} kind Element
}

unary!(Sqrt, Float, f64::sqrt, Unary::Sqrt, 1.2e-7, |v, _, y, dy| v.div(v.scale(dy, 0.5), y));
