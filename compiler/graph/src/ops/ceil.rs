use kernel::Unary;

op! {
    /// The smallest integral value not below, elementwise.
    "ceil" = Ceil(x) {} kind Element
}

unary!(Ceil, Float, f64::ceil, Unary::Ceil, 0.0, zero);
