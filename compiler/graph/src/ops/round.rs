use kernel::Unary;

op! {
    /// The nearest integral value, halves to even, elementwise.
    "round" = Round(x) {} kind Element
}

unary!(Round, Float, f64::round_ties_even, Unary::Round, 0.0, zero);
