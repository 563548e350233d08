use kernel::Unary;

op! {
    /// Absolute value, elementwise.
    "abs" = Abs(x) {} kind Element
}

unary!(Abs, Number, f64::abs, Unary::Abs, 0.0);
